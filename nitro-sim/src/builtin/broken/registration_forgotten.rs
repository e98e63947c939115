//! A node goes on telling that it lives to a registry that has long forgotten it.

use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Kind, Result};
use nitro::registry::{self, Registry};
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{address, builder, is_broken, serve, with, work};
use crate::builtin::cluster;
use crate::system::{Node, Operation, System};

const ASK: Method<u64, u64> = Method::unary("service/ask").idempotent();

/// How long a node is listed without a heartbeat, and how often it sends one.
const TTL: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn system() -> System {
    System::new("registration_forgotten")
        .role("registry", cluster::keep_registry)
        .role("server", answer)
        .role("client", ask)
        .operation("ask")
}

async fn answer(node: Node) -> Result<()> {
    let registry = cluster::fabric(&node).registry().clone();
    let (at, is_broken) = (node.clone(), is_broken(&node)?);
    let telling = async move { tell(&at, &registry, is_broken).await };
    let telling = node.host().tasks.spawn("heartbeat", Box::pin(telling));
    let answer = |(), number: u64| async move { Ok(number) };
    let serving = serve(&node, Router::new().unary(&ASK, Json, with(&(), answer))).await;
    telling.abort();
    serving
}

async fn tell(node: &Node, registry: &Registry, is_broken: bool) {
    let own = registry::Node::new("service", node.name(), address(node.name()));
    let mut is_listed = false;
    loop {
        if is_listed {
            let told = registry.heartbeat("service", node.name(), TTL).await;
            // The bug: that a heartbeat fails is taken for a bad connection, whatever it says.
            let is_forgotten = told.is_err_and(|error| error.kind() == Kind::NotFound);
            is_listed = is_broken || !is_forgotten;
        } else {
            is_listed = registry.register(own.clone(), TTL).await.is_ok();
        }
        node.host().clock.sleep(EVERY).await;
    }
}

async fn ask(node: Node) -> Result<()> {
    let registry = cluster::fabric(&node).registry().clone();
    work(&node, builder(&node).registry(Json, &registry), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    Ok(json!(client.call(&ASK, operation.value).await?))
}
