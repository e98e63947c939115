//! A replica applies changes in the order they come in, not in that in which they were made.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::system::{Node, Operation, System};

/// Writes a value under a key.
const WRITE: Method<(u64, u64), ()> = Method::unary("primary/write");
/// A change that the primary has made: the key, the value, and which change of all it is.
const APPLY: Method<(u64, u64, u64), ()> = Method::unary("replica/apply").idempotent();

/// How long the primary waits for a replica before it sends a change again.
const ATTEMPT: Duration = Duration::from_millis(200);

/// How soon after the last fault and the last call all agree.
const WITHIN: Duration = Duration::from_secs(4);

pub(super) fn system() -> System {
    System::new("replica_applies_as_it_comes")
        .role("primary", lead)
        .role("replica", follow)
        .role("client", ask)
        .operation("write")
        .agreed("holds", WITHIN)
}

/// The value of each key, and which change made it.
type Rows = BTreeMap<u64, (u64, u64)>;

#[derive(Clone)]
struct Replica {
    node: Node,
    rows: Arc<Mutex<Rows>>,
    others: Vec<Client<Json>>,
    is_broken: bool,
}

impl Replica {
    fn new(node: &Node, others: Vec<Client<Json>>) -> Result<Self> {
        Ok(Self {
            rows: Arc::default(),
            others,
            is_broken: is_broken(node)?,
            node: node.clone(),
        })
    }

    fn put(&self, key: u64, value: u64, change: u64) {
        let mut rows = self.rows.lock().expect("no panic while they are held");
        let held = rows.get(&key).map_or(0, |(_, change)| *change);
        // The bug: a change that was sent again comes after those that were made since.
        if self.is_broken || change > held {
            rows.insert(key, (value, change));
        }
        self.node.note("holds", json!(*rows));
    }
}

async fn follow(node: Node) -> Result<()> {
    let replica = Replica::new(&node, Vec::new())?;
    serve(
        &node,
        Router::new().unary(&APPLY, Json, with(&replica, apply)),
    )
    .await
}

async fn apply(replica: Replica, (key, value, change): (u64, u64, u64)) -> Result<()> {
    replica.put(key, value, change);
    Ok(())
}

async fn lead(node: Node) -> Result<()> {
    let others = node
        .peers("replica")
        .iter()
        .map(|name| reach(&node, name).timeout(ATTEMPT));
    let primary = (
        Replica::new(&node, others.collect())?,
        Arc::new(Mutex::new(0)),
    );
    serve(
        &node,
        Router::new().unary(&WRITE, Json, with(&primary, write)),
    )
    .await
}

/// Makes a change, and sees to it that every replica hears of it some time.
async fn write(
    (primary, count): (Replica, Arc<Mutex<u64>>),
    (key, value): (u64, u64),
) -> Result<()> {
    let change = {
        let mut count = count.lock().expect("no panic while it is held");
        *count += 1;
        *count
    };
    primary.put(key, value, change);
    for replica in primary.others {
        let clock = primary.node.host().clock.clone();
        let telling = async move {
            while replica.call(&APPLY, (key, value, change)).await.is_err() {
                clock.sleep(ATTEMPT).await;
            }
        };
        drop(primary.node.host().tasks.spawn("tell", Box::pin(telling)));
    }
    Ok(())
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "primary-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    Ok(json!(
        client
            .call(&WRITE, (operation.key, operation.value))
            .await?
    ))
}
