//! Rules of what is handed from one to another: nothing is lost, nothing comes twice, and no two
//! are given the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::{last_us, number};
use crate::system::{Breach, Judged, System};
use crate::trace::{Blame, EventKind, OperationOutcome, Trace};

impl System {
    /// The same system, in which what an acknowledged operation `sent` is handled at least once,
    /// within a time after its acknowledgement and the last fault. Whoever handles it notes the
    /// operation's value under `note`, as `{"value": number}`.
    pub fn delivered(self, sent: &'static str, note: &'static str, within: Duration) -> Self {
        self.judge("delivered", move |trace| {
            Judged::of(lost(trace, sent, note, within))
        })
    }

    /// The same system, in which nothing is handled twice: no two notes under `note` have the same
    /// `"value"`.
    pub fn delivered_once(self, note: &'static str) -> Self {
        self.judge("delivered once", move |trace| {
            let mut handled: BTreeMap<u64, (&str, usize)> = BTreeMap::new();
            let mut wrong = Vec::new();
            for (place, event, value) in trace.placed_notes(note) {
                let node = event.node.as_deref().unwrap_or("the cluster");
                let Some(value) = number(value) else { continue };
                if let Some((other, before)) = handled.insert(value, (node, place)) {
                    let what = format!("{value} was handled by {other} and by {node}");
                    wrong.push(Breach::of(what, [before, place].map(Blame::Event)));
                }
            }
            Judged::of(wrong)
        })
    }

    /// The same system, in which the operations called `operation` are each answered with a number
    /// that no other was.
    pub fn unique(self, operation: &'static str) -> Self {
        self.judge("unique", move |trace| {
            let mut given: BTreeMap<u64, u64> = BTreeMap::new();
            let mut wrong = Vec::new();
            for (id, reply) in replies(trace, operation) {
                let Some(value) = number(reply) else { continue };
                if let Some(other) = given.insert(value, id) {
                    wrong.push(format!(
                        "operations {other} and {id} were both given {value}"
                    ));
                }
            }
            Judged::of(wrong)
        })
    }
}

/// The operations of a name that succeeded, with their replies.
fn replies<'t>(trace: &'t Trace, name: &str) -> impl Iterator<Item = (u64, &'t Value)> {
    let named = calls(trace, name);
    trace
        .outcomes()
        .filter_map(move |(_, id, outcome)| match outcome {
            OperationOutcome::Ok { reply } if named.contains_key(&id) => Some((id, reply)),
            _ => None,
        })
}

/// The operations of a name, each with its value.
fn calls(trace: &Trace, wanted: &str) -> BTreeMap<u64, u64> {
    let call = |kind: &EventKind| match kind {
        EventKind::Call {
            operation,
            name,
            value,
            ..
        } if name == wanted => Some((*operation, *value)),
        _ => None,
    };
    let events = trace.events().iter();
    events.filter_map(|event| call(&event.kind)).collect()
}

fn lost(trace: &Trace, sent: &str, note: &str, within: Duration) -> Vec<Breach> {
    let handled: BTreeSet<u64> = trace.notes(note).filter_map(|(_, v)| number(v)).collect();
    let calm_since = last_us(trace, |kind| matches!(kind, EventKind::Fault { .. }));
    let end = last_us(trace, |_| true);
    let sent = calls(trace, sent);
    let mut wrong = Vec::new();
    for (event, id, outcome) in trace.outcomes() {
        let (Some(value), OperationOutcome::Ok { .. }) = (sent.get(&id), outcome) else {
            continue;
        };
        let due = event.at_us.max(calm_since) + within.as_micros() as u64;
        if due < end && !handled.contains(value) {
            let at = event.at_us as f64 / 1e6;
            let what = format!(
                "operation {id} was acknowledged at {at:.3} s and {value} was never handled"
            );
            wrong.push(Breach::of(what, [Blame::Operation(id)]));
        }
    }
    wrong
}
