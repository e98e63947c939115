//! Nodes that hold the same come to hold the same.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::system::{Breach, Judged, System};
use crate::trace::Blame;

impl System {
    /// The same system, whose nodes agree in the end: the last that each noted under `note` is
    /// equal. Let the scenario leave them time after its last fault and its last operation.
    pub fn agreed(self, note: &'static str) -> Self {
        self.judge("agreed", move |trace| {
            let mut last: BTreeMap<&str, (&Value, usize)> = BTreeMap::new();
            for (place, event, value) in trace.placed_notes(note) {
                last.insert(event.node.as_deref().unwrap_or_default(), (value, place));
            }
            if last.len() < 2 {
                let count = last.len();
                return Judged {
                    violations: Vec::new(),
                    doubts: vec![format!("{count} nodes said what they hold: it takes two")],
                };
            }
            let mut nodes = last.into_iter();
            let (first, (held, said)) = nodes.next().expect("there are two");
            let others = nodes.filter(|(_, (value, _))| *value != held);
            let words = others.map(|(node, (value, place))| {
                let (one, other) = part(held, value);
                let what = format!("{first} holds {one} in the end, {node} {other}");
                Breach::of(what, [said, place].map(Blame::Event))
            });
            Judged::of(words.collect::<Vec<_>>())
        })
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
