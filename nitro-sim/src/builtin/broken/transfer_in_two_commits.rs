//! A transfer is two writes, and a crash between them leaves money in neither account.

use std::sync::Arc;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::store::{Action, Condition, Sync, Table};
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper;
use crate::check::model::{Called, Change, Counter, Done, Heard};
use crate::system::{Node, Operation, System};

const TRANSFER: Method<(), (i64, i64)> = Method::unary("bank/transfer");
const AUDIT: Method<(), (i64, i64)> = Method::unary("bank/audit").idempotent();

/// What both accounts hold together.
const SUM: i64 = 1_000;

pub(super) fn system() -> System {
    System::new("transfer_in_two_commits")
        .role("bank", open)
        .role("client", ask)
        .operation("transfer")
        .operation("audit")
        .linearizable_as(Counter, read)
}

/// The second account counts the transfers, and the first must hold the rest.
fn read(called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Counter>> {
    let amount = u64::from(called.name == "transfer");
    let count = |reply: &Value| {
        let [from, to] = [reply[0].as_i64()?, reply[1].as_i64()?];
        (from + to == SUM).then_some(u64::try_from(to).ok()?)
    };
    let told = heard.reply().map(|reply| count(reply).unwrap_or(u64::MAX));
    vec![(Change(amount), told)]
}

#[derive(Clone)]
struct Bank {
    /// One transfer or audit at a time.
    turn: Arc<Mutex<()>>,
    accounts: Table,
    is_broken: bool,
}

async fn open(node: Node) -> Result<()> {
    let bank = Bank {
        turn: Arc::default(),
        accounts: keeper::open(&node, Sync::Always)
            .await?
            .store
            .table("bank", "accounts"),
        is_broken: is_broken(&node)?,
    };
    let router = Router::new()
        .unary(&TRANSFER, Json, with(&bank, transfer))
        .unary(&AUDIT, Json, with(&bank, audit));
    serve(&node, router).await
}

async fn transfer(bank: Bank, (): ()) -> Result<(i64, i64)> {
    let _turn = bank.turn.lock().await;
    let (from, to) = bank.balances().await?;
    let put = |key: &str, balance: i64| {
        let action = Action::put(balance.to_string());
        bank.accounts.prepare(key, Condition::Always, action)
    };
    let (less, more) = (put("from", from - 1), put("to", to + 1));
    if bank.is_broken {
        // The bug: what comes between the two is between them on the disk as well.
        bank.accounts.commit(vec![less], None).await?;
        bank.accounts.commit(vec![more], None).await?;
    } else {
        bank.accounts.commit(vec![less, more], None).await?;
    }
    Ok((from - 1, to + 1))
}

async fn audit(bank: Bank, (): ()) -> Result<(i64, i64)> {
    let _turn = bank.turn.lock().await;
    bank.balances().await
}

impl Bank {
    async fn balances(&self) -> Result<(i64, i64)> {
        let [from, to] = [("from", SUM), ("to", 0)].map(|(key, first)| async move {
            let Some(record) = self.accounts.read(key).await? else {
                return Ok(first);
            };
            let text = String::from_utf8_lossy(&record.value).into_owned();
            text.parse()
                .map_err(|_| Error::data_loss("a balance is no number"))
        });
        Ok((from.await?, to.await?))
    }
}

async fn ask(node: Node) -> Result<()> {
    work(&node, reach(&node, "bank-1"), make).await
}

async fn make(client: Client<Json>, operation: Operation) -> Result<Value> {
    let client = client.timeout(operation.timeout);
    let balances = match operation.name.as_str() {
        "transfer" => client.call(&TRANSFER, ()).await?,
        _ => client.call(&AUDIT, ()).await?,
    };
    Ok(json!(balances))
}
