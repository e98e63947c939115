//! Nodes that hold the same come to hold the same.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::last_us;
use crate::system::{Breach, Judged, System};
use crate::trace::{Blame, EventKind, Trace};

impl System {
    /// The same system, whose nodes agree in the end: the last that each noted under `note` is
    /// equal. Those that still differ sooner than `within` after the last fault and the last call
    /// may yet come to agree, and leave the run in doubt.
    pub fn agreed(self, note: &'static str, within: Duration) -> Self {
        self.judge("agreed", move |trace| {
            let mut last: BTreeMap<&str, (&Value, usize)> = BTreeMap::new();
            for (place, event, value) in trace.placed_notes(note) {
                last.insert(event.node.as_deref().unwrap_or_default(), (value, place));
            }
            if last.len() < 2 {
                let count = last.len();
                return in_doubt(format!("{count} nodes said what they hold: it takes two"));
            }
            let mut nodes = last.into_iter();
            let (first, (held, said)) = nodes.next().expect("there are two");
            let others = nodes.filter(|(_, (value, _))| *value != held);
            let words = others.map(|(node, (value, place))| {
                let (one, other) = part(held, value);
                let what = format!("{first} holds {one} in the end, {node} {other}");
                Breach::of(what, [said, place].map(Blame::Event))
            });
            let differences: Vec<Breach> = words.collect();
            if !differences.is_empty() && calm(trace) < within {
                return in_doubt(format!(
                    "they differ {:?} after the last fault and call: they have {within:?}",
                    calm(trace)
                ));
            }
            Judged::of(differences)
        })
    }
}

/// How long before the end the last fault or call was.
fn calm(trace: &Trace) -> Duration {
    let is_unrest =
        |kind: &EventKind| matches!(kind, EventKind::Fault { .. } | EventKind::Call { .. });
    Duration::from_micros(last_us(trace, |_| true) - last_us(trace, is_unrest))
}

fn in_doubt(why: String) -> Judged {
    Judged {
        violations: Vec::new(),
        doubts: vec![why],
    }
}

/// Where two values differ, in words: of two maps the first entry, of others the whole.
fn part(one: &Value, other: &Value) -> (String, String) {
    let (Value::Object(left), Value::Object(right)) = (one, other) else {
        return (one.to_string(), other.to_string());
    };
    let keys = left.keys().chain(right.keys());
    let differs = |key: &&String| left.get(*key) != right.get(*key);
    let Some(key) = keys.into_iter().find(differs) else {
        return (one.to_string(), other.to_string());
    };
    let shown = |held: Option<&Value>| match held {
        Some(value) => format!("{key:?}: {value}"),
        None => format!("no {key:?}"),
    };
    (shown(left.get(key)), shown(right.get(key)))
}
