//! What has been done already is remembered in memory, and done again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::store::{Action, Condition, Record, Sync, Table};
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper;
use crate::check::model::Counter;
use crate::system::{Node, Operation, System};

/// Pays one, under a key by which a second request for the same payment is known.
const PAY: Method<u64, u64> = Method::unary("account/pay");

/// How long a client waits for an answer before it asks again, under the same key.
const ATTEMPT: Duration = Duration::from_millis(300);

pub(super) fn system() -> System {
    System::new("payment_key_forgotten")
        .role("server", keep)
        .role("client", ask)
        .operation("add")
        .linearizable(Counter)
}

#[derive(Clone)]
struct Account {
    total: Table,
    /// What each key was answered.
    paid: Table,
    remembered: Arc<Mutex<BTreeMap<u64, u64>>>,
    is_broken: bool,
}

async fn keep(node: Node) -> Result<()> {
    let store = keeper::open(&node, Sync::Always).await?.store;
    let account = Account {
        total: store.table("bank", "total"),
        paid: store.table("bank", "paid"),
        remembered: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    serve(&node, Router::new().unary(&PAY, Json, with(&account, pay))).await
}

async fn pay(account: Account, key: u64) -> Result<u64> {
    let mut remembered = account.remembered.lock().await;
    if let Some(total) = remembered.get(&key) {
        return Ok(*total);
    }
    if let Some(record) = account.paid.read(key.to_string()).await? {
        return number(&record);
    }
    let found = account.total.read("total").await?;
    let before = found.as_ref().map_or(Ok(0), number)?;
    // A payment whose caller gave up may still be on its way to the disk.
    let unchanged = found.map_or(Condition::IfAbsent, |record| {
        Condition::IfVersion(record.version)
    });
    let total = before + 1;
    let action = || Action::put(total.to_string());
    let mut writes = vec![account.total.prepare("total", unchanged, action())];
    // The bug: without this the key is gone after a restart, and the payment is not.
    if !account.is_broken {
        writes.push(
            account
                .paid
                .prepare(key.to_string(), Condition::IfAbsent, action()),
        );
    }
    account.total.commit(writes, None).await?;
    remembered.insert(key, total);
    Ok(total)
}

fn number(record: &Record) -> Result<u64> {
    let number = std::str::from_utf8(&record.value)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::data_loss("a total is no number"))
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "server-1"), make).await
}

/// Asks until it is answered.
async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(ATTEMPT);
    let mut tries = 1;
    loop {
        match client.call(&PAY, operation.value).await {
            Err(_) if tries < 10 => tries += 1,
            answer => return Ok(json!(answer?)),
        }
    }
}
