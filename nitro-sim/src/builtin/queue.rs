//! The system `queue`: publishers publish to a broker that keeps its messages on its disk, and
//! workers of one group share them.
//!
//! `queue_acks_before_sync` is broken on purpose: it answers before its disk has synced.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::error::Result;
use nitro::store::Sync;
use serde_json::json;

use super::jobs::{self, HANDLED, Jobs, notes, number};
use super::keeper::{self, KEEPER};
use crate::system::{Node, System};
use crate::trace::Trace;

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
        .invariant(
            "every acknowledged message is handled",
            jobs::all_are_handled,
        )
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
            let message = jobs::message(&node, &operation);
            let publishing = jobs::publish(&broker, &operation, message);
            keeper::in_time(clock, &operation, publishing).await
        }
    })
    .await
}

async fn work(node: Node) -> Result<()> {
    let broker = keeper::reach(&node).broker;
    let time = Duration::from_millis(node.parameter_or("work_ms", 0)?);
    let mut todo = Jobs::join(&node, &broker).await;
    loop {
        let delivery = todo.next().await;
        let handled = json!({
            "value": jobs::value(&delivery),
            "attempt": delivery.attempt(),
            "number": delivery.receipt().number,
            "claim": delivery.receipt().claim,
            "key": delivery.message().key,
        });
        node.host().clock.sleep(time).await;
        node.note(HANDLED, handled);
        // One that could not be acknowledged comes again.
        let _ = delivery.acknowledge().await;
    }
}

/// A delivery that two members had, or one member twice.
fn one_member(trace: &Trace) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for (node, value) in notes(trace, HANDLED) {
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
    for (_, value) in notes(trace, HANDLED) {
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
