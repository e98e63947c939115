//! A message is acknowledged when it comes, and lost when its worker crashes before it is handled.

use std::time::Duration;

use nitro::broker::{Broker, Consumer, Message};
use nitro::error::Result;
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::system::{Node, Operation, System};

/// How long a worker waits when the broker cannot be reached.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a message may take to be handled.
const WITHIN: Duration = Duration::from_secs(6);

pub(super) fn system() -> System {
    System::new("jobs_acked_before_handling")
        .role(KEEPER, keeper::keep)
        .role("client", ask)
        .role("worker", toil)
        .operation("submit")
        .delivered("submit", "done", WITHIN)
}

async fn ask(node: Node) -> Result<()> {
    let broker = keeper::reach(&node).broker;
    work(&node, (node.clone(), broker), make).await
}

async fn make((node, broker): (Node, Broker), operation: Operation) -> Result<Value> {
    let message = Message::new(node.host(), "jobs", operation.value.to_string());
    Ok(json!(broker.publish_all(vec![message]).await?))
}

async fn toil(node: Node) -> Result<()> {
    let (broker, host) = (keeper::reach(&node).broker, node.host());
    let is_broken = is_broken(&node)?;
    let time = Duration::from_millis(node.parameter("work_ms")?);
    let terms = Consumer {
        visibility_ms: 1_000,
        attempts_max: 100,
        ..Consumer::group("jobs", "workers")
    };
    loop {
        let Ok(mut subscription) = broker.subscribe(host, terms.clone()).await else {
            host.clock.sleep(PAUSE).await;
            continue;
        };
        while let Ok(delivery) = subscription.next().await {
            let text = String::from_utf8_lossy(&delivery.message().body).into_owned();
            let done = json!({ "value": text.parse().unwrap_or(0_u64) });
            if is_broken {
                // The bug: from here on nobody else knows of it, and it is not done yet.
                let _ = delivery.acknowledge().await;
                host.clock.sleep(time).await;
                node.note("done", done);
            } else {
                host.clock.sleep(time).await;
                node.note("done", done);
                // One that cannot be acknowledged comes again, and is done again.
                let _ = delivery.acknowledge().await;
            }
        }
        host.clock.sleep(PAUSE).await;
    }
}
