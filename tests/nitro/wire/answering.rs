//! A peer that calls, and breaks the rules, against a real server.

mod heads;
mod streams;

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
