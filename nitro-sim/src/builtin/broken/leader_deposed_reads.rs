//! A leader that has been overtaken answers reads from what it remembers.

use std::sync::Arc;
use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::store::{Condition, Table};
use nitro::sync::Guard;
use nitro::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with, work};
use crate::builtin::keeper::{self, KEEPER};
use crate::check::model::Register;
use crate::system::{Node, Operation, System};

const READ: Method<(), Option<u64>> = Method::unary("register/read");
const WRITE: Method<u64, ()> = Method::unary("register/write");

const TTL: Duration = Duration::from_secs(1);

/// How often a leader asks whether it still is one.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn system() -> System {
    System::new("leader_deposed_reads")
        .role(KEEPER, keeper::keep)
        .role("member", stand)
        .role("client", ask)
        .operation("read")
        .operation("write")
        .linearizable(Register)
}

/// What a leader has: its lease, and the value, which nobody else writes.
struct Lead {
    guard: Guard,
    value: Option<u64>,
}

#[derive(Clone)]
struct Member {
    node: Node,
    table: Table,
    lead: Arc<Mutex<Option<Lead>>>,
    is_broken: bool,
}

async fn stand(node: Node) -> Result<()> {
    let member = Member {
        table: keeper::reach(&node).store.table("cluster", "register"),
        lead: Arc::default(),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    let standing = member.clone();
    let standing = async move { standing.campaign().await };
    let standing = node.host().tasks.spawn("campaign", Box::pin(standing));
    let _standing = standing.abort_on_drop();
    let router = Router::new().unary(&READ, Json, with(&member, read)).unary(
        &WRITE,
        Json,
        with(&member, write),
    );
    serve(&node, router).await
}

impl Member {
    async fn campaign(&self) {
        let (host, leases) = (self.node.host(), keeper::reach(&self.node).leases);
        loop {
            if let Ok(guard) = leases.campaign(host, "chief", self.node.name(), TTL).await
                && let Ok(value) = self.take_over(&guard).await
            {
                let token = guard.token();
                *self.lead.lock().await = Some(Lead { guard, value });
                // Until it hears of another: who is cut off hears of nobody.
                loop {
                    host.clock.sleep(LOOK).await;
                    let seen = leases.observe("chief", &[], Duration::ZERO).await;
                    if seen.is_ok_and(|seen| seen.iter().all(|holder| holder.token != token)) {
                        break;
                    }
                }
                *self.lead.lock().await = None;
            }
            host.clock.sleep(LOOK).await;
        }
    }

    /// Keeps earlier leaders from writing, and reads what they wrote.
    async fn take_over(&self, guard: &Guard) -> Result<Option<u64>> {
        self.table.commit(Vec::new(), Some(guard.fence())).await?;
        let found = self.table.read("value").await?;
        Ok(found.and_then(|record| std::str::from_utf8(&record.value).ok()?.parse().ok()))
    }
}

async fn read(member: Member, (): ()) -> Result<Option<u64>> {
    let lead = member.lead.lock().await;
    // The bug: a leader is one for as long as its lease lasts, not until it is told otherwise.
    let leads = |lead: &&Lead| member.is_broken || lead.guard.is_held();
    let lead = lead.as_ref().filter(leads);
    lead.map(|lead| lead.value).ok_or_else(no_leader)
}

async fn write(member: Member, value: u64) -> Result<()> {
    let mut slot = member.lead.lock().await;
    let lead = slot.as_mut().ok_or_else(no_leader)?;
    let (fence, text) = (lead.guard.fence(), value.to_string());
    let writing = member
        .table
        .write_fenced(fence, "value", text, Condition::Always);
    match writing.await {
        Ok(_) => lead.value = Some(value),
        Err(error) => {
            // Whether it was written is not known, and so neither is the value.
            *slot = None;
            return Err(error);
        }
    }
    Ok(())
}

fn no_leader() -> Error {
    Error::unavailable("this member does not lead")
}

async fn ask(node: Node) -> Result<()> {
    let members = node.peers("member").iter();
    let members: Vec<Client<Json>> = members.map(|name| reach(&node, name)).collect();
    work(&node, members, make).await
}

/// Asks one member after the other; which first, the operation says.
async fn make(members: Vec<Client<Json>>, operation: Operation) -> Result<Value> {
    let mut answer = Err(no_leader());
    for turn in 0..members.len() {
        let member = (operation.value as usize + turn) % members.len();
        let client = members[member].clone().timeout(operation.timeout / 4);
        answer = match operation.name.as_str() {
            "read" => client.call(&READ, ()).await.map(|value| json!(value)),
            // A write is asked of one member: that one failed does not say that it was not done.
            _ => return Ok(json!(client.call(&WRITE, operation.value).await?)),
        };
        if answer.is_ok() {
            break;
        }
    }
    answer
}
