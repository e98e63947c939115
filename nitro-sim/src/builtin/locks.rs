//! The system `locks`: clients add to counters, each guarded by a lock alone. A client that is
//! paused for longer than its lease comes back believing to hold it: its write is late, and the
//! store must refuse it. What the clients are told must be what a counter would tell that is added
//! to once at a time.
//!
//! Broken on purpose are `locks_unfenced`, which writes without the lock's fence, and
//! `locks_wall_clock_lease`, whose leases end by a clock that jumps.

mod wall_clock;

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::error::Result;
use nitro::store::{Condition, Store, Sync};
use nitro::sync::{Guard, Leases, Terms};
use serde_json::{Value, json};

use super::keeper::{self, KEEPER, Kept};
use crate::check::model::Counter;
use crate::system::{Breach, Node, Operation, System};
use crate::trace::{Blame, Trace};

/// How long a lease lasts without being renewed.
const TTL: Duration = Duration::from_secs(1);

/// In how many steps the work under a lock is done.
const STEPS: u32 = 5;

/// The system: roles `keeper` and `client`; operation `add`; parameter `work_ms`, how long a
/// client works under the lock.
pub fn system() -> System {
    named("locks", true).role(KEEPER, keeper::keep)
}

/// The same without fences.
pub fn unfenced() -> System {
    named("locks_unfenced", false).role(KEEPER, keeper::keep)
}

/// The same with leases that end by the wall clock.
pub fn wall_clock_lease() -> System {
    named("locks_wall_clock_lease", true).role(KEEPER, async |node: Node| {
        let kept = keeper::open(&node, Sync::Always).await?;
        let leases = Leases::new(wall_clock::WallClock::new(node.host()));
        keeper::serve(&node, &Kept { leases, ..kept }).await
    })
}

fn named(name: &str, is_fenced: bool) -> System {
    System::new(name)
        .role("client", move |node| work(node, is_fenced))
        .operation("add")
        .linearizable(Counter)
        .invariant("no stale token is accepted", no_stale_token)
        .invariant("no two are sure of one lease", no_two_are_sure)
}

async fn work(node: Node, is_fenced: bool) -> Result<()> {
    let Kept { store, leases, .. } = keeper::reach(&node);
    let time = Duration::from_millis(node.parameter_or("work_ms", 100)?);
    let at = node.clone();
    node.workload(move |operation| {
        let worker = Worker {
            node: at.clone(),
            store: store.clone(),
            leases: leases.clone(),
            time,
            is_fenced,
        };
        async move {
            let clock = worker.node.host().clock.clone();
            keeper::in_time(&clock, &operation, worker.add(&operation)).await
        }
    })
    .await
}

struct Worker {
    node: Node,
    store: Store,
    leases: Leases,
    time: Duration,
    is_fenced: bool,
}

impl Worker {
    async fn add(&self, operation: &Operation) -> Result<Value> {
        let host = self.node.host();
        let name = format!("counter-{}", operation.key);
        let terms = Terms {
            ttl: TTL,
            wait: operation.timeout,
            ..Terms::default()
        };
        let guard = self.leases.acquire(host, &name, terms).await?;
        let added = self.add_under(&guard, &name).await;
        // A lease that cannot be given back ends by itself.
        let _ = guard.release().await;
        added
    }

    async fn add_under(&self, guard: &Guard, name: &str) -> Result<Value> {
        let table = self.store.table("office", "counters");
        if self.is_fenced {
            // Before anything is read: from here on no earlier holder changes it.
            table.commit(Vec::new(), Some(guard.fence())).await?;
        }
        let found = table.read(name).await?;
        let text = found.map(|record| String::from_utf8_lossy(&record.value).into_owned());
        let count: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(0);
        for _ in 0..STEPS {
            if guard.is_held() {
                let sure = json!({ "lock": name, "token": guard.token() });
                self.node.note("sure", sure);
            }
            self.node.host().clock.sleep(self.time / STEPS).await;
        }
        // Whether the lease is still held is not asked: it could be lost the next moment, and
        // what counts is that a late write is refused.
        let next = (count + 1).to_string();
        let always = Condition::Always;
        let version = match self.is_fenced {
            true => {
                table
                    .write_fenced(guard.fence(), name, next, always)
                    .await?
            }
            false => table.write(name, next).await?,
        };
        Ok(json!({ "lock": name, "value": count + 1, "version": version, "token": guard.token() }))
    }
}

/// An addition that was acknowledged.
struct Addition {
    operation: u64,
    token: u64,
}

/// The additions that were acknowledged, by lock and in the order of the store.
fn additions(trace: &Trace) -> BTreeMap<(String, u64), Addition> {
    let mut additions = BTreeMap::new();
    for (_, operation, outcome) in trace.outcomes() {
        let crate::trace::OperationOutcome::Ok { reply } = outcome else {
            continue;
        };
        let lock = reply["lock"].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| reply[name].as_u64().unwrap_or(0);
        let made = Addition {
            operation,
            token: number("token"),
        };
        additions.insert((lock, number("version")), made);
    }
    additions
}

/// In the order of the store, tokens do not fall.
fn no_stale_token(trace: &Trace) -> Vec<Breach> {
    let mut last: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for ((lock, version), made) in additions(trace) {
        let (token, by) = last.get(&lock).copied().unwrap_or_default();
        if made.token < token {
            let stale = made.token;
            let what = format!("{lock}: version {version} with token {stale} after {token}");
            wrong.push(Breach::of(what, [by, made.operation].map(Blame::Operation)));
        } else {
            last.insert(lock, (made.token, made.operation));
        }
    }
    wrong
}

/// Nobody is sure of a lease of which somebody else has been sure since.
fn no_two_are_sure(trace: &Trace) -> Vec<Breach> {
    let mut last: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (place, event, value) in trace.placed_notes("sure") {
        let lock = value["lock"].as_str().unwrap_or_default();
        let token = value["token"].as_u64().unwrap_or(0);
        let (newest, since) = last.get(lock).copied().unwrap_or_default();
        if token < newest {
            let node = event.node.as_deref().unwrap_or("?");
            let at = event.at_us as f64 / 1e6;
            let what = format!(
                "{node} was sure of {lock} with token {token} at {at:.3} s, after {newest} had \
                 been granted"
            );
            wrong.push(Breach::of(what, [since, place].map(Blame::Event)));
        } else {
            last.insert(lock, (token, place));
        }
    }
    wrong
}
