//! Where a node is to be found is looked up once and kept for ever, also when it has left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::app::App;
use nitro::client::balance::Target;
use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::registry::Registry;
use nitro::rpc::Router;
use nitro::time::Instant;
use nitro::{Address, Client, Method};
use serde_json::{Value, json};

use super::service::{address, builder, is_broken, with, work};
use crate::builtin::cluster;
use crate::system::{Node, Operation, System};

const ASK: Method<u64, u64> = Method::unary("shard/ask").idempotent();

/// How long a node is listed without a heartbeat.
const TTL: Duration = Duration::from_secs(1);

/// How long a client counts on what it has found.
const FRESH: Duration = Duration::from_secs(1);

pub(super) fn system() -> System {
    System::new("directory_cached")
        .role("registry", cluster::keep_registry)
        .role("server", serve)
        .role("client", ask)
        .operation("ask")
}

async fn serve(node: Node) -> Result<()> {
    let answer = |(), number: u64| async move { Ok(number) };
    let app = App::new(&cluster::fabric(&node), "shard")
        .router(Router::new().unary(&ASK, Json, with(&(), answer)))
        .listen(address("0.0.0.0"))
        .advertise(address(node.name()))
        .ttl(TTL);
    app.run_until(node.stop_requested()).await
}

/// Who a key belongs to, and since when that has been known.
type Found = BTreeMap<u64, (Client<Json>, Instant)>;

#[derive(Clone)]
struct Asker {
    node: Node,
    registry: Registry,
    found: Arc<Mutex<Found>>,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let asker = Asker {
        registry: cluster::fabric(&node).registry().clone(),
        found: Arc::default(),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    work(&node, asker, make).await
}

async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let client = asker.find(operation.key).await?.timeout(operation.timeout);
    Ok(json!(client.call(&ASK, operation.value).await?))
}

impl Asker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().expect("no panic while it is held")
    }

    /// The node that a key belongs to, among those that are listed.
    async fn find(&self, key: u64) -> Result<Client<Json>> {
        let now = self.node.host().clock.now();
        if let Some((client, since)) = self.lock().get(&key)
            // The bug: who was found once is asked for ever, though somebody else has its place.
            && (self.is_broken || now.since(*since) < FRESH)
        {
            return Ok(client.clone());
        }
        let nodes = self.registry.list(Some("shard")).await?.nodes;
        let nobody = || Error::unavailable("nobody is listed");
        let place = key as usize % nodes.len().max(1);
        let address: Address = nodes.get(place).ok_or_else(nobody)?.address.clone();
        let (client, _) = builder(&self.node).targets(Json, &[Target::at(address)]);
        self.lock().insert(key, (client.clone(), now));
        Ok(client)
    }
}
