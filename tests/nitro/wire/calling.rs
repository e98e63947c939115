//! A peer that answers, and breaks the rules, against a real client.

use bytes::Bytes;
use nitro::host::tokio::host;
use nitro::rpc::Rpc;
use nitro::rpc::method::Bidirectional;
use nitro::rpc::wire::Connection;
use nitro::transport::Link;
use nitro::{Kind, Result};

use super::*;

const CHAT: Method<Bytes, Bytes, Bidirectional> = Method::bidirectional("raw/chat");

/// A client over a connection to a peer, of which the test writes every byte.
async fn opened_after(bytes: &[u8]) -> (Result<Client<Raw>>, Peer) {
    let host = host();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut peer = Peer::new(Box::new(far));
    peer.send(bytes).await;
    if bytes != opening() {
        peer.stream.shutdown().await.unwrap();
    }
    let link = Link::over(Box::new(near));
    let opened = Connection::open(&host, link, "peer".to_owned(), Limits::default()).await;
    let client = opened.map(|connection| Client::new(&host, Rpc::new(connection), Raw));
    (client, peer)
}

async fn opened() -> (Client<Raw>, Peer) {
    let (client, mut peer) = opened_after(&opening()).await;
    peer.next_of(SETTINGS).await;
    (client.unwrap(), peer)
}

fn reply(flags: u8, message: &[u8]) -> Vec<u8> {
    frame(REPLY, flags, FIRST, &[&[0, 0], message].concat())
}

fn status(kind: u8, stream: u32, code: u8, flags: u8, text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    let payload = [&[code, flags][..], &length, text.as_bytes()].concat();
    frame(kind, 1, stream, &payload)
}

#[tokio::test(start_paused = true)]
async fn every_prefix_of_a_good_opening_then_a_close_is_an_unsent_error() {
    let good = opening();
    for length in 0..good.len() {
        let (opened, _peer) = opened_after(&good[..length]).await;
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable, "{length} bytes");
        assert!(error.is_unsent(), "{length} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn every_prefix_of_a_good_answer_then_a_close_is_told_and_never_taken_for_whole() {
    let good = [
        reply(0, b""),
        frame(DATA, 0, FIRST, b"ha"),
        frame(DATA, MESSAGE, FIRST, b"lf"),
        frame(END, IS_END, FIRST, &[]),
    ]
    .concat();
    for length in 0..=good.len() {
        let (client, mut peer) = opened().await;
        let answering = async {
            peer.next_of(CALL).await;
            peer.send(&good[..length]).await;
            drop(peer);
        };
        let sent = Bytes::from_static(b"x");
        let (answer, ()) = futures_util::future::join(client.call(&ECHO, sent), answering).await;
        if length == good.len() {
            assert_eq!(answer.unwrap(), "half");
            continue;
        }
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{length} bytes: {error}");
        assert!(!error.is_unsent(), "{length} bytes: the call did leave");
    }
}

type Case = (&'static str, Vec<u8>, &'static str);

/// Answers out of order or out of shape.
fn wrong_answers() -> Vec<Case> {
    let head = "it comes before the head of its stream";
    let unknown = "never opened";
    vec![
        ("DATA first", frame(DATA, MESSAGE, FIRST, b"x"), head),
        ("success first", frame(END, IS_END, FIRST, &[]), head),
        (
            "REPLY twice",
            [reply(0, b""), reply(0, b"")].concat(),
            "it is not the first of its stream",
        ),
        (
            "half a message",
            [reply(0, b""), frame(DATA, IS_END, FIRST, b"x")].concat(),
            "a message is unfinished",
        ),
        (
            "a REPLY cut",
            frame(REPLY, 0, FIRST, &[0]),
            "it is cut short",
        ),
        (
            "metadata cut",
            frame(REPLY, 0, FIRST, &[0, 3, 1, b'a', 0]),
            "is cut short",
        ),
        (
            "a message unannounced",
            reply(0, b"x"),
            "where no message is announced",
        ),
        (
            "a message too long",
            reply(MESSAGE, &[0; 16 * 1024 + 1]),
            "too long to stand in a head",
        ),
        (
            "another's stream",
            frame(REPLY, 0, FIRST + 1, &[0, 0]),
            unknown,
        ),
        (
            "a later use",
            frame(REPLY, 0, FIRST + 0x10000, &[0, 0]),
            unknown,
        ),
        ("the connection's own", frame(END, 0, 0, &[]), unknown),
    ]
}

/// Frames that no server has any business to send.
fn wrong_frames() -> Vec<Case> {
    vec![
        (
            "a CALL",
            call(MESSAGE, FIRST, "raw/echo", b"x"),
            "kind 2 is not for the calling side",
        ),
        (
            "a CANCEL",
            frame(CANCEL, 0, FIRST, &[]),
            "kind 6 is not for the calling side",
        ),
        (
            "an unknown kind",
            frame(200, 0, FIRST, &[]),
            "kind 200 is not for the calling side",
        ),
        (
            "SETTINGS twice",
            frame(SETTINGS, 0, 0, &[]),
            "it comes a second time",
        ),
        ("too long", header_of(65_537), "at most 65536"),
        (
            "CREDIT past 32 bits",
            frame(CREDIT, 0, 0, &[0xff; 4]),
            "the credit passes 4 GiB",
        ),
    ]
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_the_rules_ends_the_connection_with_a_reason() {
    for (what, bytes, reason) in wrong_answers().into_iter().chain(wrong_frames()) {
        let (client, mut peer) = opened().await;
        let answering = async {
            peer.next_of(CALL).await;
            peer.send(&bytes).await;
            peer.reason().await
        };
        let sent = Bytes::from_static(b"x");
        let (answer, said) = futures_util::future::join(client.call(&ECHO, sent), answering).await;
        assert!(said.contains(reason), "{what}: {said:?}, not {reason:?}");
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{what}: {error}");
        assert!(error.message().contains(reason), "{what}: {error}");
        assert!(!error.is_unsent(), "{what}: the call did leave");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_knows_why_the_peer_has_gone_away() {
    let (client, mut peer) = opened().await;
    let answering = async {
        peer.next_of(CALL).await;
        peer.send(&status(GOAWAY, 0, 3, 0, "you sent nonsense"))
            .await;
        drop(peer);
    };
    let sent = Bytes::from_static(b"x");
    let (answer, ()) = futures_util::future::join(client.call(&ECHO, sent), answering).await;
    let error = answer.unwrap_err();
    assert!(error.message().contains("you sent nonsense"), "{error}");
}

/// Sends on a stream that the peer gives no credit for, until that fails.
async fn send_until_it_fails(out: nitro::rpc::Outgoing<Bytes>) -> nitro::Error {
    loop {
        if let Err(error) = out.send(Bytes::from(vec![0; 60_000])).await {
            return error;
        }
    }
}

/// Takes frames in for ten seconds, answering PING, and no others.
async fn listen_ten_seconds(peer: &mut Peer) {
    let clock = host().clock;
    let listening = async {
        loop {
            peer.next_of(PING).await;
            peer.send(&frame(PONG, 0, 0, &[0; 8])).await;
        }
    };
    let _ = clock.timeout(second(10), listening).await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_only_sends_is_told_when_nobody_takes_it_any_more() {
    let ends = [
        (
            "an END with an error",
            Some(status(END, FIRST, 9, 0, "enough")),
        ),
        ("an END", Some(frame(END, IS_END, FIRST, &[]))),
        (
            "a DATA with END",
            Some(frame(DATA, MESSAGE | IS_END, FIRST, b"x")),
        ),
        ("a lost connection", None),
    ];
    for (what, end) in ends {
        let (client, mut peer) = opened().await;
        let (out, _unread) = client.bidirectional(&CHAT);
        let answering = async {
            peer.next_of(CALL).await;
            peer.send(&reply(0, b"")).await;
            listen_ten_seconds(&mut peer).await;
            if let Some(end) = &end {
                peer.send(end).await;
                listen_ten_seconds(&mut peer).await;
            }
            drop(peer);
        };
        let clock = host().clock;
        let began = clock.now();
        let sending = send_until_it_fails(out);
        let sending = clock.timeout(second(60), sending);
        let (sent, ()) = futures_util::future::join(sending, answering).await;
        let error = sent.unwrap_or_else(|_| panic!("{what}: the caller waits for ever"));
        assert_eq!(error.kind(), Kind::Cancelled, "{what}: {error}");
        assert!(clock.now().since(began) < second(21), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_only_sends_is_under_the_deadline_of_its_call() {
    let (client, mut peer) = opened().await;
    let client = client.timeout(second(8));
    let (out, mut answers) = client.bidirectional(&CHAT);
    let answering = async {
        peer.next_of(CALL).await;
        peer.send(&reply(0, b"")).await;
        listen_ten_seconds(&mut peer).await;
    };
    let clock = host().clock;
    let sending = clock.timeout(second(60), send_until_it_fails(out));
    let (sent, ()) = futures_util::future::join(sending, answering).await;
    sent.expect("the caller waits for ever");
    let error = answers.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_cancels_its_call_at_once_though_nobody_reads_the_answer() {
    let (client, mut peer) = opened().await;
    let (out, mut answers) = client.bidirectional(&CHAT);
    out.send(Bytes::from_static(b"one")).await.unwrap();
    peer.next_of(CALL).await;
    peer.send(&reply(0, b"")).await;
    drop(out);
    let cancelled = host().clock.timeout(second(1), peer.next_of(CANCEL)).await;
    assert!(cancelled.is_ok(), "the server is left to wait for the rest");
    let error = answers.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn late_frames_of_a_cancelled_call_are_passed_over() {
    let (client, mut peer) = opened().await;
    let clock = host().clock;
    let sent = Bytes::from_static(b"x");
    let cancelled = clock.timeout(second(1), client.call(&ECHO, sent.clone()));
    assert!(cancelled.await.is_err());
    peer.next_of(CANCEL).await;
    let late = [
        reply(0, b""),
        frame(DATA, MESSAGE, FIRST, &[0; 1000]),
        frame(CREDIT, 0, FIRST, &[0, 0, 1, 0]),
        frame(END, IS_END, FIRST, &[]),
    ];
    peer.send(&late.concat()).await;
    let answering = async {
        let again = peer.next_of(CALL).await;
        assert_eq!(again.stream, FIRST + 0x10000, "the slot is used again");
        let answer = frame(REPLY, MESSAGE | IS_END, again.stream, b"\0\0y");
        peer.send(&answer).await;
    };
    let (answer, ()) = futures_util::future::join(client.call(&ECHO, sent), answering).await;
    assert_eq!(answer.unwrap(), "y");
}
