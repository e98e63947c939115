//! The system `queue`: publishers publish to a broker that keeps its messages on its disk, and
//! workers of one group share them.
//!
//! `queue_acks_before_sync` is broken on purpose: it answers before its disk has synced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nitro::broker::{Broker, Consumer, Message};
use nitro::error::Result;
use nitro::store::Sync;
use serde_json::{Value, json};

use super::keeper::{self, KEEPER};
use crate::system::{Node, Operation, System};
use crate::trace::{EventKind, OperationOutcome, Trace};

/// How long a message may take to be handled once all is well.
const HANDLED_WITHIN_US: u64 = 15_000_000;

/// The system: roles `keeper`, `publisher` and `worker`; operation `publish`; parameter
/// `work_ms`, how long a worker takes for a message.
pub fn system() -> System {
    named("queue").role(KEEPER, keeper::keep)
}

/// The same, answering before the disk has synced.
pub fn acks_before_sync() -> System {
    named("queue_acks_before_sync").role(KEEPER, async |node: Node| {
        let kept = keeper::open(&node, Sync::EverySecond).await?;
        keeper::serve(&node, &kept).await
    })
}

fn named(name: &str) -> System {
    System::new(name)
        .role("publisher", publish)
        .role("worker", work)
        .operation("publish")
        .invariant("every acknowledged message is handled", all_are_handled)
        .invariant("a delivery goes to one member", one_member)
        .invariant("a key's messages come in order", keys_in_order)
}

async fn publish(node: Node) -> Result<()> {
    let broker = keeper::reach(&node).broker;
    let at = node.clone();
    node.workload(move |operation| {
        let (broker, node) = (broker.clone(), at.clone());
        async move {
            let clock = &node.host().clock;
            keeper::in_time(clock, &operation, send(&broker, &node, &operation)).await
        }
    })
    .await
}

async fn send(broker: &Broker, node: &Node, operation: &Operation) -> Result<Value> {
    let body = operation.value.to_string();
    let message = Message::new(node.host(), "jobs", body).key(operation.key.to_string());
    let number = broker.publish_all(vec![message]).await?;
    Ok(json!({ "number": number, "value": operation.value }))
}

async fn work(node: Node) -> Result<()> {
    let broker = keeper::reach(&node).broker;
    let host = node.host();
    let time = Duration::from_millis(node.parameter_or("work_ms", 0)?);
    let terms = Consumer {
        visibility_ms: 2_000,
        attempts_max: 100,
        backlog_max: 10_000,
        ..Consumer::group("jobs", "workers")
    };
    loop {
        let subscribing = broker.subscribe(host, terms.clone()).await;
        let Ok(mut subscription) = subscribing else {
            host.clock.sleep(Duration::from_millis(100)).await;
            continue;
        };
        loop {
            let Ok(delivery) = subscription.next().await else {
                host.clock.sleep(Duration::from_millis(100)).await;
                continue;
            };
            let message = delivery.message();
            let value: u64 = String::from_utf8_lossy(&message.body).parse().unwrap_or(0);
            let handled = json!({
                "value": value,
                "attempt": delivery.attempt(),
                "number": delivery.receipt().number,
                "claim": delivery.receipt().claim,
                "key": message.key,
            });
            host.clock.sleep(time).await;
            node.note("handled", handled);
            // One that could not be acknowledged comes again.
            let _ = delivery.acknowledge().await;
        }
    }
}

fn handled(trace: &Trace) -> impl Iterator<Item = (&str, &Value)> {
    trace
        .notes("handled")
        .map(|(event, value)| (event.node.as_deref().unwrap_or_default(), value))
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn all_are_handled(trace: &Trace) -> Vec<String> {
    let values: BTreeSet<u64> = handled(trace)
        .map(|(_, value)| number(value, "value"))
        .collect();
    let is_fault = |kind: &EventKind| matches!(kind, EventKind::Fault { .. });
    let events = trace.events();
    let last_fault = events.iter().rfind(|event| is_fault(&event.kind));
    let end = events.last().map_or(0, |event| event.at_us);
    let calm_since = last_fault.map_or(0, |event| event.at_us);
    let mut wrong = Vec::new();
    for (event, operation, outcome) in trace.outcomes() {
        let OperationOutcome::Ok { reply } = outcome else {
            continue;
        };
        let is_due = event.at_us.max(calm_since) + HANDLED_WITHIN_US < end;
        if is_due && !values.contains(&number(reply, "value")) {
            let number = number(reply, "number");
            wrong.push(format!(
                "operation {operation}, message {number}: never handled"
            ));
        }
    }
    wrong
}

/// A delivery that two members had, or one member twice.
fn one_member(trace: &Trace) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for (node, value) in handled(trace) {
        let delivery = (number(value, "number"), number(value, "claim"));
        if let Some(other) = seen.insert(delivery, node) {
            let (message, claim) = delivery;
            wrong.push(format!(
                "message {message}, delivery {claim}: {other} and {node}"
            ));
        }
    }
    wrong
}

/// First deliveries of a key rise with the numbers.
fn keys_in_order(trace: &Trace) -> Vec<String> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, value) in handled(trace) {
        let key = value["key"].as_str().unwrap_or_default();
        let message = number(value, "number");
        let last = last.entry(key).or_default();
        if number(value, "attempt") == 1 && message < *last {
            wrong.push(format!("key {key}: message {message} after {last}"));
        }
        *last = message.max(*last);
    }
    wrong
}
