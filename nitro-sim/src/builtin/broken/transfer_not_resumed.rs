//! A transfer between two nodes has two steps, and a crash between them is the end of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::store::{Select, Sync, Table};
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper;
use crate::system::{Node, Operation, System};

const TRANSFER: Method<u64, ()> = Method::unary("transfers/make");
/// One side of a transfer, by its number: the second time changes nothing.
const BOOK: Method<u64, ()> = Method::unary("bank/book").idempotent();

/// How often the coordinator looks for what has begun and is not finished.
const PAUSE: Duration = Duration::from_millis(200);

/// How soon after the last fault and the last call all agree.
const WITHIN: Duration = Duration::from_secs(4);

pub(super) fn system() -> System {
    System::new("transfer_not_resumed")
        .role("bank", book_all)
        .role("coordinator", coordinate)
        .role("client", ask)
        .operation("transfer")
        .agreed("booked", WITHIN)
}

type Booked = Arc<Mutex<BTreeSet<u64>>>;

async fn book_all(node: Node) -> Result<()> {
    let state = (node.clone(), Booked::default());
    let book = |(node, booked): (Node, Booked), number: u64| async move {
        let mut booked = booked.lock().expect("no panic while it is held");
        booked.insert(number);
        node.note("booked", json!({ "count": booked.len() }));
        Ok(())
    };
    serve(&node, Router::new().unary(&BOOK, Json, with(&state, book))).await
}

#[derive(Clone)]
struct Coordinator {
    banks: Vec<Client<Json>>,
    /// The transfers that have begun.
    begun: Table,
}

async fn coordinate(node: Node) -> Result<()> {
    let store = keeper::open(&node, Sync::Always).await?.store;
    let banks = node.peers("bank").iter();
    let coordinator = Coordinator {
        banks: banks.map(|name| reach(&node, name)).collect(),
        begun: store.table("transfers", "begun"),
    };
    let mut _resuming = None;
    // The bug: what had begun before a crash, or whose caller gave up, is not looked at again.
    if !is_broken(&node)? {
        let (at, resuming) = (node.clone(), coordinator.clone());
        let resuming = async move {
            loop {
                // What cannot be finished now is tried again.
                let _ = resuming.resume().await;
                at.host().clock.sleep(PAUSE).await;
            }
        };
        let resuming = node.host().tasks.spawn("resume", Box::pin(resuming));
        _resuming = Some(resuming.abort_on_drop());
    }
    serve(
        &node,
        Router::new().unary(&TRANSFER, Json, with(&coordinator, transfer)),
    )
    .await
}

async fn transfer(coordinator: Coordinator, number: u64) -> Result<()> {
    coordinator.begun.write(number.to_string(), "begun").await?;
    coordinator.finish(number).await
}

impl Coordinator {
    async fn finish(&self, number: u64) -> Result<()> {
        for bank in &self.banks {
            bank.call(&BOOK, number).await?;
        }
        self.begun.delete(number.to_string()).await.map(drop)
    }

    async fn resume(&self) -> Result<()> {
        for begun in self.begun.list(Select::default()).await?.records {
            self.finish(begun.key.parse().unwrap_or(0)).await?;
        }
        Ok(())
    }
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "coordinator-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    Ok(json!(client.call(&TRANSFER, operation.value).await?))
}
