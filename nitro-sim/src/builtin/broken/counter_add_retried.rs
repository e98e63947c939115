//! A call that is no twice the same is made twice, because its method says that it may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{address, builder, is_broken, serve, with, work};
use crate::check::model::Counter;
use crate::system::{Node, Operation, System};

const READ: Method<(), u64> = Method::unary("counter/read").idempotent();

/// How long the client stack waits for one attempt.
const ATTEMPT: Duration = Duration::from_millis(150);

/// Adding one.
const fn add(is_broken: bool) -> Method<(), u64> {
    let add = Method::unary("counter/add");
    match is_broken {
        // The bug: the client stack takes its word that adding twice is adding once, and adds
        // again when an answer is late.
        true => add.idempotent(),
        false => add,
    }
}

pub(super) fn system() -> System {
    System::new("counter_add_retried")
        .role("server", count)
        .role("client", ask)
        .operation("add")
        .operation("read")
        .linearizable(Counter)
}

async fn count(node: Node) -> Result<()> {
    let total = Arc::new(AtomicU64::new(0));
    let adding =
        |total: Arc<AtomicU64>, ()| async move { Ok(total.fetch_add(1, Ordering::Relaxed) + 1) };
    let reading = |total: Arc<AtomicU64>, ()| async move { Ok(total.load(Ordering::Relaxed)) };
    let router = Router::new()
        .unary(&add(false), Json, with(&total, adding))
        .unary(&READ, Json, with(&total, reading));
    serve(&node, router).await
}

async fn ask(node: Node) -> Result<()> {
    let client = builder(&node).attempt_timeout(ATTEMPT);
    let client = client.address(Json, address("server-1"));
    work(&node, (client, is_broken(&node)?), make).await
}

async fn make((client, is_broken): (Client<Json>, bool), operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    let total = match operation.name.as_str() {
        "add" => client.call(&add(is_broken), ()).await?,
        _ => client.call(&READ, ()).await?,
    };
    Ok(json!(total))
}
