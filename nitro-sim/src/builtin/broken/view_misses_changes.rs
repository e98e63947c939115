//! A view lists what there is and then watches from now on: what came in between it never hears.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::error::{Error, Result};
use nitro::store::{ChangeKind, Record, Select, Table, Watched};
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::system::{Node, Operation, System};

/// How long the view waits for a change, how long for an answer, and before it tries again.
const WAIT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// How soon after the last fault and the last call all agree.
const WITHIN: Duration = Duration::from_secs(4);

pub(super) fn system() -> System {
    System::new("view_misses_changes")
        .role(KEEPER, keeper::keep)
        .role("view", view)
        .role("client", ask)
        .operation("write")
        .agreed("view", WITHIN)
}

fn table(node: &Node) -> Table {
    keeper::reach(node).store.table("shop", "stock")
}

async fn ask(node: Node) -> Result<()> {
    work(&node, table(&node), make).await
}

async fn make(table: Table, operation: Operation) -> Result<Value> {
    let key = operation.key.to_string();
    Ok(json!(table.write(key, operation.value.to_string()).await?))
}

async fn view(node: Node) -> Result<()> {
    let (table, is_broken) = (table(&node), is_broken(&node)?);
    loop {
        // Whatever went wrong, it begins with a list again.
        let _ = follow(&node, &table, is_broken).await;
        node.host().clock.sleep(PAUSE).await;
    }
}

async fn follow(node: &Node, table: &Table, is_broken: bool) -> Result<()> {
    let listed = table.list(Select::default()).await?;
    let rows = listed
        .records
        .iter()
        .map(|record| (record.key.clone(), text(record)));
    let mut rows: BTreeMap<String, String> = rows.collect();
    node.note("view", json!(rows));
    let mut after = match is_broken {
        // The bug: where the history is now is not where it was when the list was made.
        true => table.store().revision().await?,
        false => listed.revision,
    };
    loop {
        let watching = table.watch("", after, WAIT);
        let watched = node.host().clock.timeout(ANSWER, watching).await;
        let late = |_| Error::deadline_exceeded("the store did not answer");
        let Watched::Changes { changes, revision } = watched.map_err(late)?? else {
            return Ok(());
        };
        after = revision;
        for change in changes {
            match change.kind {
                ChangeKind::Put(record) => rows.insert(change.key, text(&record)),
                ChangeKind::Deleted | ChangeKind::Expired => rows.remove(&change.key),
            };
        }
        node.note("view", json!(rows));
    }
}

fn text(record: &Record) -> String {
    String::from_utf8_lossy(&record.value).into_owned()
}
