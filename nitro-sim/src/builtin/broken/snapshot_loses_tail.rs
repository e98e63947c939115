//! A log is cut when a snapshot has been written, and with it what came while it was written.

use std::sync::Arc;
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::store::{Action, Condition, Record, Select, Sync, Table};
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper;
use crate::check::model::Counter;
use crate::system::{Node, Operation, System};

const ADD: Method<u64, u64> = Method::unary("log/add");

/// How often a snapshot is taken.
const EVERY: Duration = Duration::from_millis(500);

pub(super) fn system() -> System {
    System::new("snapshot_loses_tail")
        .role("server", serve_log)
        .role("client", ask)
        .operation("add")
        .operation("read")
        .linearizable(Counter)
}

#[derive(Clone)]
struct Log {
    entries: Table,
    snapshots: Table,
    /// The total, and how many entries it is made of.
    state: Arc<Mutex<(u64, u64)>>,
    is_broken: bool,
}

async fn serve_log(node: Node) -> Result<()> {
    let store = keeper::open(&node, Sync::Always).await?.store;
    let log = Log {
        entries: store.table("log", "entries"),
        snapshots: store.table("log", "snapshots"),
        state: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    log.restore().await?;
    let (at, snapping) = (node.clone(), log.clone());
    let snapping = async move {
        loop {
            at.host().clock.sleep(EVERY).await;
            // One that could not be taken leaves the log as it is.
            let _ = snapping.snapshot().await;
        }
    };
    let snapping = node.host().tasks.spawn("snapshot", Box::pin(snapping));
    let _snapping = snapping.abort_on_drop();
    serve(&node, Router::new().unary(&ADD, Json, with(&log, add))).await
}

/// Writes an entry, then counts it: what is counted is on the disk.
async fn add(log: Log, amount: u64) -> Result<u64> {
    let mut state = log.state.lock().await;
    if amount > 0 {
        log.entries
            .write(key(state.1 + 1), amount.to_string())
            .await?;
        *state = (state.0 + amount, state.1 + 1);
    }
    Ok(state.0)
}

impl Log {
    async fn snapshot(&self) -> Result<()> {
        let (total, count) = *self.state.lock().await;
        let numbers = serde_json::to_vec(&(total, count)).expect("numbers are JSON");
        self.snapshots.write("last", numbers).await?;
        let entries = self.entries.list(Select::default()).await?.records;
        // The bug: the log now has entries that the snapshot has not.
        let is_in = |entry: &&Record| self.is_broken || *entry.key <= *key(count);
        let cut = entries.iter().filter(is_in);
        let cut = cut.map(|entry| {
            self.entries
                .prepare(&*entry.key, Condition::Always, Action::Delete)
        });
        self.entries.commit(cut.collect(), None).await?;
        Ok(())
    }

    async fn restore(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        if let Some(last) = self.snapshots.read("last").await? {
            let numbers = serde_json::from_slice(&last.value);
            *state = numbers.map_err(|_| Error::data_loss("the snapshot is not two numbers"))?;
        }
        for entry in self.entries.list(Select::default()).await?.records {
            let count = number(&entry.key)?;
            // What the snapshot has already is left over from before the log was cut.
            if count > state.1 {
                *state = (state.0 + number(&entry.value)?, count);
            }
        }
        Ok(())
    }
}

/// The key of an entry: keys are in the order of the log.
fn key(count: u64) -> String {
    format!("{count:08}")
}

/// The number in a key or a value.
fn number(text: impl AsRef<[u8]>) -> Result<u64> {
    let number = std::str::from_utf8(text.as_ref())
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::data_loss("an entry is no number"))
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "server-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    let amount = u64::from(operation.name == "add");
    Ok(json!(client.call(&ADD, amount).await?))
}
