//! What happened in a run: every event with its virtual time and node, and a digest of them all.
//!
//! A trace holds no wall-clock time, no pointer and no hash order, so two runs of a plan give
//! equal bytes. It keeps events as those bytes, which the digest is over, and makes events of them
//! for whoever asks; a trace file has them as JSON lines.

mod blame;
mod clock;
mod difference;
mod encoding;
mod ended;
mod event;
mod file;
#[cfg(not(elsewhere))]
mod process;

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

pub use blame::{Answered, Blame, Contradiction};
pub use clock::Clocks;
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

/// The events of a run.
#[derive(Clone)]
pub struct Trace {
    header: Header,
    /// The events, one after the other.
    bytes: Vec<u8>,
    count: usize,
    /// The same, once somebody has asked for them.
    events: OnceLock<Vec<Event>>,
}

impl Trace {
    /// A trace without events.
    pub fn new(plan_digest: impl Into<String>, engine: impl Into<String>) -> Self {
        Self::of(Header {
            format: FORMAT,
            plan: plan_digest.into(),
            engine: engine.into(),
            origin: None,
        })
    }

    fn of(header: Header) -> Self {
        Self {
            header,
            bytes: Vec::new(),
            count: 0,
            events: OnceLock::new(),
        }
    }

    /// Adds an event.
    pub fn push(&mut self, event: Event) {
        self.record(event.at_us, event.node.as_deref(), &event.kind);
    }

    /// Adds what happened at a time, in virtual microseconds, on a node.
    pub fn record(&mut self, at_us: u64, node: Option<&str>, kind: &EventKind) {
        encoding::encode(&mut self.bytes, at_us, node, kind);
        self.count += 1;
        self.events.take();
    }

    /// Adds that a node sent a message to another.
    pub(crate) fn message(
        &mut self,
        at_us: u64,
        ends: [&str; 2],
        bytes: u64,
        outcome: MessageOutcome,
    ) {
        encoding::encode_message(&mut self.bytes, at_us, Some(ends[0]), ends, bytes, outcome);
        self.count += 1;
        self.events.take();
    }

    /// What it is a trace of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// How many events there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The events in the order they happened.
    pub fn events(&self) -> &[Event] {
        self.events.get_or_init(|| {
            let (mut left, mut names) = (&*self.bytes, encoding::Names::new());
            let mut events = Vec::with_capacity(self.count);
            while !left.is_empty() {
                let event = encoding::decode(&mut left, &mut names);
                events.push(event.expect("these are the bytes of events"));
            }
            events
        })
    }

    /// The digest of all events: 32 hexadecimal digits.
    pub fn digest(&self) -> String {
        format!("{:032x}", xxh3_128(&self.bytes))
    }

    /// The operations, each with its call and its outcomes.
    pub fn outcomes(&self) -> impl Iterator<Item = (&Event, u64, &OperationOutcome)> {
        self.events().iter().filter_map(|event| match &event.kind {
            EventKind::Outcome { operation, outcome } => Some((event, *operation, outcome)),
            _ => None,
        })
    }

    /// What systems noted under a name, with the event it stands in.
    pub fn notes<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a Event, &'a serde_json::Value)> {
        self.placed_notes(name)
            .map(|(_, event, value)| (event, value))
    }

    /// What systems noted under a name, with the event it stands in and the place of that.
    pub fn placed_notes<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (usize, &'a Event, &'a serde_json::Value)> {
        let events = self.events().iter().enumerate();
        events.filter_map(move |(place, event)| match &event.kind {
            EventKind::Note { name: found, value } if found == name => Some((place, event, value)),
            _ => None,
        })
    }

    /// How much each fault touched, in the order the faults stand in the plan.
    pub fn touches(&self) -> impl Iterator<Item = (&str, u64)> {
        self.events().iter().filter_map(|event| match &event.kind {
            EventKind::Touched { fault, count } => Some((fault.as_str(), *count)),
            _ => None,
        })
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("header", &self.header)
            .field("events", &self.count)
            .field("digest", &self.digest())
            .finish()
    }
}
