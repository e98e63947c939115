//! Who waits asks to be woken only after having looked, and what it waits for happens in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::service::{is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

const ENTER: Method<u64, ()> = Method::unary("gate/enter");
const LEAVE: Method<u64, ()> = Method::unary("gate/leave");
const NOTE: Method<u64, ()> = Method::unary("journal/note");

pub(super) fn system() -> System {
    System::new("gate_wakeup_lost")
        .role("journal", journal)
        .role("server", keep)
        .role("client", ask)
        .operation("pass")
}

/// Takes down who had to wait.
async fn journal(node: Node) -> Result<()> {
    let note = |(), _: u64| async { Ok(()) };
    serve(&node, Router::new().unary(&NOTE, Json, with(&(), note))).await
}

#[derive(Clone)]
struct Gate {
    journal: Client<Json>,
    is_taken: Arc<AtomicBool>,
    freed: Arc<Notify>,
    is_broken: bool,
}

async fn keep(node: Node) -> Result<()> {
    let gate = Gate {
        journal: reach(&node, "journal-1"),
        is_taken: Arc::default(),
        freed: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    let router = Router::new().unary(&ENTER, Json, with(&gate, enter)).unary(
        &LEAVE,
        Json,
        with(&gate, leave),
    );
    serve(&node, router).await
}

async fn enter(gate: Gate, who: u64) -> Result<()> {
    loop {
        // From here on nothing is missed: it hears what happens before it is awaited.
        let freed = gate.freed.notified();
        if !gate.is_taken.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        gate.journal.call(&NOTE, who).await?;
        if gate.is_broken {
            // The bug: a gate that was left while the journal wrote is waited for all the same.
            gate.freed.notified().await;
        } else {
            freed.await;
        }
    }
}

async fn leave(gate: Gate, _: u64) -> Result<()> {
    gate.is_taken.store(false, Ordering::Relaxed);
    gate.freed.notify_waiters();
    Ok(())
}

async fn ask(node: Node) -> Result<()> {
    let stay = Duration::from_millis(node.parameter("stay_ms")?);
    work(&node, (node.clone(), reach(&node, "server-1"), stay), make).await
}

async fn make(
    (node, client, stay): (Node, Client<Json>, Duration),
    operation: Operation,
) -> Result<Value> {
    client.call(&ENTER, operation.value).await?;
    node.host().clock.sleep(stay).await;
    client.call(&LEAVE, operation.value).await?;
    Ok(json!(operation.value))
}
