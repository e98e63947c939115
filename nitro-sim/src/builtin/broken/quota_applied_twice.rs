//! A configuration of changes is read again after a lost connection, and applied on top of itself.

use std::time::Duration;

use nitro::error::{Error, Result};
use nitro::port::Revision;
use nitro::store::{ChangeKind, Record, Select, Table, Watched};
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::system::{Node, Operation, System};

/// How long a gate waits for a change, how long for an answer, and before it tries again.
const WAIT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

/// How soon after the last fault and the last call all agree.
const WITHIN: Duration = Duration::from_secs(4);

pub(super) fn system() -> System {
    System::new("quota_applied_twice")
        .role(KEEPER, keeper::keep)
        .role("gate", obey)
        .role("client", ask)
        .operation("grant")
        .agreed("quota", WITHIN)
}

fn grants(node: &Node) -> Table {
    keeper::reach(node).store.table("config", "grants")
}

async fn ask(node: Node) -> Result<()> {
    work(&node, grants(&node), make).await
}

/// Grants so much more, by a record of its own.
async fn make(grants: Table, operation: Operation) -> Result<Value> {
    let (key, amount) = (operation.value.to_string(), 1 + operation.value % 9);
    Ok(json!(grants.write(key, amount.to_string()).await?))
}

/// What is granted in all, as a gate knows, and up to where.
#[derive(Default)]
struct Quota {
    sum: u64,
    heard: Option<Revision>,
}

async fn obey(node: Node) -> Result<()> {
    let (grants, is_broken) = (grants(&node), is_broken(&node)?);
    let mut quota = Quota::default();
    loop {
        let hearing = quota.hear(&grants, is_broken);
        let heard = node.host().clock.timeout(ANSWER, hearing).await;
        let late = || Error::deadline_exceeded("the configuration did not answer");
        let heard = heard.unwrap_or_else(|_| Err(late()));
        if heard.is_err() {
            // A connection that was lost may have lost changes: it begins anew.
            quota.heard = None;
            node.host().clock.sleep(PAUSE).await;
        }
        node.note("quota", json!({ "sum": quota.sum }));
    }
}

impl Quota {
    async fn hear(&mut self, grants: &Table, is_broken: bool) -> Result<()> {
        match self.heard {
            None => self.begin(grants, is_broken).await,
            Some(after) => self.go_on(grants, after).await,
        }
    }

    async fn begin(&mut self, grants: &Table, is_broken: bool) -> Result<()> {
        let listed = grants.list(Select::default()).await?;
        // The bug: what is listed is added to what was there, though it was there already.
        if !is_broken {
            self.sum = 0;
        }
        self.sum += listed.records.iter().map(amount).sum::<u64>();
        self.heard = Some(listed.revision);
        Ok(())
    }

    async fn go_on(&mut self, grants: &Table, after: Revision) -> Result<()> {
        match grants.watch("", after, WAIT).await? {
            Watched::Reset => self.heard = None,
            Watched::Changes { changes, revision } => {
                self.heard = Some(revision);
                for change in changes {
                    if let ChangeKind::Put(record) = &change.kind {
                        self.sum += amount(record);
                    }
                }
            }
        }
        Ok(())
    }
}

fn amount(record: &Record) -> u64 {
    String::from_utf8_lossy(&record.value).parse().unwrap_or(0)
}
