//! What was taken for a call is not given back when its caller gives up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

const WORK: Method<u64, u64> = Method::unary("desk/work");
const LOOK_UP: Method<u64, u64> = Method::unary("database/look_up");

/// How many may be worked for at once.
const PERMITS: u32 = 6;

pub(super) fn system() -> System {
    System::new("permits_not_returned")
        .role("database", look_up)
        .role("server", open)
        .role("client", ask)
        .operation("work")
}

/// A database that answers what it is asked, in its time.
async fn look_up(node: Node) -> Result<()> {
    let answer = |(), number: u64| async move { Ok(number) };
    serve(
        &node,
        Router::new().unary(&LOOK_UP, Json, with(&(), answer)),
    )
    .await
}

#[derive(Clone)]
struct Desk {
    database: Client<Json>,
    taken: Arc<AtomicU32>,
    is_broken: bool,
}

/// One of the permits, given back when it is dropped.
struct Permit(Arc<AtomicU32>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn open(node: Node) -> Result<()> {
    let desk = Desk {
        database: reach(&node, "database-1"),
        taken: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    serve(&node, Router::new().unary(&WORK, Json, with(&desk, answer))).await
}

async fn answer(desk: Desk, number: u64) -> Result<u64> {
    if desk.taken.load(Ordering::Relaxed) >= PERMITS {
        return Err(Error::resource_exhausted("all permits are taken"));
    }
    desk.taken.fetch_add(1, Ordering::Relaxed);
    if desk.is_broken {
        // The bug: a handler whose caller gives up is dropped where it waits, and never gets to
        // the line that gives the permit back.
        let answer = desk.database.call(&LOOK_UP, number).await;
        desk.taken.fetch_sub(1, Ordering::Relaxed);
        return answer;
    }
    let _permit = Permit(Arc::clone(&desk.taken));
    desk.database.call(&LOOK_UP, number).await
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "server-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    Ok(json!(client.call(&WORK, operation.value).await?))
}
