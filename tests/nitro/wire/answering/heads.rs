//! The heads of calls: names, numbers, metadata and what comes after them.

use super::*;

fn named(payload: Vec<u8>) -> Vec<u8> {
    frame(CALL, NAMED | MESSAGE | IS_END, FIRST, &payload)
}

#[tokio::test(start_paused = true)]
async fn a_method_is_numbered_in_order_and_named_well() {
    let served = Served::new(Limits::default()).await;
    let none: &[u8] = &[0, 0];
    let order = "is named out of order";
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
async fn metadata_is_well_formed() {
    let served = Served::new(Limits::default()).await;
    let twice = b"\0\x0a\x01a\0\x01x\x01a\0\x01y";
    closes_opened(
        &served,
        &[
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
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_head_is_as_long_as_it_is_said_to_be() {
    let served = Served::new(Limits::default()).await;
    let none: &[u8] = &[0, 0];
    closes_opened(
        &served,
        &[
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
}
