//! The system `feed`: publishers and workers that find each other through a registry, and deliver
//! messages over HTTP, each publisher from an outbox on its disk.
//!
//! `feed_acks_before_sync` is broken on purpose: its outboxes answer before their disks have
//! synced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nitro::address::Address;
use nitro::broker::{Broker, Delivery};
use nitro::durable;
use nitro::error::Result;
use nitro::http::{HttpBroker, Settings};
use nitro::store::{FileStore, Settings as StoreSettings, Store, Sync};
use serde_json::{Value, json};

use super::jobs::{self, HANDLED, Jobs, notes, number};
use super::{cluster, keeper};
use crate::system::{Node, System};
use crate::trace::Trace;

const PORT: u16 = 8080;

/// What a worker notes when it begins with a message.
const BEGUN: &str = "begun";

/// The header of a message that says who has published it: numbers are each publisher's own.
const PUBLISHER: &str = "publisher";

/// The system: roles `registry`, `publisher` and `worker`; operation `publish`; parameter
/// `work_ms`, how long a worker takes for a message.
pub fn system() -> System {
    named("feed", Sync::Always)
}

/// The same, answering before the disk has synced.
pub fn acks_before_sync() -> System {
    named("feed_acks_before_sync", Sync::EverySecond)
}

fn named(name: &str, sync: Sync) -> System {
    System::new(name)
        .role("registry", cluster::keep_registry)
        .role("publisher", move |node| publish(node, sync))
        .role("worker", work)
        .operation("publish")
        .invariant(
            "every acknowledged message is handled",
            jobs::all_are_handled,
        )
        .invariant("an attempt goes to one member", one_member)
        .invariant("a key's messages come in order", keys_in_order)
}

async fn start(node: &Node, outbox: &Broker) -> Result<HttpBroker> {
    let settings = Settings {
        advertise: Some(Address::tcp(node.name(), PORT)),
        ..Settings::at(Address::tcp("0.0.0.0", PORT))
    };
    let fabric = cluster::fabric(node);
    HttpBroker::start(node.host(), fabric.registry(), outbox, settings).await
}

async fn publish(node: Node, sync: Sync) -> Result<()> {
    let host = node.host();
    let settings = StoreSettings {
        sync,
        check_when_opened: false,
        ..StoreSettings::default()
    };
    let store = Store::new(FileStore::open(host, "/outbox", settings).await?);
    let started = start(&node, &durable::broker(host, &store)).await?;
    let (broker, at) = (started.broker(), node.clone());
    let publishing = node.workload(move |operation| {
        let (broker, node) = (broker.clone(), at.clone());
        async move {
            let clock = &node.host().clock;
            let mut message = jobs::message(&node, &operation);
            let publisher = (PUBLISHER.to_owned(), node.name().to_owned());
            message.headers.insert(publisher.0, publisher.1);
            let publishing = jobs::publish(&broker, &operation, message);
            keeper::in_time(clock, &operation, publishing).await
        }
    });
    publishing.await?;
    // What waits is delivered for as long as the node is there.
    node.stop_requested().await;
    drop(started);
    Ok(())
}

async fn work(node: Node) -> Result<()> {
    let host = node.host();
    let started = start(&node, &Broker::memory(host)).await?;
    let time = Duration::from_millis(node.parameter_or("work_ms", 0)?);
    let mut todo = Jobs::join(&node, &started.broker()).await;
    loop {
        let delivery = todo.next().await;
        node.note(BEGUN, told(&delivery));
        host.clock.sleep(time).await;
        node.note(HANDLED, told(&delivery));
        // One that could not be acknowledged comes again.
        let _ = delivery.acknowledge().await;
    }
}

fn told(delivery: &Delivery) -> Value {
    let message = delivery.message();
    json!({
        "value": jobs::value(delivery),
        "attempt": delivery.attempt(),
        "number": delivery.receipt().number,
        "publisher": message.headers.get(PUBLISHER),
        "key": message.key,
    })
}

/// An attempt at a message that two members had.
fn one_member(trace: &Trace) -> Vec<String> {
    let mut seen = BTreeMap::new();
    let mut wrong = Vec::new();
    for (node, value) in notes(trace, HANDLED) {
        let attempt = (number(value, "value"), number(value, "attempt"));
        let other = *seen.entry(attempt).or_insert(node);
        if other != node {
            let (message, attempt) = attempt;
            wrong.push(format!(
                "message {message}, attempt {attempt}: {other} and {node}"
            ));
        }
    }
    wrong
}

/// The messages of a publisher and a key begin in the order of its numbers, each the first time.
/// One that comes again may come later: what was posted into a silent link arrives when the link
/// speaks, long after its publisher has tried another member and gone on.
fn keys_in_order(trace: &Trace) -> Vec<String> {
    let mut begun: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, value) in notes(trace, BEGUN) {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let (publisher, key) = (text("publisher"), text("key"));
        let message = number(value, "number");
        let begun = begun.entry((publisher, key)).or_default();
        let last = begun.last().copied().unwrap_or(0);
        if begun.insert(message) && message < last {
            wrong.push(format!(
                "{publisher}, key {key}: message {message} after {last}"
            ));
        }
    }
    wrong
}
