//! What is read is written back changed, whoever has written in between.

use nitro::error::{Error, Kind, Result};
use nitro::store::{Condition, Table};
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::check::model::Counter;
use crate::system::{Node, Operation, System};

pub(super) fn system() -> System {
    System::new("counter_update_lost")
        .role(KEEPER, keeper::keep)
        .role("client", ask)
        .operation("add")
        .linearizable(Counter)
}

async fn ask(node: Node) -> Result<()> {
    let table = keeper::reach(&node).store.table("shop", "visits");
    work(&node, (table, is_broken(&node)?), make).await
}

async fn make((table, is_broken): (Table, bool), _: Operation) -> Result<Value> {
    loop {
        let found = table.read("total").await?;
        let total = found.as_ref().map_or(Some(0), |record| {
            std::str::from_utf8(&record.value).ok()?.parse().ok()
        });
        let total: u64 = total.ok_or_else(|| Error::data_loss("the total is no number"))?;
        let unchanged = match (is_broken, found) {
            // The bug: what somebody else has written since is written over.
            (true, _) => Condition::Always,
            (false, None) => Condition::IfAbsent,
            (false, Some(record)) => Condition::IfVersion(record.version),
        };
        let next = total + 1;
        match table.write_if("total", next.to_string(), unchanged).await {
            Ok(_) => return Ok(json!(next)),
            Err(error) if matches!(error.kind(), Kind::Aborted | Kind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
}
