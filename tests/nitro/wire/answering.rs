//! A peer that calls, and breaks the rules, against a real server.

use super::*;

/// Sends bytes to a server, and asserts that it closes at once, for this reason.
async fn closes(served: &Served, what: &str, bytes: &[u8], reason: &str) {
    let clock = &served.peer_host.clock;
    let began = clock.now();
    let mut peer = served.peer().await;
    peer.send(bytes).await;
    let said = peer.reason().await;
    assert!(said.contains(reason), "{what}: {said:?}, not {reason:?}");
    let took = clock.now().since(began);
    assert!(took < second(1), "{what}: closed after {took:?}");
    drop(peer);
    served.is_unharmed().await;
}

/// The same for bytes that follow a good opening.
async fn closes_opened(served: &Served, cases: &[(&str, Vec<u8>, &str)]) {
    for (what, bytes, reason) in cases {
        let bytes = [opening(), bytes.clone()].concat();
        closes(served, what, &bytes, reason).await;
    }
}

fn small() -> Limits {
    Limits {
        stream_window: 16 * 1024,
        connection_window: 32 * 1024,
        streams_max: 8,
        ..Limits::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_prefix_of_good_frames_then_a_close_leaves_nothing_behind() {
    let served = Served::new(Limits::default()).await;
    let good = [
        opening(),
        call(MESSAGE, FIRST, "raw/sink", b"one"),
        frame(DATA, MESSAGE, FIRST, b"two"),
        frame(CREDIT, 0, FIRST, &[0, 0, 1, 0]),
        frame(PING, 0, 0, &[7; 8]),
        call_again(MESSAGE | IS_END, FIRST + 1, b"three"),
        frame(END, 0, FIRST, &[]),
        frame(CANCEL, 0, FIRST, &[]),
        frame(GOAWAY, 0, 0, &[]),
    ];
    let good = good.concat();
    for length in 0..good.len() {
        let mut peer = served.peer().await;
        peer.send(&good[..length]).await;
        peer.stream.shutdown().await.unwrap();
        let reason = peer.reason().await;
        assert!(!reason.contains("malformed"), "{length} bytes: {reason}");
        drop(peer);
        served.is_unharmed().await;
    }
}

#[tokio::test(start_paused = true)]
async fn good_frames_a_byte_at_a_time_are_as_good_as_at_once() {
    let served = Served::new(Limits::default()).await;
    let good = [opening(), call(MESSAGE | IS_END, FIRST, "raw/echo", b"one")].concat();
    let mut peer = served.peer().await;
    for byte in good {
        peer.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.next_of(REPLY).await.payload, b"\0\0one");
}

#[tokio::test(start_paused = true)]
async fn a_preface_that_is_not_nitros_is_told_what_is_expected() {
    let served = Served::new(Limits::default()).await;
    let cases: [(&str, &[u8], &str); 5] = [
        ("http", b"GET / HTTP/1.1\r\n\r\n", "does not speak nitro"),
        ("one wrong byte", b"M", "does not speak nitro"),
        ("the last letter", b"NITRA\x01\0\0", "does not speak nitro"),
        (
            "a later version",
            b"NITRO\x02\0\0",
            "speaks version 2, expected 1",
        ),
        (
            "bytes that are to be zero",
            b"NITRO\x01\0\x05",
            "options that are not known",
        ),
    ];
    for (what, bytes, reason) in cases {
        closes(&served, what, bytes, reason).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_as_long_as_it_may_be_and_no_longer() {
    let served = Served::new(Limits::default()).await;
    let too_long = "at most 65536";
    closes_opened(
        &served,
        &[
            ("limit + 1", header_of(65_537), too_long),
            ("u32::MAX", header_of(u32::MAX), too_long),
            (
                "an empty CALL",
                frame(CALL, 0, FIRST, &[]),
                "malformed CALL frame: it is cut short",
            ),
            (
                "an empty CREDIT",
                frame(CREDIT, 0, 0, &[]),
                "malformed CREDIT frame",
            ),
            (
                "an empty PING",
                frame(PING, 0, 0, &[]),
                "malformed PING frame",
            ),
        ],
    )
    .await;
    let mut peer = served.open_peer().await;
    peer.send(&frame(PONG, 0, 0, &vec![0; 65_536])).await;
    peer.send(&frame(PONG, 0, 0, &[])).await;
    peer.send(&frame(PING, 0, 0, b"12345678")).await;
    assert_eq!(peer.next().await.unwrap().payload, b"12345678");
}

#[tokio::test(start_paused = true)]
async fn the_first_frame_is_settings_and_no_later_one() {
    let served = Served::new(Limits::default()).await;
    for kind in (0..=255).filter(|kind| *kind != SETTINGS) {
        let bytes = [PREFACE, &frame(kind, 0, 0, &[0; 8])].concat();
        let what = format!("kind {kind} first");
        closes(&served, &what, &bytes, "the first frame is not SETTINGS").await;
    }
    for (what, payload, reason) in [
        ("cut", vec![0, 1, 0, 0, 0], "a pair is cut short"),
        ("a window of none", setting(1, 0), "a window below 16384"),
        ("a small window", setting(2, 16_383), "a window below 16384"),
    ] {
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat();
        closes(&served, what, &bytes, reason).await;
    }
    let twice = frame(SETTINGS, 0, 0, &[]);
    closes_opened(&served, &[("twice", twice, "it comes a second time")]).await;
    // An id that is not known is for later versions.
    let mut peer = served.peer().await;
    let unknown = frame(SETTINGS, 0, 0, &setting(99, 1));
    peer.send(&[PREFACE, &unknown, &frame(PING, 0, 0, &[1; 8])].concat())
        .await;
    peer.next_of(PONG).await;
}

#[tokio::test(start_paused = true)]
async fn kinds_and_flags_that_mean_nothing_are_refused() {
    let served = Served::new(Limits::default()).await;
    let not_for = "is not for the answering side";
    for kind in [0, REPLY, 11, 255] {
        let bytes = frame(kind, 0, FIRST, &[]);
        closes_opened(&served, &[("kind", bytes, not_for)]).await;
    }
    for flag in [0x10, 0x20, 0x40, 0x80] {
        let bytes = call(MESSAGE | IS_END | flag, FIRST, "raw/echo", b"x");
        closes_opened(&served, &[("flag", bytes, "flags that mean nothing")]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_number_is_used_in_its_turn_and_once() {
    let served = Served::new(small()).await;
    let hang = || call(MESSAGE, FIRST, "raw/sink", b"x");
    let echo = || call(MESSAGE | IS_END, FIRST, "raw/echo", b"x");
    let last = FIRST + 8;
    let nine: Vec<u8> = (FIRST + 1..=last)
        .flat_map(|id| call_again(MESSAGE, id, b"x"))
        .collect();
    let used = "which has been used";
    let slot = "whose slot is not to be had";
    closes_opened(
        &served,
        &[
            (
                "an open one",
                [hang(), call_again(0, FIRST, b"")].concat(),
                used,
            ),
            (
                "a closed one",
                [echo(), call_again(0, FIRST, b"")].concat(),
                used,
            ),
            (
                "an older use",
                [
                    call(IS_END, FIRST + 0x20000, "raw/sink", b""),
                    frame(CANCEL, 0, FIRST + 0x20000, b""),
                    call_again(0, FIRST + 0x10000, b""),
                ]
                .concat(),
                used,
            ),
            (
                "a skipped slot",
                call(MESSAGE, FIRST + 1, "raw/sink", b"x"),
                slot,
            ),
            ("use 0", call(MESSAGE, 0, "raw/sink", b"x"), slot),
            ("one too many", [hang(), nine].concat(), slot),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn frames_on_a_stream_that_was_never_opened_end_the_connection() {
    let served = Served::new(small()).await;
    let unknown = "never opened";
    for id in [0, 1, FIRST, FIRST + 1, u32::MAX] {
        let mut cases = vec![
            ("DATA", frame(DATA, MESSAGE, id, b"x"), unknown),
            ("END", frame(END, 0, id, &[]), unknown),
            ("CANCEL", frame(CANCEL, 0, id, &[]), unknown),
        ];
        if id != 0 {
            cases.push(("CREDIT", frame(CREDIT, 0, id, &[0, 0, 0, 1]), unknown));
        }
        closes_opened(&served, &cases).await;
    }
    let later = [
        call(IS_END, FIRST, "raw/sink", b""),
        frame(DATA, MESSAGE, FIRST + 0x10000, b"x"),
    ];
    closes_opened(&served, &[("a later use", later.concat(), unknown)]).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_the_end_of_a_stream_and_no_message_is_half() {
    let served = Served::new(Limits::default()).await;
    let hang = |flags| call(flags, FIRST, "raw/sink", b"");
    let data = |flags| frame(DATA, flags, FIRST, b"x");
    let after = "it comes after the end of its stream";
    let half = "a message is unfinished";
    closes_opened(
        &served,
        &[
            (
                "DATA after CALL with END",
                [hang(IS_END), data(MESSAGE)].concat(),
                after,
            ),
            (
                "DATA after DATA with END",
                [hang(0), data(MESSAGE | IS_END), data(MESSAGE)].concat(),
                after,
            ),
            (
                "DATA after END",
                [hang(0), frame(END, 0, FIRST, &[]), data(MESSAGE)].concat(),
                after,
            ),
            (
                "END after END",
                [hang(IS_END), frame(END, 0, FIRST, &[])].concat(),
                after,
            ),
            (
                "END amid a message",
                [hang(0), data(0), frame(END, 0, FIRST, &[])].concat(),
                half,
            ),
            (
                "a last fragment that is not",
                [hang(0), data(IS_END)].concat(),
                half,
            ),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_window_is_not_to_be_overrun() {
    let served = Served::new(small()).await;
    let overrun = "the window is overrun";
    let open = |id: u32| match id {
        FIRST => call(0, id, "raw/sink", b""),
        _ => call_again(0, id, b""),
    };
    let data = |id: u32, bytes: usize| frame(DATA, MESSAGE, id, &vec![0; bytes]);
    let full = 16 * 1024 - 32;
    let empty = frame(DATA, MESSAGE, FIRST, &[]);
    closes_opened(
        &served,
        &[
            (
                "one frame",
                [open(FIRST), data(FIRST, full + 1)].concat(),
                overrun,
            ),
            (
                "two frames",
                [open(FIRST), data(FIRST, full), data(FIRST, 0)].concat(),
                overrun,
            ),
            (
                "empty frames",
                [open(FIRST), empty.repeat(513)].concat(),
                overrun,
            ),
            (
                "the connection's",
                [
                    open(FIRST),
                    open(FIRST + 1),
                    open(FIRST + 2),
                    data(FIRST, full),
                    data(FIRST + 1, full),
                    data(FIRST + 2, 0),
                ]
                .concat(),
                overrun,
            ),
            (
                "CREDIT past 32 bits",
                [open(FIRST), frame(CREDIT, 0, FIRST, &[0xff; 4])].concat(),
                "the credit passes 4 GiB",
            ),
            (
                "CREDIT past 32 bits for the connection",
                frame(CREDIT, 0, 0, &[0xff; 4]),
                "the credit passes 4 GiB",
            ),
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_named_in_order_and_well_formed() {
    let served = Served::new(Limits::default()).await;
    let named = |payload: Vec<u8>| frame(CALL, NAMED | MESSAGE | IS_END, FIRST, &payload);
    let none: &[u8] = &[0, 0];
    let order = "is named out of order";
    let twice = b"\0\x0a\x01a\0\x01x\x01a\0\x01y";
    closes_opened(
        &served,
        &[
            (
                "a number that was never given",
                call_again(0, FIRST, b""),
                "method 0 was never named",
            ),
            (
                "number 1 first",
                named(call_payload(1, b"raw/echo", none, b"x")),
                order,
            ),
            (
                "number 1024",
                named(call_payload(1024, b"raw/echo", none, b"x")),
                order,
            ),
            (
                "a number twice",
                [
                    call(IS_END, FIRST, "raw/echo", b""),
                    call(IS_END, FIRST + 1, "raw/echo", b""),
                ]
                .concat(),
                order,
            ),
            (
                "no path",
                named(call_payload(0, b"", none, b"x")),
                "a path of 0",
            ),
            (
                "a path that is too long",
                named(call_payload(0, &[b'a'; 8192], none, b"x")),
                "a path of 8192",
            ),
            (
                "a path that is no text",
                named(call_payload(0, b"\xff\xfe", none, b"x")),
                "a text is not UTF-8",
            ),
            (
                "metadata past the end",
                named(call_payload(0, b"p", &[0xff, 0xff], b"x")),
                "it is cut short",
            ),
            (
                "metadata cut",
                named(call_payload(0, b"p", &[0, 3, 1, b'a', 0], b"x")),
                "entry at byte 0 is cut short",
            ),
            (
                "metadata twice",
                named(call_payload(0, b"p", twice, b"x")),
                "stands twice",
            ),
            (
                "a key with a line break",
                named(call_payload(0, b"p", b"\0\x05\x01\n\0\x01x", b"")),
                "is not lower-case ASCII",
            ),
            (
                "an empty key",
                named(call_payload(0, b"p", b"\0\x04\0\0\x01x", b"")),
                "is not lower-case ASCII",
            ),
            (
                "a message that is too long",
                named(call_payload(0, b"p", none, &[0; 16 * 1024 + 1])),
                "too long to stand in a head",
            ),
            (
                "a message unannounced",
                frame(
                    CALL,
                    NAMED | IS_END,
                    FIRST,
                    &call_payload(0, b"p", none, b"x"),
                ),
                "where no message is announced",
            ),
            (
                "a deadline cut",
                frame(CALL, 0x08, FIRST, &[0, 0, 1, 2]),
                "it is cut short",
            ),
            (
                "a status that is no text",
                [
                    call(0, FIRST, "raw/sink", b""),
                    frame(END, 0, FIRST, b"\x01\0\0\x01\xff"),
                ]
                .concat(),
                "a text is not UTF-8",
            ),
        ],
    )
    .await;
    let mut peer = served.open_peer().await;
    let once = call_payload(0xffff, b"raw/echo", none, b"x");
    for id in [FIRST, FIRST + 0x10000] {
        peer.send(&frame(CALL, NAMED | MESSAGE | IS_END, id, &once))
            .await;
        assert_eq!(peer.next_of(REPLY).await.payload, b"\0\0x");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_cancelled_calls_free_their_slot_each_time() {
    let served = Served::new(small()).await;
    let mut peer = served.open_peer().await;
    let mut bytes = Vec::new();
    for turn in 0..10_000_u32 {
        let id = (turn + 1) << 16;
        bytes.extend(match turn {
            0 => call(MESSAGE, id, "raw/sink", b"x"),
            _ => call_again(MESSAGE, id, b"x"),
        });
        bytes.extend(frame(CANCEL, 0, id, &[]));
        // Late by one use of the slot: passed over.
        bytes.extend(frame(DATA, MESSAGE, id, &[0; 100]));
        bytes.extend(frame(END, 0, id, &[]));
        bytes.extend(frame(CREDIT, 0, id, &[0, 0, 1, 0]));
        bytes.extend(frame(CANCEL, 0, id, &[]));
    }
    bytes.extend(frame(PING, 0, 0, &[1; 8]));
    peer.send(&bytes).await;
    peer.next_of(PONG).await;
    tokio::task::yield_now().await;
    let counts = served.serving.counts();
    assert_eq!(counts.in_flight, 0);
    drop(peer);
    tokio::task::yield_now().await;
    served.is_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn after_goaway_calls_are_refused_as_safe_to_repeat_and_those_under_way_go_on() {
    let served = Served::new(Limits::default()).await;
    let mut peer = served.open_peer().await;
    let bytes = [
        call(MESSAGE, FIRST, "raw/echo", b"early"),
        frame(GOAWAY, 0, 0, &[]),
        frame(GOAWAY, 0, 0, &[]),
        call_again(MESSAGE | IS_END, FIRST + 1, b"late"),
        frame(END, 0, FIRST, &[]),
    ];
    peer.send(&bytes.concat()).await;
    let refused = peer.next_of(END).await;
    assert_eq!(refused.stream, FIRST + 1);
    assert_eq!(refused.payload[1], 1, "safe to repeat");
    assert_eq!(peer.next_of(REPLY).await.payload, b"\0\0early");
}
