//! The system `ledger`: clients read and write the records of a store that a keeper serves from
//! its disk. What they were told must fit one history, through crashes and failing disks.
//!
//! `ledger_acks_before_sync` is broken on purpose: it answers before its disk has synced.

use std::collections::BTreeMap;

use nitro::error::{Error, Kind, Result};
use nitro::store::{Condition, Sync, Table};
use serde_json::{Value, json};

use super::keeper::{self, KEEPER};
use crate::system::{Breach, Node, Operation, System};
use crate::trace::{Blame, EventKind, OperationOutcome, Trace};

/// The system: roles `keeper` and `client`; operations `read`, `write` and `change`, which writes
/// what it has read unless somebody has written since; parameter `value_bytes`, how long a value
/// is at least.
pub fn system() -> System {
    named("ledger").role(KEEPER, keeper::keep)
}

/// The same, answering before the disk has synced.
pub fn acks_before_sync() -> System {
    named("ledger_acks_before_sync").role(KEEPER, async |node: Node| {
        let kept = keeper::open(&node, Sync::EverySecond).await?;
        keeper::serve(&node, &kept).await
    })
}

fn named(name: &str) -> System {
    System::new(name)
        .role("client", work)
        .operation("read")
        .operation("write")
        .operation("change")
        .invariant("every answer fits one history", answers_fit)
}

async fn work(node: Node) -> Result<()> {
    let table = keeper::reach(&node).store.table("bank", "ledger");
    let clock = node.host().clock.clone();
    let bytes: usize = node.parameter_or("value_bytes", 0)?;
    node.workload(move |operation| {
        let (table, clock) = (table.clone(), clock.clone());
        async move { keeper::in_time(&clock, &operation, make(&table, &operation, bytes)).await }
    })
    .await
}

async fn make(table: &Table, operation: &Operation, bytes: usize) -> Result<Value> {
    let key = format!("account-{}", operation.key);
    let value = operation.value.to_string();
    let padded = format!("{value:<bytes$}");
    match operation.name.as_str() {
        "read" => {
            let found = table.read(key).await?;
            Ok(found.map_or(json!({ "version": 0 }), |record| {
                let value = String::from_utf8_lossy(&record.value);
                let value = value.trim_end();
                json!({ "version": record.version, "value": value })
            }))
        }
        "write" => {
            let version = table.write(key, padded).await?;
            Ok(json!({ "version": version, "value": value }))
        }
        "change" => {
            let found = table.read(&*key).await?;
            let before = found.as_ref().map_or(0, |record| record.version);
            let unchanged = found.map_or(Condition::IfAbsent, |record| {
                Condition::IfVersion(record.version)
            });
            match table.write_if(key, padded, unchanged).await {
                Ok(version) => Ok(json!({ "version": version, "value": value, "before": before })),
                // That somebody else was faster is an answer like any other.
                Err(error) if matches!(error.kind(), Kind::Aborted | Kind::AlreadyExists) => {
                    Ok(json!({ "version": before, "refused": true }))
                }
                Err(error) => Err(error),
            }
        }
        other => Err(Error::unimplemented(format!("no operation {other:?}"))),
    }
}

/// What is known of one key: versions are the order of its history. Each thing is kept with the
/// operation that was told it.
#[derive(Default)]
struct Key {
    /// The value of each version, as told.
    values: BTreeMap<u64, (String, u64)>,
    /// Which change went from a version.
    changed_from: BTreeMap<u64, (u64, u64)>,
    /// The greatest version that anybody has been told.
    told: (u64, u64),
}

/// An operation, and what had been told before it was called.
struct Asked {
    operation: u64,
    name: String,
    key: u64,
    told: (u64, u64),
}

/// Each answer must be of a version that is no older than all that was told before its question;
/// a write's must be newer. A version has one value, and is changed once.
fn answers_fit(trace: &Trace) -> Vec<Breach> {
    let mut keys: BTreeMap<u64, Key> = BTreeMap::new();
    let mut open: BTreeMap<u64, Asked> = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation,
                name,
                key,
                ..
            } => {
                let asked = Asked {
                    operation: *operation,
                    name: name.clone(),
                    key: *key,
                    told: keys.entry(*key).or_default().told,
                };
                open.insert(*operation, asked);
            }
            EventKind::Outcome {
                operation,
                outcome: OperationOutcome::Ok { reply },
            } => {
                let Some(asked) = open.remove(operation) else {
                    continue;
                };
                let key = keys.entry(asked.key).or_default();
                if let Some((what, other)) = key.take(&asked, reply) {
                    let what = format!("operation {operation}, {}: {what}", asked.name);
                    wrong.push(Breach::of(what, [other, *operation].map(Blame::Operation)));
                }
            }
            _ => {}
        }
    }
    wrong
}

impl Key {
    /// Takes in an answer; says what is wrong with it, and which operation was told otherwise.
    fn take(&mut self, asked: &Asked, reply: &Value) -> Option<(String, u64)> {
        let version = reply["version"].as_u64().unwrap_or(0);
        self.told = self.told.max((version, asked.operation));
        let is_write = asked.name != "read" && reply["refused"].is_null();
        let (told, by) = asked.told;
        if version < told || (is_write && version == told) {
            return Some((format!("version {version}, after {told} had been told"), by));
        }
        let value = reply["value"].as_str()?;
        let (known, by) = self
            .values
            .entry(version)
            .or_insert_with(|| (value.to_owned(), asked.operation));
        if known != value {
            let what = format!("version {version} is {value:?}, and was {known:?}");
            return Some((what, *by));
        }
        let before = reply["before"].as_u64()?;
        let change = (version, asked.operation);
        let (other, by) = self.changed_from.insert(before, change)?;
        Some((
            format!("{before} was changed to {version} and to {other}"),
            by,
        ))
    }
}
