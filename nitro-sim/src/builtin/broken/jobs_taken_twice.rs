//! Two members of a group take one job, because looking and taking are two steps.

use std::time::Duration;

use nitro::error::Result;
use nitro::store::{Condition, Record, Select, Table};
use serde_json::{Value, json};

use super::service::{is_broken, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::system::{Node, Operation, System};

/// How long a worker waits when there is nothing to do.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a job may take to be done.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) fn system() -> System {
    System::new("jobs_taken_twice")
        .role(KEEPER, keeper::keep)
        .role("client", ask)
        .role("worker", toil)
        .operation("submit")
        .delivered("submit", "done", WITHIN)
        .delivered_once("done")
}

fn jobs(node: &Node) -> Table {
    keeper::reach(node).store.table("office", "jobs")
}

async fn ask(node: Node) -> Result<()> {
    work(&node, jobs(&node), make).await
}

async fn make(jobs: Table, operation: Operation) -> Result<Value> {
    let key = format!("{:08}", operation.value);
    Ok(json!(jobs.write(key, "open").await?))
}

async fn toil(node: Node) -> Result<()> {
    let (jobs, is_broken) = (jobs(&node), is_broken(&node)?);
    loop {
        let found = jobs
            .list(Select::default())
            .await
            .map(|found| found.records);
        let open = found.unwrap_or_default();
        let open = open.iter().find(|job| &*job.value == b"open");
        if let Some(job) = open {
            take(&node, &jobs, job, is_broken).await;
        } else {
            node.host().clock.sleep(PAUSE).await;
        }
    }
}

async fn take(node: &Node, jobs: &Table, job: &Record, is_broken: bool) {
    let is_open = match is_broken {
        // The bug: whoever looked at the same time takes it too.
        true => Condition::Always,
        false => Condition::IfVersion(job.version),
    };
    if jobs
        .write_if(&*job.key, node.name().to_owned(), is_open)
        .await
        .is_ok()
    {
        let number: u64 = job.key.parse().unwrap_or(0);
        node.note("done", json!({ "value": number }));
    }
}
