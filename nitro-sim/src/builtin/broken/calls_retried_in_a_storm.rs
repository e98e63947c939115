//! Attempts that nobody waits for any more keep a server from those that somebody does.

use std::sync::Arc;
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};

use super::service::{address, builder, is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

const WORK: Method<u64, u64> = Method::unary("storm/work").idempotent();

/// How long an attempt waits before the next is made.
const ATTEMPT: Duration = Duration::from_millis(150);

pub(super) fn system() -> System {
    System::new("calls_retried_in_a_storm")
        .role("server", labour)
        .role("client", ask)
        .operation("work")
}

#[derive(Clone)]
struct Labour {
    node: Node,
    /// The one who works; the others wait in turn.
    turn: Arc<Mutex<()>>,
    time: Duration,
}

async fn labour(node: Node) -> Result<()> {
    let labour = Labour {
        turn: Arc::default(),
        time: Duration::from_millis(node.parameter("work_ms")?),
        node: node.clone(),
    };
    serve(
        &node,
        Router::new().unary(&WORK, Json, with(&labour, answer)),
    )
    .await
}

/// Works in a task of its own, as a database would: what has begun is done to the end, whether or
/// not anybody still waits for it.
async fn answer(labour: Labour, number: u64) -> Result<u64> {
    let host = labour.node.host().clone();
    let (done, answer) = oneshot::channel();
    let working = async move {
        let _turn = labour.turn.lock().await;
        labour.node.host().clock.sleep(labour.time).await;
        // Whoever asked may have left.
        let _ = done.send(number);
    };
    drop(host.tasks.spawn("work", Box::pin(working)));
    answer
        .await
        .map_err(|_| Error::internal("the work was not done"))
}

#[derive(Clone)]
struct Asker {
    node: Node,
    /// The stack as it is: three attempts, waits between that grow, and a budget for all calls.
    patient: Client<Json>,
    plain: Client<Json>,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let patient = builder(&node).attempt_timeout(ATTEMPT);
    let asker = Asker {
        patient: patient.address(Json, address("server-1")),
        plain: reach(&node, "server-1"),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    work(&node, asker, make).await
}

async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let number = operation.value;
    if !asker.is_broken {
        let client = asker.patient.timeout(operation.timeout);
        return Ok(json!(client.call(&WORK, number).await?));
    }
    // The bug: each client tries again at once, without end. A server that falls behind by more
    // than an attempt's time is from then on busy with attempts that have been given up.
    loop {
        let attempt = asker.plain.call(&WORK, number);
        let attempt = asker.node.host().clock.timeout(ATTEMPT, attempt).await;
        if let Ok(Ok(number)) = attempt {
            return Ok(json!(number));
        }
    }
}
