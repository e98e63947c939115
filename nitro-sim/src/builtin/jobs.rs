//! What the systems `queue` and `feed` have in common: messages with numbers for bodies, workers
//! of one group that share them, and what must have come of each.

use std::collections::BTreeSet;
use std::time::Duration;

use nitro::broker::{Broker, Consumer, Delivery, Message, Subscription};
use nitro::error::Result;
use nitro::host::Host;
use serde_json::{Value, json};

use crate::system::{Node, Operation};
use crate::trace::{EventKind, OperationOutcome, Trace};

/// What a worker notes when it is done with a message, with its `value`.
pub(super) const HANDLED: &str = "handled";

const TOPIC: &str = "jobs";

/// How long a message may take to be handled once all is well: until the last that was on its way
/// counts as failed, and the members that were away are asked again.
const HANDLED_WITHIN_US: u64 = 15_000_000;

/// How long a worker waits before it tries again what has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// The message of an operation.
pub(super) fn message(node: &Node, operation: &Operation) -> Message {
    let body = operation.value.to_string();
    Message::new(node.host(), TOPIC, body).key(operation.key.to_string())
}

/// Publishes a message of an operation.
///
/// # Errors
///
/// What the broker says.
pub(super) async fn publish(
    broker: &Broker,
    operation: &Operation,
    message: Message,
) -> Result<Value> {
    let number = broker.publish_all(vec![message]).await?;
    Ok(json!({ "number": number, "value": operation.value }))
}

/// The number that is a delivery's body.
pub(super) fn value(delivery: &Delivery) -> u64 {
    let body = &delivery.message().body;
    String::from_utf8_lossy(body).parse().unwrap_or(0)
}

/// What a worker has to do, one after another.
pub(super) struct Jobs {
    host: Host,
    subscription: Subscription,
}

impl Jobs {
    /// Joins the group of workers, however long that takes.
    pub(super) async fn join(node: &Node, broker: &Broker) -> Self {
        let host = node.host().clone();
        let terms = Consumer {
            visibility_ms: 2_000,
            attempts_max: 100,
            backlog_max: 10_000,
            ..Consumer::group(TOPIC, "workers")
        };
        loop {
            let subscribing = broker.subscribe(&host, terms.clone()).await;
            if let Ok(subscription) = subscribing {
                return Self { host, subscription };
            }
            host.clock.sleep(PAUSE).await;
        }
    }

    /// The next one, however long it takes.
    pub(super) async fn next(&mut self) -> Delivery {
        loop {
            if let Ok(delivery) = self.subscription.next().await {
                return delivery;
            }
            self.host.clock.sleep(PAUSE).await;
        }
    }
}

/// The notes of a name, with the nodes that have made them.
pub(super) fn notes<'t>(
    trace: &'t Trace,
    name: &'t str,
) -> impl Iterator<Item = (&'t str, &'t Value)> {
    trace
        .notes(name)
        .map(|(event, value)| (event.node.as_deref().unwrap_or_default(), value))
}

/// A number in a note or a reply.
pub(super) fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

/// The messages that were acknowledged long enough before the end, with nothing in the way since,
/// and that no worker has handled.
pub(super) fn all_are_handled(trace: &Trace) -> Vec<String> {
    let values: BTreeSet<u64> = notes(trace, HANDLED)
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
