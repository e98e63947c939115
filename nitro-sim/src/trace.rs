//! What happened in a run: every event with its virtual time and node, and a digest of them all.
//!
//! A trace holds no wall-clock time, no pointer and no hash order, so two runs of a plan give
//! equal bytes. An event's one encoding is its JSON line; the digest is over those lines.

mod difference;
mod ended;
mod event;
mod file;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

pub use difference::Difference;
pub use ended::Ended;
pub use event::{Event, EventKind, LogLevel, MessageOutcome, OperationOutcome};
pub use file::TraceError;

/// The version of the trace file.
pub const FORMAT: u32 = 2;

/// What a trace is of: the first line of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the trace file, [`FORMAT`].
    pub format: u32,
    /// The digest of the plan that was run.
    pub plan: String,
    /// The engine that ran it.
    pub engine: String,
    /// What it takes to judge it again; none where that is known beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// What it takes to judge a trace, so that its file is enough for a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The plan that was run, as the text of its file.
    pub plan: String,
    /// How the run ended.
    pub ended: Ended,
}

/// The events of a run, with a rolling digest.
#[derive(Clone)]
pub struct Trace {
    header: Header,
    events: Vec<Event>,
    hasher: Xxh3,
}

impl Trace {
    /// A trace without events.
    pub fn new(plan_digest: impl Into<String>, engine: impl Into<String>) -> Self {
        let header = Header {
            format: FORMAT,
            plan: plan_digest.into(),
            engine: engine.into(),
            origin: None,
        };
        Self {
            header,
            events: Vec::new(),
            hasher: Xxh3::new(),
        }
    }

    /// Adds an event, and takes it into the digest.
    pub fn push(&mut self, event: Event) {
        self.hasher.update(event.line().as_bytes());
        self.hasher.update(b"\n");
        self.events.push(event);
    }

    /// What it is a trace of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The events in the order they happened.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The digest of all events: 32 hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("{:032x}", self.hasher.digest128())
    }

    /// The operations, each with its call and its outcomes.
    pub fn outcomes(&self) -> impl Iterator<Item = (&Event, u64, &OperationOutcome)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Outcome { operation, outcome } => Some((event, *operation, outcome)),
            _ => None,
        })
    }

    /// What systems noted under a name, with the event it stands in.
    pub fn notes<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Event, &'a serde_json::Value)> {
        self.events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Note { name: found, value } if found == name => Some((event, value)),
                _ => None,
            })
    }

    /// How much each fault touched, in the order the faults stand in the plan.
    pub fn touches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.events.iter().filter_map(|event| match &event.kind {
            EventKind::Touched { fault, count } => Some((fault.as_str(), *count)),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("header", &self.header)
            .field("events", &self.events.len())
            .field("digest", &self.digest())
            .finish()
    }
}
