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
use nitro::{Address, Client, Method};
use serde_json::{Value, json};

use super::service::{address, builder, is_broken, with, work};
use crate::builtin::cluster;
use crate::system::{Node, Operation, System};

const ASK: Method<u64, u64> = Method::unary("shard/ask").idempotent();

/// How long a node is listed without a heartbeat.
const TTL: Duration = Duration::from_secs(1);

pub(super) fn system() -> System {
    System::new("directory_cached")
        .role("registry", list)
        .role("server", serve)
        .role("client", ask)
        .operation("ask")
}

async fn list(node: Node) -> Result<()> {
    let serving = cluster::serve_registry(&node).await?;
    node.stop_requested().await;
    drop(serving);
    Ok(())
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

#[derive(Clone)]
struct Asker {
    node: Node,
    registry: Registry,
    found: Arc<Mutex<BTreeMap<u64, Client<Json>>>>,
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
    let answer = client.call(&ASK, operation.value).await;
    // The bug: who has failed is asked again, though somebody else may have its place.
    if answer.is_err() && !asker.is_broken {
        asker.lock().remove(&operation.key);
    }
    Ok(json!(answer?))
}

impl Asker {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Client<Json>>> {
        self.found.lock().expect("no panic while it is held")
    }

    /// The node that a key belongs to, among those that are listed.
    async fn find(&self, key: u64) -> Result<Client<Json>> {
        if let Some(client) = self.lock().get(&key) {
            return Ok(client.clone());
        }
        let nodes = self.registry.list(Some("shard")).await?.nodes;
        let nobody = || Error::unavailable("nobody is listed");
        let place = key as usize % nodes.len().max(1);
        let address: Address = nodes.get(place).ok_or_else(nobody)?.address.clone();
        let (client, _) = builder(&self.node).targets(Json, &[Target::at(address)]);
        self.lock().insert(key, client.clone());
        Ok(client)
    }
}
