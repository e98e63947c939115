//! A client whose call has failed is put aside for a new one, and its connection stays open.

use std::sync::{Arc, Mutex};

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

const ASK: Method<u64, u64> = Method::unary("service/ask").idempotent();

pub(super) fn system() -> System {
    System::new("connections_kept")
        .role("server", answer)
        .role("client", ask)
        .operation("ask")
}

async fn answer(node: Node) -> Result<()> {
    let answer = |(), number: u64| async move { Ok(number) };
    serve(&node, Router::new().unary(&ASK, Json, with(&(), answer))).await
}

#[derive(Clone)]
struct Asker {
    node: Node,
    clients: Arc<Mutex<Vec<Client<Json>>>>,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let asker = Asker {
        clients: Arc::default(),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    work(&node, asker.clone(), make).await?;
    // Whoever has asked goes on with something else.
    node.stop_requested().await;
    Ok(())
}

/// An attempt has half of the time, so that what is done about its failure is done in time.
async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let client = asker.client().timeout(operation.timeout / 2);
    let answer = client.call(&ASK, operation.value).await;
    // The bug: one that has failed is put aside for a new one, and never dropped.
    if answer.is_err() && !asker.is_broken {
        asker.lock().clear();
    }
    if answer.is_err() {
        asker.lock().push(reach(&asker.node, "server-1"));
    }
    Ok(json!(answer?))
}

impl Asker {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Client<Json>>> {
        self.clients.lock().expect("no panic while they are held")
    }

    /// The newest client.
    fn client(&self) -> Client<Json> {
        let mut clients = self.lock();
        if clients.is_empty() {
            clients.push(reach(&self.node, "server-1"));
        }
        clients.last().expect("there is one").clone()
    }
}
