//! What a run did, as numbers that stand for what nodes of a role do in a row: the measure of
//! whether one more seed brings anything new.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_64;

use crate::plan::Plan;
use crate::trace::{EventKind, MessageOutcome, OperationOutcome, Trace};

/// The most behaviours of one run: far more than there are kinds of what happens.
const BEHAVIOURS_MAX: usize = 20_000;

/// The different behaviours of a run, in order: three events of a node in a row, whichever node of
/// its role it is and whatever the numbers. A message that simply goes, and that it is read, is
/// none: they are most of what happens, and the least of what it is.
pub(super) fn of(plan: &Plan, trace: &Trace) -> Vec<u64> {
    let roles: BTreeMap<&str, &str> = plan
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.role.as_str()))
        .collect();
    let mut last: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut words = String::new();
    for event in trace.events() {
        let node = event.node.as_deref().unwrap_or_default();
        words.clear();
        if !describe(&event.kind, &mut words) {
            continue;
        }
        let now = xxh3_64(words.as_bytes());
        let last = last.entry(node).or_default();
        words.clear();
        let role = roles.get(node).copied().unwrap_or_default();
        let [before, at_last] = *last;
        write!(words, "{role} {before:x} {at_last:x} {now:x}").expect("a text takes all");
        *last = [at_last, now];
        if seen.len() < BEHAVIOURS_MAX {
            seen.insert(xxh3_64(words.as_bytes()));
        }
    }
    seen.into_iter().collect()
}

/// What kind of event it is, without what is only of this run; whether it is told at all.
fn describe(kind: &EventKind, out: &mut String) -> bool {
    let (what, more): (&str, &str) = match kind {
        EventKind::NodeStarted { .. } => ("started", ""),
        EventKind::NodeCrashed => ("crashed", ""),
        EventKind::NodeStopped { error } => ("stopped", error.as_deref().unwrap_or_default()),
        EventKind::TaskPanicked { task, .. } => ("panicked", task),
        EventKind::Fault { what, .. } => ("fault", what.split(' ').next().unwrap_or_default()),
        EventKind::Connect { .. } => ("connect", ""),
        EventKind::Connected { .. } => ("connected", ""),
        EventKind::ConnectFailed { error, .. } => ("connect failed", error),
        EventKind::Accepted { .. } => ("accepted", ""),
        EventKind::Broken { error, .. } => ("broken", error),
        EventKind::Message { outcome, .. } => match outcome {
            MessageOutcome::Sent => return false,
            MessageOutcome::Delayed => ("message", "delayed"),
            MessageOutcome::Held => ("message", "held"),
            MessageOutcome::Dropped => ("message", "dropped"),
        },
        EventKind::Call { name, .. } => ("call", name),
        EventKind::Outcome { outcome, .. } => match outcome {
            OperationOutcome::Ok { .. } => ("ended", "ok"),
            OperationOutcome::Failed { kind, .. } => ("ended", kind),
            OperationOutcome::Unfinished => ("ended", "not"),
            OperationOutcome::Crashed => ("ended", "crashed"),
            OperationOutcome::Skipped => ("ended", "skipped"),
        },
        EventKind::Log { message, .. } => ("log", message),
        EventKind::Note { name, .. } => ("note", name),
        _ => return false,
    };
    out.push_str(what);
    out.push(' ');
    // Words, and neither numbers nor what is named after them.
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    for word in more.split(' ').filter(is_word) {
        out.push_str(word);
        out.push(' ');
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;
    use crate::scenario::Scenario;
    use crate::system::Systems;
    use crate::trace::{Event, LogLevel};

    fn behaviours(events: &[(&str, EventKind)]) -> Vec<u64> {
        let text = include_str!("../../../scenarios/echo_partition.toml");
        let systems = Systems::new(builtin::systems());
        let scenario = Scenario::parse("test.toml", text, &systems.catalogue()).unwrap();
        let plan = Plan::new(&scenario, 1).unwrap();
        let mut trace = Trace::new("p", "test");
        for (node, kind) in events {
            let (node, kind) = (Some((*node).into()), kind.clone());
            trace.push(Event {
                at_us: 1,
                node,
                kind,
            });
        }
        of(&plan, &trace)
    }

    fn log(message: &str) -> EventKind {
        EventKind::Log {
            level: LogLevel::Info,
            target: "test".to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn nodes_of_a_role_and_numbers_are_one_behaviour_and_order_is_another() {
        let one = behaviours(&[
            ("server-1", log("took 3 ms")),
            ("client-1", log("a")),
            ("server-1", EventKind::NodeCrashed),
        ]);
        let same = behaviours(&[
            ("server-2", log("took 41 ms")),
            ("server-2", EventKind::NodeCrashed),
            ("client-2", log("a")),
        ]);
        assert_eq!(one, same);
        assert_eq!(one.len(), 3);
        let other = behaviours(&[
            ("server-1", EventKind::NodeCrashed),
            ("server-1", log("took 3 ms")),
            ("client-1", log("a")),
        ]);
        assert_ne!(one, other);
    }
}
