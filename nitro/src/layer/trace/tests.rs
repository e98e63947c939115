//! What a subscriber is told of a call, and what the next hop is.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use tower::ServiceExt;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};

use super::*;
use crate::host::entropy::Sequence;
use crate::layer::tests::{Act, Call, Scripted, clock};

/// Keeps the fields of every span of ours.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name(), format!("{value:?}").replace('"', ""));
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut spans = self.0.lock().unwrap();
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.lock().unwrap();
        let index = usize::try_from(span.into_u64()).unwrap() - 1;
        values.record(&mut Fields(&mut spans[index]));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, _event: &Event<'_>) {}
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

fn entropy() -> Arc<Sequence> {
    Arc::new(Sequence::from_seed(1))
}

/// Runs a call through a client and a server layer; what was recorded of each, and the metadata
/// that the handler saw.
async fn run(
    call: Call,
    act: Act,
    wait: Duration,
) -> (Vec<BTreeMap<&'static str, String>>, Metadata) {
    let recorder = Recorder::default();
    let _default = tracing::subscriber::set_default(recorder.clone());
    let handler = Scripted::new([act]);
    let server = TraceLayer::server(clock(), entropy()).layer(handler.clone());
    let client = TraceLayer::client(clock(), entropy()).layer(server);
    let _ = clock().timeout(wait, client.oneshot(call)).await;
    let spans = recorder.0.lock().unwrap().clone();
    (spans, handler.seen()[0].metadata.clone())
}

const LONG: Duration = Duration::from_secs(9);

#[tokio::test(start_paused = true)]
async fn client_server_and_handler_are_parts_of_one_trace() {
    let act = Act::AnswerAfter(Duration::from_millis(20), Ok(1));
    let (spans, seen) = run(Call::default(), act, LONG).await;
    let [client, server] = &spans[..] else {
        panic!("two spans, not {spans:?}")
    };
    assert_eq!((&*client["kind"], &*server["kind"]), ("client", "server"));
    assert_eq!(client["name"], "greeter/hello");
    assert_eq!(client["trace_id"], server["trace_id"]);
    assert_eq!(client["span_id"], server["parent_id"]);
    assert_ne!(client["span_id"], server["span_id"]);
    assert!(!client.contains_key("parent_id"));
    let onward = TraceContext::parse(seen.get_str("traceparent").unwrap()).unwrap();
    assert_eq!(format!("{:016x}", onward.span_id), server["span_id"]);
    let latency: f64 = client["latency_ms"].parse().unwrap();
    assert!((20.0..22.0).contains(&latency), "{latency}");
    assert!(!client.contains_key("error"));
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_comes_in_is_continued_with_its_state() {
    let mut call = Call::default();
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    call.metadata.insert("traceparent", text).unwrap();
    call.metadata.insert("tracestate", "vendor=1").unwrap();
    let (spans, seen) = run(call, Act::Answer(Ok(1)), LONG).await;
    assert_eq!(spans[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(spans[0]["parent_id"], "00f067aa0ba902b7");
    assert_eq!(seen.get_str("tracestate"), Some("vendor=1"));
    let flags = seen.get_str("traceparent").unwrap();
    assert!(
        flags.ends_with("-00"),
        "the caller's choice not to record stays: {flags}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_malformed_trace_is_replaced_and_its_state_dropped() {
    let mut call = Call::default();
    call.metadata.insert("traceparent", "nonsense").unwrap();
    call.metadata.insert("tracestate", "vendor=1").unwrap();
    let (spans, seen) = run(call, Act::Answer(Ok(1)), LONG).await;
    assert!(!spans[0].contains_key("parent_id"));
    assert!(TraceContext::parse(seen.get_str("traceparent").unwrap()).is_some());
    assert_eq!(seen.get("tracestate"), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_has_its_kind_and_a_dropped_one_is_cancelled() {
    let failed = Act::Answer(Err(Error::not_found("no such user")));
    let (spans, _) = run(Call::default(), failed, LONG).await;
    assert_eq!(spans[0]["error"], "not found");
    let slow = Act::AnswerAfter(LONG * 2, Ok(1));
    let (spans, _) = run(Call::default(), slow, LONG).await;
    assert_eq!(spans[0]["error"], "cancelled");
    assert!(spans[0].contains_key("latency_ms"));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_added_when_nobody_listens() {
    let handler = Scripted::default();
    let client = TraceLayer::client(clock(), entropy()).layer(handler.clone());
    let _none = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    client.clone().oneshot(Call::default()).await.unwrap();
    let mut call = Call::default();
    call.metadata.insert("traceparent", "as it was").unwrap();
    client.oneshot(call).await.unwrap();
    let seen = handler.seen();
    assert!(seen[0].metadata.is_empty());
    assert_eq!(seen[1].metadata.get_str("traceparent"), Some("as it was"));
}
