//! What happened, in order: the events of a slice that tell the most, in words.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Slice;
use crate::run::Run;
use crate::trace::{Event, EventKind, LogLevel, MessageOutcome, OperationOutcome, Trace};

/// How many steps a story has at most.
const STEPS_MAX: usize = 30;

/// How many a short one has, which stands on a screen beside other things.
const BRIEF_STEPS_MAX: usize = 18;

/// How many characters of a value or a message are told.
const SAID_CHARS_MAX: usize = 90;

/// A step of the story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// When, in virtual microseconds.
    pub at_us: u64,
    /// The node; none for what is done to the cluster from outside.
    pub node: Option<String>,
    /// What happened, in words.
    pub what: String,
    /// Whether the check blames it.
    pub is_blamed: bool,
    /// The event, by its place in the trace, from 0; none for a fault that began before.
    pub event: Option<usize>,
    /// How many events of the slice's thread lie between the step before and this one.
    pub skipped: usize,
}

/// How much a step tells: of two for which there is no room, the lesser in this order stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Blamed,
    Fault,
    Life,
    /// An operation on a key that a blamed one is about.
    Akin,
    Trouble,
    Word,
    Message,
    Call,
}

/// The story of a slice.
pub(super) fn tell(run: &Run, slice: &Slice) -> Vec<Step> {
    told(run, slice, STEPS_MAX, |_| true)
}

/// The story without what is merely sent, unless something befell it.
pub(super) fn brief(run: &Run, slice: &Slice) -> Vec<Step> {
    told(run, slice, BRIEF_STEPS_MAX, |weight| {
        weight != Weight::Message
    })
}

/// At most so many steps, of the weights that are wanted.
fn told(run: &Run, slice: &Slice, steps_max: usize, is_wanted: fn(Weight) -> bool) -> Vec<Step> {
    let trace = &run.outcome.trace;
    let read = read_times(trace);
    let akin = akin(trace, slice);
    let mut said: BTreeMap<&str, String> = BTreeMap::new();
    let mut told: Vec<(Weight, usize)> = Vec::new();
    for (place, event) in trace.events().iter().enumerate() {
        let weight = weight(slice, &akin, place, event);
        let Some(weight) = weight.filter(|weight| is_wanted(*weight)) else {
            continue;
        };
        if weight == Weight::Word {
            // What a node says again and again is told once.
            let node = event.node.as_deref().unwrap_or_default();
            let words = words(event, place, &read);
            if said.get(node) == Some(&words) {
                continue;
            }
            said.insert(node, words);
        }
        told.push((weight, place));
    }
    // Of those that tell as much, the later are nearer to the failure.
    told.sort_by_key(|(weight, place)| (*weight, std::cmp::Reverse(*place)));
    let earlier = earlier_faults(run, slice);
    told.truncate(steps_max.saturating_sub(earlier.len()));
    let mut places: Vec<usize> = told.into_iter().map(|(_, place)| place).collect();
    places.sort_unstable();
    let mut steps = earlier;
    let mut before = places.first().copied().unwrap_or(0);
    for place in places {
        let event = &trace.events()[place];
        let between = before + 1..place;
        steps.push(Step {
            at_us: event.at_us,
            node: event.node.as_deref().map(str::to_owned),
            what: words(event, place, &read),
            is_blamed: slice.blamed.binary_search(&place).is_ok(),
            event: Some(place),
            skipped: between.filter(|event| slice.thread[*event]).count(),
        });
        before = place;
    }
    steps
}

/// The operations on the keys that blamed ones are about.
fn akin(trace: &Trace, slice: &Slice) -> BTreeSet<u64> {
    let call = |event: &Event| match event.kind {
        EventKind::Call { operation, key, .. } => Some((operation, key)),
        _ => None,
    };
    let blamed = slice.blamed.iter().map(|place| &trace.events()[*place]);
    let keys: BTreeSet<u64> = blamed.filter_map(call).map(|(_, key)| key).collect();
    let calls = trace.events().iter().filter_map(call);
    let akin = calls.filter(|(_, key)| keys.contains(key));
    akin.map(|(operation, _)| operation).collect()
}

/// The faults that had begun before the thread did.
fn earlier_faults(run: &Run, slice: &Slice) -> Vec<Step> {
    let faults = slice.faults.iter().map(|place| &run.plan.faults[*place]);
    let earlier = faults.filter(|fault| fault.at_ms * 1000 < slice.window_us[0]);
    let step = |fault: &crate::fault::PlannedFault| Step {
        at_us: fault.at_ms * 1000,
        node: None,
        what: clip(&format!("{} is in force: {}", fault.id, fault.fault)),
        is_blamed: false,
        event: None,
        skipped: 0,
    };
    earlier.map(step).collect()
}

/// When each message was read, by its place.
fn read_times(trace: &Trace) -> Vec<Option<u64>> {
    let mut read = vec![None; trace.events().len()];
    for event in trace.events() {
        if let EventKind::Received { message } = event.kind
            && let Some(read) = read.get_mut(message as usize)
        {
            *read = Some(event.at_us);
        }
    }
    read
}

fn weight(slice: &Slice, akin: &BTreeSet<u64>, place: usize, event: &Event) -> Option<Weight> {
    if slice.blamed.binary_search(&place).is_ok() {
        return Some(Weight::Blamed);
    }
    if slice.brought.binary_search(&place).is_ok() {
        return Some(Weight::Fault);
    }
    let [from_us, to_us] = slice.window_us;
    let is_in_window = (from_us..=to_us).contains(&event.at_us);
    match &event.kind {
        EventKind::Fault { .. } => is_in_window.then_some(Weight::Fault),
        EventKind::NodeStarted { .. } | EventKind::NodeStopped { .. } => {
            is_in_window.then_some(Weight::Life)
        }
        EventKind::TaskPanicked { .. } => is_in_window.then_some(Weight::Trouble),
        // What a node says of itself is seldom, and tells what the thread came to meet.
        EventKind::Note { .. } | EventKind::Log { .. } | EventKind::Point { .. } => {
            (is_in_window && slice.past[place]).then_some(Weight::Word)
        }
        _ if !slice.thread[place] => None,
        EventKind::ConnectFailed { .. } | EventKind::Broken { .. } | EventKind::Trick { .. } => {
            Some(Weight::Trouble)
        }
        EventKind::Call { operation, .. } | EventKind::Outcome { operation, .. } => {
            Some(match akin.contains(operation) {
                true => Weight::Akin,
                false => Weight::Call,
            })
        }
        EventKind::Message { outcome, .. } => Some(match outcome {
            MessageOutcome::Dropped => Weight::Trouble,
            _ => Weight::Message,
        }),
        _ => None,
    }
}

fn words(event: &Event, place: usize, read: &[Option<u64>]) -> String {
    match &event.kind {
        EventKind::NodeStarted { incarnation: 1 } => "starts".to_owned(),
        EventKind::NodeStarted { incarnation } => format!("starts, for the {incarnation}. time"),
        EventKind::NodeCrashed => "crashes".to_owned(),
        EventKind::NodeStopped { error: None } => "stops".to_owned(),
        EventKind::NodeStopped { error: Some(error) } => format!("stops: {}", clip(error)),
        EventKind::TaskPanicked { task, message } => {
            format!("task {task} panics: {}", clip(message))
        }
        EventKind::Fault { fault, phase, what } => {
            let phase = match phase {
                crate::fault::Phase::Begin => "begins",
                crate::fault::Phase::End => "ends",
            };
            format!("{fault} {phase}: {}", clip(what))
        }
        EventKind::Connect { to } => format!("opens a stream to {to}"),
        EventKind::Connected { to } => format!("has a stream to {to}"),
        EventKind::ConnectFailed { to, error } => format!("cannot open a stream to {to}: {error}"),
        EventKind::Accepted { from } => format!("accepts a stream from {from}"),
        EventKind::Broken { peer, error } => format!("its stream with {peer} breaks: {error}"),
        EventKind::Message { to, bytes, .. } => {
            let end = match read[place] {
                Some(at_us) => format!("read {:.1} ms later", (at_us - event.at_us) as f64 / 1e3),
                None => "never read".to_owned(),
            };
            format!("sends {bytes} bytes to {to}, {end}")
        }
        EventKind::Received { message } => format!("reads the message of event {message}"),
        EventKind::Call {
            operation,
            name,
            key,
            value,
        } => format!("calls {name} of key {key} with {value} (operation {operation})"),
        EventKind::Outcome { operation, outcome } => {
            format!("operation {operation} {}", ending(outcome))
        }
        EventKind::Log { level, message, .. } => {
            let level = match level {
                LogLevel::Error => "an error",
                LogLevel::Warn => "a warning",
                LogLevel::Info => "a line",
            };
            format!("logs {level}: {}", clip(message))
        }
        EventKind::Note { name, value } => format!("notes {name} {}", clip(&value.to_string())),
        EventKind::Point {
            says,
            holds,
            name,
            found,
            ..
        } => point(says.word(), *holds, name, found),
        EventKind::Trick { site } => format!("plays a trick, {site}"),
        EventKind::Leaked { task, count } => {
            format!("has stopped, and {count} of its tasks \"{task}\" go on")
        }
        EventKind::Touched { fault, count } => format!("{fault} has touched {count}"),
    }
}

fn point(says: &str, holds: bool, name: &str, found: &str) -> String {
    let how = match (says, holds) {
        ("always" | "sometimes", true) => "and it holds",
        ("always" | "sometimes", false) => "and it does not hold",
        _ => "and comes by",
    };
    let space = if found.is_empty() { "" } else { ": " };
    format!("says {says} \"{name}\", {how}{space}{}", clip(found))
}

fn ending(outcome: &OperationOutcome) -> String {
    match outcome {
        OperationOutcome::Ok { reply } => format!("returns {}", clip(&reply.to_string())),
        OperationOutcome::Failed { kind, message } => format!("fails, {kind}: {}", clip(message)),
        OperationOutcome::Unfinished => "has not returned by its deadline".to_owned(),
        OperationOutcome::Crashed => "is lost with its node".to_owned(),
        OperationOutcome::Skipped => "is never made: its node is down".to_owned(),
    }
}

/// One line of a text that may be long and have many.
fn clip(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SAID_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}
