//! A lease in a store, which ends when the clock of whoever looks says so.

use std::time::Duration;

use nitro::error::Result;
use nitro::host::Clock;
use nitro::store::{Condition, Record, Table};
use nitro::time::Instant;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::service::is_broken;
use crate::builtin::keeper::{self, KEEPER};
use crate::system::{Node, System};

const TTL: Duration = Duration::from_secs(1);

/// How much longer others wait than the holder counts on.
const MARGIN: Duration = Duration::from_millis(200);

/// How often the lease is looked at and renewed, and how often a leader does what leaders do.
const LOOK: Duration = Duration::from_millis(300);
const LEAD: Duration = Duration::from_millis(50);

pub(super) fn system() -> System {
    System::new("chief_by_wall_clock")
        .role(KEEPER, keeper::keep)
        .role("candidate", stand)
        .one_leader_per_term("leads")
        .fenced("leads")
}

#[derive(Clone, Serialize, Deserialize)]
struct Lease {
    holder: String,
    term: u64,
    /// When it ends, by the holder's time of day, in milliseconds.
    until_ms: u64,
}

/// A candidate, and what it has seen of the lease.
struct Candidate {
    node: Node,
    table: Table,
    is_broken: bool,
    /// The version of the lease, and since when it has been that.
    seen: (u64, Instant),
    /// The term in which it leads, and until when, by its own clock that never jumps.
    sure: (u64, Instant),
}

async fn stand(node: Node) -> Result<()> {
    let clock = node.host().clock.clone();
    let mut candidate = Candidate {
        table: keeper::reach(&node).store.table("cluster", "lease"),
        is_broken: is_broken(&node)?,
        seen: (0, clock.now()),
        sure: (0, Instant::ORIGIN),
        node,
    };
    loop {
        // Who cannot reach the store neither takes over nor leads for longer.
        let _ = clock.timeout(LOOK, candidate.turn(&*clock)).await;
        let look_at = clock.now() + LOOK;
        while clock.now() < look_at {
            let (term, until) = candidate.sure;
            if clock.now() < until {
                candidate
                    .node
                    .note("leads", json!({ "term": term, "token": term }));
            }
            clock.sleep(LEAD).await;
        }
    }
}

impl Candidate {
    async fn turn(&mut self, clock: &dyn Clock) -> Result<()> {
        let found = self.table.read("lease").await?;
        let version = found.as_ref().map_or(0, |record| record.version);
        if version != self.seen.0 {
            self.seen = (version, clock.now());
        }
        let lease = found.as_ref().and_then(lease_in);
        let is_mine = lease
            .as_ref()
            .is_some_and(|lease| lease.holder == self.node.name());
        if !is_mine && !self.has_ended(clock, lease.as_ref()) {
            return Ok(());
        }
        let term = lease.map_or(0, |lease| lease.term) + u64::from(!is_mine);
        let asked_at = clock.now();
        let next = Lease {
            holder: self.node.name().to_owned(),
            term,
            until_ms: wall_ms(clock) + TTL.as_millis() as u64,
        };
        let unchanged = found.map_or(Condition::IfAbsent, |record| {
            Condition::IfVersion(record.version)
        });
        let text = serde_json::to_string(&next).expect("a lease is JSON");
        self.table.write_if("lease", text, unchanged).await?;
        self.sure = (term, asked_at + TTL);
        Ok(())
    }

    fn has_ended(&self, clock: &dyn Clock, lease: Option<&Lease>) -> bool {
        let wall_ms = wall_ms(clock);
        let Some(lease) = lease else { return true };
        match self.is_broken {
            // The bug: it is the holder's time of day, and this is one's own.
            true => lease.until_ms < wall_ms,
            false => clock.now().since(self.seen.1) > TTL + MARGIN,
        }
    }
}

fn lease_in(record: &Record) -> Option<Lease> {
    serde_json::from_slice(&record.value).ok()
}

fn wall_ms(clock: &dyn Clock) -> u64 {
    clock.wall().as_unix_nanos() / 1_000_000
}
