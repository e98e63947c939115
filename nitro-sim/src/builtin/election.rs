//! The system `election`: candidates stand for election, leaders say so while they are sure, and
//! clients ask who leads.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::error::{Error, Result};
use serde_json::{Value, json};

use super::keeper::{self, KEEPER};
use crate::system::{Breach, Node, System};
use crate::trace::{Blame, EventKind, Trace};

const TTL: Duration = Duration::from_secs(1);

/// How often a leader says that it leads.
const PAUSE: Duration = Duration::from_millis(50);

/// How many terms a leader stays before it resigns, as times it says so.
const SAID_MAX: u32 = 60;

/// How long nobody may lead once all is well: until the last lease has ended, and as long again.
const VACANT_MAX_US: u64 = 2 * TTL.as_micros() as u64;

/// The system: roles `keeper`, `candidate` and `client`; operation `who`.
pub fn system() -> System {
    System::new("election")
        .role(KEEPER, keeper::keep)
        .role("candidate", stand)
        .role("client", ask)
        .operation("who")
        .invariant("a term has one leader", one_leader_a_term)
        .invariant("no leader is sure after the next", terms_rise)
        .invariant("a leader is found once all is well", leader_is_found)
}

async fn stand(node: Node) -> Result<()> {
    let leases = keeper::reach(&node).leases;
    let host = node.host();
    loop {
        let standing = leases.campaign(host, "chief", node.name(), TTL);
        let Ok(guard) = standing.await else {
            host.clock.sleep(PAUSE).await;
            continue;
        };
        for _ in 0..SAID_MAX {
            if !guard.is_held() {
                break;
            }
            node.note("leads", json!({ "term": guard.token() }));
            host.clock.sleep(PAUSE).await;
        }
        // A resignation that nobody hears takes effect when the lease ends.
        let _ = guard.release().await;
    }
}

async fn ask(node: Node) -> Result<()> {
    let leases = keeper::reach(&node).leases;
    let clock = node.host().clock.clone();
    node.workload(move |operation| {
        let (leases, clock) = (leases.clone(), clock.clone());
        async move {
            let asking = async {
                let holders = leases.observe("chief", &[], operation.timeout).await?;
                let leader = holders.first().map(|holder| json!(holder.note));
                leader.ok_or_else(|| Error::not_found("nobody leads"))
            };
            keeper::in_time::<Value>(&clock, &operation, asking).await
        }
    })
    .await
}

/// A node that was sure to lead.
struct Lead<'t> {
    at_us: u64,
    node: &'t str,
    term: u64,
    /// The event, by its place in the trace.
    place: usize,
}

fn leads(trace: &Trace) -> impl Iterator<Item = Lead<'_>> {
    trace
        .placed_notes("leads")
        .map(|(place, event, value)| Lead {
            at_us: event.at_us,
            node: event.node.as_deref().unwrap_or_default(),
            term: value["term"].as_u64().unwrap_or(0),
            place,
        })
}

fn one_leader_a_term(trace: &Trace) -> Vec<Breach> {
    let mut leaders: BTreeMap<u64, (&str, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for lead in leads(trace) {
        let Lead { node, term, .. } = lead;
        let (leader, since) = *leaders.entry(term).or_insert((node, lead.place));
        if leader != node {
            let what = format!("term {term} has {leader} and {node}");
            wrong.push(Breach::of(what, [since, lead.place].map(Blame::Event)));
        }
    }
    wrong
}

fn terms_rise(trace: &Trace) -> Vec<Breach> {
    let (mut last, mut since) = (0, 0);
    let mut wrong = Vec::new();
    for lead in leads(trace) {
        let Lead { node, term, .. } = lead;
        if term < last {
            let at = lead.at_us as f64 / 1e6;
            let what = format!("{node} was sure of term {term} at {at:.3} s, after {last}");
            wrong.push(Breach::of(what, [since, lead.place].map(Blame::Event)));
        } else {
            (last, since) = (term, lead.place);
        }
    }
    wrong
}

fn leader_is_found(trace: &Trace) -> Vec<String> {
    let is_fault = |kind: &EventKind| matches!(kind, EventKind::Fault { .. });
    let events = trace.events();
    let last_fault = events.iter().rfind(|event| is_fault(&event.kind));
    // Whoever was cut off by the last fault has to come back first.
    let calm = last_fault.map_or(0, |event| event.at_us) + 10_000_000;
    let end = events.last().map_or(0, |event| event.at_us);
    let said = leads(trace)
        .map(|lead| lead.at_us)
        .filter(|at_us| *at_us > calm);
    let mut before = calm;
    let mut wrong = Vec::new();
    for at_us in said.chain([end]) {
        if at_us.saturating_sub(before) > VACANT_MAX_US {
            let (from, to) = (before as f64 / 1e6, at_us as f64 / 1e6);
            wrong.push(format!("nobody led from {from:.3} to {to:.3} s"));
        }
        before = at_us;
    }
    wrong
}
