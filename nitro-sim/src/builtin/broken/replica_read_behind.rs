//! A client that has been told of a version is told an older one by the next replica.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::host::Host;
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

/// Reads the version of a key, which must be no older than asked for.
const READ: Method<(u64, u64), u64> = Method::unary("replica/read").idempotent();
/// Makes a new version of a key.
const WRITE: Method<u64, u64> = Method::unary("primary/write");
/// All versions that the primary has.
const COPY: Method<(), BTreeMap<u64, u64>> = Method::unary("primary/copy").idempotent();

/// How often a replica copies what the primary has.
const EVERY: Duration = Duration::from_millis(100);

pub(super) fn system() -> System {
    System::new("replica_read_behind")
        .role("primary", serve_all)
        .role("replica", serve_all)
        .role("client", ask)
        .operation("read")
        .operation("write")
        .monotonic_reads("read")
}

type Versions = Arc<Mutex<BTreeMap<u64, u64>>>;

async fn serve_all(node: Node) -> Result<()> {
    let versions = Versions::default();
    let mut _copying = None;
    if node.role() == "replica" {
        let (host, held) = (node.host().clone(), Arc::clone(&versions));
        let primary = reach(&node, "primary-1");
        let copying = async move { copy_for_ever(&host, &primary, &held).await };
        let copying = node.host().tasks.spawn("copy", Box::pin(copying));
        _copying = Some(copying.abort_on_drop());
    }
    let copy = |held: Versions, ()| async move { Ok(lock(&held).clone()) };
    let router = Router::new()
        .unary(&READ, Json, with(&versions, read))
        .unary(&WRITE, Json, with(&versions, write))
        .unary(&COPY, Json, with(&versions, copy));
    serve(&node, router).await
}

async fn copy_for_ever(host: &Host, primary: &Client<Json>, held: &Versions) {
    loop {
        if let Ok(all) = primary.call(&COPY, ()).await {
            *lock(held) = all;
        }
        host.clock.sleep(EVERY).await;
    }
}

fn lock(held: &Versions) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
    held.lock().expect("no panic while it is held")
}

async fn read(held: Versions, (key, at_least): (u64, u64)) -> Result<u64> {
    let version = lock(&held).get(&key).copied().unwrap_or(0);
    match version >= at_least {
        true => Ok(version),
        false => Err(Error::aborted("this replica is behind")),
    }
}

async fn write(held: Versions, key: u64) -> Result<u64> {
    let mut held = lock(&held);
    let version = held.entry(key).or_default();
    *version += 1;
    Ok(*version)
}

#[derive(Clone)]
struct Asker {
    /// The primary first.
    nodes: Vec<Client<Json>>,
    /// The newest version that this client was told of each key.
    seen: Versions,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let names = node.peers("primary").iter().chain(node.peers("replica"));
    let asker = Asker {
        nodes: names.map(|name| reach(&node, name)).collect(),
        seen: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    work(&node, asker, make).await
}

async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let key = operation.key;
    let version = match operation.name.as_str() {
        "write" => asker.nodes[0].call(&WRITE, key).await?,
        _ => {
            asker
                .read(operation.value as usize % asker.nodes.len(), key)
                .await?
        }
    };
    let mut seen = lock(&asker.seen);
    let newest = seen.entry(key).or_default();
    *newest = version.max(*newest);
    Ok(json!(version))
}

impl Asker {
    /// Asks a node, and the primary if that one is behind.
    async fn read(&self, node: usize, key: u64) -> Result<u64> {
        let seen = lock(&self.seen).get(&key).copied().unwrap_or(0);
        // The bug: any version will do, and the next replica may be further behind than the last.
        let at_least = if self.is_broken { 0 } else { seen };
        match self.nodes[node].call(&READ, (key, at_least)).await {
            Err(_) if node > 0 => self.nodes[0].call(&READ, (key, at_least)).await,
            answer => answer,
        }
    }
}
