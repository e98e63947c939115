//! Rules that a system's notes and replies keep: one leader a term, tokens that never go back,
//! reads that never go back, deliveries, agreement.

mod agreement;
mod delivery;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::system::{Breach, Judged, System};
use crate::trace::{Blame, EventKind, OperationOutcome, Trace};

impl System {
    /// The same system, in which no two nodes lead in one term. A node that leads notes it under
    /// `note`, as `{"term": number}`.
    pub fn one_leader_per_term(self, note: &'static str) -> Self {
        self.judge("one leader per term", move |trace| {
            let mut leaders: BTreeMap<u64, (&str, usize)> = BTreeMap::new();
            let mut wrong = Vec::new();
            for (place, event, value) in trace.placed_notes(note) {
                let term = value.get("term").and_then(Value::as_u64);
                let (Some(term), Some(node)) = (term, event.node.as_deref()) else {
                    continue;
                };
                let (leader, since) = *leaders.entry(term).or_insert((node, place));
                if leader != node {
                    let what = format!("{node} leads in term {term}, which is {leader}'s");
                    wrong.push(Breach::of(what, [since, place].map(Blame::Event)));
                }
            }
            Judged::of(wrong)
        })
    }

    /// The same system, in which what a lock protects never sees a fencing token go back. Whatever
    /// does protected work notes it under `note`, as `{"token": number}`, with a `"key"` where
    /// there are several locks.
    pub fn fenced(self, note: &'static str) -> Self {
        self.judge("fenced", move |trace| {
            let mut newest: BTreeMap<String, (u64, u64, usize)> = BTreeMap::new();
            let mut wrong = Vec::new();
            for (place, event, value) in trace.placed_notes(note) {
                let Some(token) = value.get("token").and_then(Value::as_u64) else {
                    continue;
                };
                let key = value.get("key").map_or(String::new(), Value::to_string);
                let (earlier, at_us, used) = newest.get(&key).copied().unwrap_or_default();
                if token < earlier {
                    let node = event.node.as_deref().unwrap_or("the cluster");
                    let (at, since) = (event.at_us as f64 / 1e6, at_us as f64 / 1e6);
                    let what = format!(
                        "{node} worked with token {token} at {at:.3} s, after {earlier} had been \
                         used at {since:.3} s"
                    );
                    wrong.push(Breach::of(what, [used, place].map(Blame::Event)));
                } else {
                    newest.insert(key, (token, event.at_us, place));
                }
            }
            Judged::of(wrong)
        })
    }

    /// The same system, in which no node reads a key's number go back: a read that begins after
    /// another of the same node has returned is told no less. The reads are the operations called
    /// `operation`, whose reply is a number, or has it as `value`.
    pub fn monotonic_reads(self, operation: &'static str) -> Self {
        self.judge("monotonic reads", move |trace| {
            Judged::of(reads_that_go_back(trace, operation))
        })
    }
}

/// The number that a note or a reply is, or has as `value`.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.get("value")?.as_u64())
}

/// When the last event of a kind was, in microseconds; 0 where there is none.
fn last_us(trace: &Trace, is_meant: impl Fn(&EventKind) -> bool) -> u64 {
    let mut events = trace.events().iter();
    let last = events.rfind(|event| is_meant(&event.kind));
    last.map_or(0, |event| event.at_us)
}

/// A key as one node sees it.
type Seen<'t> = (&'t str, u64);

fn reads_that_go_back(trace: &Trace, reads: &str) -> Vec<Breach> {
    let mut newest: BTreeMap<Seen<'_>, (u64, u64)> = BTreeMap::new();
    // What had been read when each began.
    let mut open: BTreeMap<u64, (Seen<'_>, (u64, u64))> = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation,
                name,
                key,
                ..
            } if name == reads => {
                let seen = (event.node.as_deref().unwrap_or_default(), *key);
                let least = newest.get(&seen).copied().unwrap_or((0, 0));
                open.insert(*operation, (seen, least));
            }
            EventKind::Outcome {
                operation,
                outcome: OperationOutcome::Ok { reply },
            } => {
                let Some((seen, (least, by))) = open.remove(operation) else {
                    continue;
                };
                let Some(number) = number(reply) else {
                    continue;
                };
                if number < least {
                    let what = format!(
                        "operation {operation} of {} read {number} of key {}, after operation \
                         {by} had read {least}",
                        seen.0, seen.1
                    );
                    wrong.push(Breach::of(what, [by, *operation].map(Blame::Operation)));
                }
                let newest = newest.entry(seen).or_insert((0, 0));
                *newest = (*newest).max((number, *operation));
            }
            _ => {}
        }
    }
    wrong
}

#[cfg(test)]
mod tests;
