//! The rpc suite: what a caller sees, whatever carries the call.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use nitro::codec::{Json, Protobuf, Raw};
use nitro::rpc::Rpc;
use nitro::{Client, Host, Kind, Metadata};

use super::service::*;

/// A way to reach the service.
pub(crate) struct Reach {
    pub(crate) host: Host,
    pub(crate) rpc: Rpc,
    pub(crate) seen: Seen,
    /// Whether a wire is between, with its flow control and its codecs' content types.
    pub(crate) has_wire: bool,
}

impl Reach {
    fn client(&self) -> Client<Protobuf> {
        Client::new(&self.host, self.rpc.clone(), Protobuf)
    }

    fn raw(&self) -> Client<Raw> {
        self.client().with_codec(Raw)
    }
}

/// Every case in turn.
pub(crate) async fn suite(reach: &Reach) {
    all_four_kinds_answer(reach).await;
    long_streams_flow_both_ways(reach).await;
    a_long_stream_keeps_its_last_messages(reach).await;
    messages_of_any_length_arrive_whole(reach).await;
    content_types_are_chosen_and_refused(reach).await;
    metadata_goes_both_ways(reach).await;
    errors_arrive_as_they_were_made(reach).await;
    what_cannot_be_answered_is_told_at_once(reach).await;
    deadlines_hold_for_heads_and_bodies(reach).await;
    a_dropped_call_is_seen_by_its_handler(reach).await;
    a_broken_off_upload_is_not_taken_for_whole(reach).await;
    a_slow_reader_stops_only_its_own_stream(reach).await;
    many_calls_at_once_get_their_own_answers(reach).await;
    an_error_that_a_handler_passes_on_is_not_safe_to_repeat(reach).await;
}

async fn all_four_kinds_answer(reach: &Reach) {
    let client = reach.client();
    assert_eq!(client.call(&DOUBLE, number(21)).await.unwrap(), number(42));

    let mut counted = client.server_streaming(&COUNT, number(3)).await.unwrap();
    for expected in 0..3 {
        assert_eq!(counted.next().await.unwrap().unwrap(), number(expected));
    }
    assert!(counted.next().await.is_none());

    let mut none = client.server_streaming(&COUNT, number(0)).await.unwrap();
    assert!(none.next().await.is_none());

    let (out, reply) = client.client_streaming(&SUM);
    for value in 1..=4 {
        out.send(number(value)).await.unwrap();
    }
    out.finish().await;
    assert_eq!(reply.await.unwrap(), number(10));

    let (out, mut answers) = client.bidirectional(&RUNNING);
    for (value, sum) in [(1, 1), (2, 3), (3, 6)] {
        out.send(number(value)).await.unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap(), number(sum));
    }
    // Half-close: the way in ends, the way out goes on to its own end.
    out.finish().await;
    assert_eq!(answers.next().await.unwrap().unwrap(), number(-1));
    assert!(answers.next().await.is_none());
}

async fn long_streams_flow_both_ways(reach: &Reach) {
    let client = reach.client();
    // More than any buffer on the way holds, and nothing is read until all is sent.
    let (out, reply) = client.client_streaming(&SUM);
    for value in 0..20_000 {
        out.send(number(value)).await.unwrap();
    }
    out.finish().await;
    assert_eq!(reply.await.unwrap(), number(199_990_000));

    let (out, mut answers) = client.bidirectional(&RUNNING);
    let sending = async move {
        for _ in 0..5_000 {
            out.send(number(1)).await.unwrap();
        }
        out.finish().await;
    };
    let reading = async {
        let mut last = 0;
        while let Some(answer) = answers.next().await {
            last = answer.unwrap().value;
            if last == 5_000 {
                break;
            }
        }
        last
    };
    let ((), last) = futures_util::future::join(sending, reading).await;
    assert_eq!(last, 5_000);
}

/// More than once: where a stream ends, in terms of what its task may do in one go, must not
/// matter.
async fn a_long_stream_keeps_its_last_messages(reach: &Reach) {
    let client = reach.client();
    for length in (990..1_010).chain([20_000]) {
        let mut counted = client
            .server_streaming(&COUNT, number(length))
            .await
            .unwrap();
        for expected in 0..length {
            assert_eq!(counted.next().await.unwrap().unwrap(), number(expected));
        }
        assert!(counted.next().await.is_none());
    }
}

async fn messages_of_any_length_arrive_whole(reach: &Reach) {
    let client = reach.raw();
    // Around what a head holds, what a frame holds, and what a window holds.
    for length in [
        0,
        1,
        16_384,
        16_385,
        65_535,
        65_537,
        600_000,
        4 * 1024 * 1024,
    ] {
        let sent: Bytes = (0..length).map(|at| (at % 251) as u8).collect();
        let back = client.call(&ECHO, sent.clone()).await.unwrap();
        assert!(back == sent, "{length} bytes");
    }
    let error = client
        .call(&ECHO, Bytes::from(vec![0; 4 * 1024 * 1024 + 1]))
        .await;
    assert_eq!(error.unwrap_err().kind(), Kind::ResourceExhausted);
    let mut flood = vec![0, 40];
    flood.resize(300_002, 7);
    let mut answers = client
        .server_streaming(&FLOOD, Bytes::from(flood))
        .await
        .unwrap();
    for _ in 0..40 {
        assert_eq!(answers.next().await.unwrap().unwrap().len(), 300_000);
    }
    assert!(answers.next().await.is_none());
}

async fn content_types_are_chosen_and_refused(reach: &Reach) {
    let json = reach.client().with_codec(Json);
    assert_eq!(json.call(&DOUBLE, number(4)).await.unwrap(), number(8));
    let method: nitro::Method<Number, Number> = nitro::Method::unary("raw/echo");
    let error = json.call(&method, number(4)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(
        error.message().contains("application/octet-stream"),
        "{error}"
    );
}

async fn metadata_goes_both_ways(reach: &Reach) {
    let mut metadata = Metadata::new();
    metadata.insert("Tag", b"\x00\xffbinary").unwrap();
    let client = reach.client().metadata(metadata);
    let reply = client.call_for_reply(&DOUBLE, number(1)).await.unwrap();
    assert_eq!(reply.metadata.get("tag-back"), Some(&b"\x00\xffbinary"[..]));
}

async fn errors_arrive_as_they_were_made(reach: &Reach) {
    let error = reach.client().call(&FAIL, number(7)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(error.message(), "7 is not ready");
    assert_eq!(error.detail("reason"), Some("planned"));
    assert!(!error.is_unsent());
}

async fn what_cannot_be_answered_is_told_at_once(reach: &Reach) {
    let client = reach.client();
    let unknown = client.call(&MISSING, number(1)).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::Unimplemented);
    assert!(unknown.message().contains("math/dubble"), "{unknown}");

    let panicked = client.call(&PANIC, number(1)).await.unwrap_err();
    assert_eq!(panicked.kind(), Kind::Internal);
    assert!(panicked.message().contains("planned panic"), "{panicked}");

    let mut late = client
        .server_streaming(&PANIC_LATE, number(1))
        .await
        .unwrap();
    assert_eq!(late.next().await.unwrap().unwrap(), number(1));
    let panicked = late.next().await.unwrap().unwrap_err();
    assert_eq!(panicked.kind(), Kind::Internal);
    assert!(late.next().await.is_none());

    let garbage: nitro::Method<Bytes, Bytes> = nitro::Method::unary("math/double");
    let text = client.clone().with_codec(Raw);
    let refused = text
        .call(&garbage, Bytes::from_static(b"\xff\xff"))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), Kind::InvalidArgument);

    // The service is none the worse for any of it.
    assert_eq!(client.call(&DOUBLE, number(2)).await.unwrap(), number(4));
}

async fn deadlines_hold_for_heads_and_bodies(reach: &Reach) {
    let client = reach.client().timeout(Duration::from_millis(60));
    let before = reach.seen.cancelled.load(Ordering::SeqCst);
    let late = client.call(&HANG, number(1)).await.unwrap_err();
    assert_eq!(late.kind(), Kind::DeadlineExceeded);
    let mut slow = client.server_streaming(&DRIP, number(1)).await.unwrap();
    assert_eq!(slow.next().await.unwrap().unwrap(), number(1));
    let late = slow.next().await.unwrap().unwrap_err();
    assert_eq!(late.kind(), Kind::DeadlineExceeded);
    assert!(slow.next().await.is_none());
    drop(slow);
    handlers_dropped(reach, before + 2).await;
}

async fn a_dropped_call_is_seen_by_its_handler(reach: &Reach) {
    let client = reach.client();
    let before = reach.seen.cancelled.load(Ordering::SeqCst);
    let clock = &reach.host.clock;
    let hanging = client.call(&HANG, number(1));
    assert!(
        clock
            .timeout(Duration::from_millis(30), hanging)
            .await
            .is_err()
    );
    handlers_dropped(reach, before + 1).await;

    let mut answers = client.server_streaming(&DRIP, number(1)).await.unwrap();
    answers.next().await.unwrap().unwrap();
    drop(answers);
    handlers_dropped(reach, before + 2).await;
}

async fn handlers_dropped(reach: &Reach, count: usize) {
    for _ in 0..200 {
        if reach.seen.cancelled.load(Ordering::SeqCst) >= count {
            return;
        }
        reach.host.clock.sleep(Duration::from_millis(5)).await;
    }
    panic!("a handler lives on though its caller is gone");
}

async fn a_broken_off_upload_is_not_taken_for_whole(reach: &Reach) {
    let (out, reply) = reach.client().client_streaming(&SUM);
    out.send(number(1)).await.unwrap();
    drop(out);
    assert_eq!(reply.await.unwrap_err().kind(), Kind::Cancelled);
}

async fn a_slow_reader_stops_only_its_own_stream(reach: &Reach) {
    if !reach.has_wire {
        return;
    }
    let client = reach.raw();
    let mut flood = vec![0xff, 0xff];
    flood.resize(10_002, 7);
    // 650 MB that nobody reads must not come, nor keep others from being answered.
    let unread = client
        .server_streaming(&FLOOD, Bytes::from(flood))
        .await
        .unwrap();
    for length in [10, 100_000, 1_000_000] {
        let sent = Bytes::from(vec![1; length]);
        assert_eq!(client.call(&ECHO, sent.clone()).await.unwrap(), sent);
    }
    drop(unread);
    assert!(client.call(&ECHO, Bytes::from_static(b"x")).await.is_ok());
}

async fn many_calls_at_once_get_their_own_answers(reach: &Reach) {
    let client = reach.client();
    let calls = (0..500).map(|value| {
        let client = client.clone();
        async move {
            let answer = client.call(&DOUBLE, number(value)).await.unwrap();
            assert_eq!(answer, number(2 * value));
        }
    });
    futures_util::future::join_all(calls).await;
}

async fn an_error_that_a_handler_passes_on_is_not_safe_to_repeat(reach: &Reach) {
    // The handler has run, whatever became of the call that it made in turn.
    let client = reach.client();
    let before = reach.seen.relayed.load(Ordering::SeqCst);
    let error = client.call(&RELAY, number(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!error.is_unsent());
    assert_eq!(reach.seen.relayed.load(Ordering::SeqCst), before + 1);
    let mut relayed = client.server_streaming(&RELAY_MANY, number(1)).await;
    let error = match &mut relayed {
        Ok(answers) => answers.next().await.unwrap().unwrap_err(),
        Err(error) => error.clone(),
    };
    assert!(!error.is_unsent());
    assert_eq!(reach.seen.relayed.load(Ordering::SeqCst), before + 2);
}
