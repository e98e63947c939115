//! A cache is filled with what was read before it was written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::host::Host;
use nitro::rpc::Router;
use nitro::store::Table;
use nitro::time::Instant;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::check::model::KeyValue;
use crate::system::{Node, Operation, System};

const GET: Method<u64, Option<u64>> = Method::unary("front/get").idempotent();
const PUT: Method<(u64, u64), ()> = Method::unary("front/put");

/// How long what is in the cache is answered without asking the store.
const FRESH: Duration = Duration::from_millis(400);

pub(super) fn system() -> System {
    System::new("cache_filled_late")
        .role(KEEPER, keeper::keep)
        .role("front", answer)
        .role("client", ask)
        .operation("get")
        .operation("put")
        .linearizable(KeyValue)
}

/// A value, the store's version of it, and until when it is fresh.
type Entry = (Option<u64>, u64, Instant);

#[derive(Clone)]
struct Front {
    host: Host,
    /// Reads have a connection of their own, so that they do not wait behind writes.
    reads: Table,
    writes: Table,
    cache: Arc<Mutex<BTreeMap<u64, Entry>>>,
    is_broken: bool,
}

async fn answer(node: Node) -> Result<()> {
    let table = || keeper::reach(&node).store.table("shop", "prices");
    let front = Front {
        host: node.host().clone(),
        reads: table(),
        writes: table(),
        cache: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    let router =
        Router::new()
            .unary(&GET, Json, with(&front, get))
            .unary(&PUT, Json, with(&front, put));
    serve(&node, router).await
}

async fn get(front: Front, key: u64) -> Result<Option<u64>> {
    let cached = front.lock().get(&key).copied();
    if let Some((value, _, until)) = cached
        && front.host.clock.now() < until
    {
        return Ok(value);
    }
    let found = front.reads.read(key.to_string()).await?;
    let version = found.as_ref().map_or(0, |record| record.version);
    let value = found.and_then(|record| std::str::from_utf8(&record.value).ok()?.parse().ok());
    front.fill(key, value, version);
    Ok(value)
}

async fn put(front: Front, (key, value): (u64, u64)) -> Result<()> {
    let version = front
        .writes
        .write(key.to_string(), value.to_string())
        .await?;
    front.fill(key, Some(value), version);
    Ok(())
}

impl Front {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.cache.lock().expect("no panic while it is held")
    }

    fn fill(&self, key: u64, value: Option<u64>, version: u64) {
        let mut cache = self.lock();
        let held = cache.get(&key).map_or(0, |(_, version, _)| *version);
        // The bug: a read that was overtaken by a write puts the old value in place of the new.
        if self.is_broken || version >= held {
            cache.insert(key, (value, version, self.host.clock.now() + FRESH));
        }
    }
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "front-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let (key, value) = (operation.key, operation.value);
    let client = client.timeout(operation.timeout);
    match operation.name.as_str() {
        "get" => Ok(json!(client.call(&GET, key).await?)),
        _ => Ok(json!(client.call(&PUT, (key, value)).await?)),
    }
}
