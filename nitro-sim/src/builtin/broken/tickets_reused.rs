//! Numbers are given out from a block whose end is saved when it is used up: a crash gives the
//! block out again.

use std::sync::Arc;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::store::{Sync, Table};
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper;
use crate::system::{Node, Operation, System};

const NEXT: Method<(), u64> = Method::unary("tickets/next");

/// How many numbers are given out between two writes to the disk.
const BLOCK: u64 = 20;

pub(super) fn system() -> System {
    System::new("tickets_reused")
        .role("server", keep)
        .role("client", ask)
        .operation("next")
        .unique("next")
}

#[derive(Clone)]
struct Tickets {
    table: Table,
    /// The next number, and the one before which it must be saved anew.
    next: Arc<Mutex<(u64, u64)>>,
    is_broken: bool,
}

async fn keep(node: Node) -> Result<()> {
    let table = keeper::open(&node, Sync::Always)
        .await?
        .store
        .table("office", "tickets");
    let found = table.read("next").await?;
    let saved = found.and_then(|record| std::str::from_utf8(&record.value).ok()?.parse().ok());
    let saved = saved.unwrap_or(1);
    let tickets = Tickets {
        table,
        next: Arc::new(Mutex::new((saved, saved))),
        is_broken: is_broken(&node)?,
    };
    serve(
        &node,
        Router::new().unary(&NEXT, Json, with(&tickets, give)),
    )
    .await
}

async fn give(tickets: Tickets, (): ()) -> Result<u64> {
    let mut held = tickets.next.lock().await;
    let (next, save_at) = *held;
    if next == save_at {
        // The bug: after a crash it begins where the block began, not where it ends.
        let saved = if tickets.is_broken {
            next
        } else {
            next + BLOCK
        };
        tickets.table.write("next", saved.to_string()).await?;
        held.1 = next + BLOCK;
    }
    held.0 = next + 1;
    Ok(next)
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "server-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    Ok(json!(client.call(&NEXT, ()).await?))
}
