//! What a check points at in a trace: the events and operations that a failure is made of.

use serde::{Deserialize, Serialize};

use super::{Event, EventKind, Trace};

/// An event or an operation that has a part in a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// An operation, by its number: its call and how it ended.
    Operation(u64),
    /// An event, by its place in the trace, from 0.
    Event(usize),
}

/// Operations that cannot all have been answered as they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// The key they are about; none where it takes several.
    pub key: Option<u64>,
    /// The fewest found that suffice, in the order of their calls.
    pub operations: Vec<Answered>,
    /// The number of the one whose return makes it impossible.
    pub last: u64,
    /// What could be just before that return, in words; none where there are too many.
    pub states: Vec<String>,
}

/// An operation of a [`Contradiction`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Its number.
    pub operation: u64,
    /// Its name.
    pub name: String,
    /// The node that made it.
    pub node: String,
    /// When it was called, in microseconds.
    pub called_us: u64,
    /// When it returned, in microseconds; none where that was not heard.
    pub returned_us: Option<u64>,
    /// What it asked, in words.
    pub input: String,
    /// What it was answered, in words; none where that was not heard.
    pub output: Option<String>,
}

impl Trace {
    /// The events of what is blamed, by their place, in order.
    pub fn events_of(&self, blames: &[Blame]) -> Vec<usize> {
        let of_event = |(place, event): (usize, &Event)| {
            let operation = match event.kind {
                EventKind::Call { operation, .. } | EventKind::Outcome { operation, .. } => {
                    Some(Blame::Operation(operation))
                }
                _ => None,
            };
            let is_blamed = blames.contains(&Blame::Event(place))
                || operation.is_some_and(|operation| blames.contains(&operation));
            is_blamed.then_some(place)
        };
        self.events()
            .iter()
            .enumerate()
            .filter_map(of_event)
            .collect()
    }
}
