//! An answer that does not come is taken for a no.

use std::sync::{Arc, Mutex};

use nitro::codec::Json;
use nitro::error::{Kind, Result};
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::check::model::Register;
use crate::system::{Node, Operation, System};

const READ: Method<(), Option<u64>> = Method::unary("register/read").idempotent();
const SWAP: Method<Swap, bool> = Method::unary("register/swap");

#[derive(Serialize, Deserialize)]
struct Swap {
    expected: Option<u64>,
    new: u64,
}

type Held = Arc<Mutex<Option<u64>>>;

pub(super) fn system() -> System {
    System::new("swap_timeout_is_no")
        .role("server", hold)
        .role("client", ask)
        .operation("read")
        .operation("compare_and_swap")
        .linearizable(Register)
}

async fn hold(node: Node) -> Result<()> {
    let held = Held::default();
    let router =
        Router::new()
            .unary(&READ, Json, with(&held, read))
            .unary(&SWAP, Json, with(&held, swap));
    serve(&node, router).await
}

async fn read(held: Held, (): ()) -> Result<Option<u64>> {
    Ok(*held.lock().expect("no panic while it is held"))
}

async fn swap(held: Held, swap: Swap) -> Result<bool> {
    let mut held = held.lock().expect("no panic while it is held");
    let matches = *held == swap.expected;
    if matches {
        *held = Some(swap.new);
    }
    Ok(matches)
}

#[derive(Clone)]
struct Asker {
    node: Node,
    client: Client<Json>,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let asker = Asker {
        client: reach(&node, "server-1"),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    work(&node, asker, make).await
}

async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let client = asker.client.timeout(operation.timeout / 2);
    let expected = client.call(&READ, ()).await?;
    if operation.name == "read" {
        return Ok(json!(expected));
    }
    asker
        .node
        .asks(operation.id, json!({ "expected": expected }));
    let new = operation.value;
    match client.call(&SWAP, Swap { expected, new }).await {
        // The bug: that no answer came in time says nothing about what was done.
        Err(error) if asker.is_broken && error.kind() == Kind::DeadlineExceeded => Ok(json!(false)),
        answer => Ok(json!(answer?)),
    }
}
