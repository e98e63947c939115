//! Streams: their numbers, their windows and their ends.

use super::*;

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

#[tokio::test(start_paused = true)]
async fn a_message_past_the_longest_ends_its_stream_alone_be_it_the_first_or_one_of_many() {
    let limits = Limits {
        message_bytes_max: 100,
        ..small()
    };
    let served = Served::new(limits).await;
    let mut peer = served.open_peer().await;
    for (stream, lengths) in [(FIRST, &[101][..]), (FIRST + 1, &[100, 101, 10])] {
        let head = match stream {
            FIRST => call(0, stream, "raw/echo", b""),
            _ => call_again(0, stream, b""),
        };
        let data = |length: &usize| frame(DATA, MESSAGE, stream, &vec![0; *length]);
        let messages: Vec<u8> = lengths.iter().flat_map(data).collect();
        peer.send(&[head, messages].concat()).await;
        let ended = peer.next_of(END).await;
        assert_eq!(ended.stream, stream);
        let status = ended.status();
        assert!(
            status.contains("a message of more than 100 bytes"),
            "{status}"
        );
    }
    peer.send(&call_again(MESSAGE | IS_END, FIRST + 2, b"after"))
        .await;
    assert_eq!(peer.next_of(REPLY).await.payload, b"\0\0after");
}
