//! The account of a run: what ran, what was done to it, what came of it, and how that came to be.
//!
//! One account has three forms: text for a terminal, JSON for programs, and a page that draws it.
//! Two runs side by side are a [`Parted`].

mod ends;
pub mod html;
mod json;
mod parted;
mod slice;
mod story;
pub mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::check::measures::{Measured, measured};
use crate::check::{History, Reason};
use crate::fault::Phase;
use crate::run::Run;
use crate::trace::{EventKind, MessageOutcome, OperationOutcome};

pub use parted::Parted;
pub use slice::Slice;
pub use story::Step;

/// The version of the account as JSON.
pub const FORMAT: u32 = 1;

/// The account of a run, as plain data: what the JSON form holds, field by field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of the account, [`FORMAT`].
    pub format: u32,
    /// The scenario by name.
    pub scenario: String,
    /// The system by name.
    pub system: String,
    /// The seed.
    pub seed: u64,
    /// The engine by name.
    pub engine: String,
    /// How many nodes of each role, in the order they start.
    pub nodes: Vec<NodeLine>,
    /// How long it ran, in virtual milliseconds.
    pub duration_ms: u64,
    /// How its plan differs from what the scenario says, in words; none where it drew nothing.
    pub swarm: Option<String>,
    /// What was done, by time.
    pub faults: Vec<FaultLine>,
    /// What was asked, by workload.
    pub workloads: Vec<WorkloadLine>,
    /// How often operations failed, by kind of error.
    pub failed: BTreeMap<String, usize>,
    /// How long those took that succeeded.
    pub latency: Option<Latency>,
    /// What was measured.
    pub measured: Vec<Measured>,
    /// What became of messages.
    pub messages: Messages,
    /// The verdict in a word.
    pub verdict: &'static str,
    /// Why it is no pass.
    pub reasons: Vec<Reason>,
    /// What its failure can have come of; none of a run that did not fail.
    pub slice: Option<SliceLine>,
    /// What happened, in order, where it failed.
    pub story: Vec<Step>,
    /// The digest of the trace.
    pub digest: String,
    /// The command that repeats the run.
    pub command: String,
    /// How long it took of this machine's time; none leaves it out, as JSON always does: the
    /// account of a run is the same on every machine.
    #[serde(skip)]
    pub wall: Option<Duration>,
}

/// How many nodes there are of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeLine {
    /// The role.
    pub role: String,
    /// How many.
    pub count: usize,
}

/// What became of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Messages {
    /// How many went at once.
    pub sent: usize,
    /// How many went later, or were sent again after a loss.
    pub delayed: usize,
    /// How many waited until their link opened.
    pub held: usize,
    /// How many were lost.
    pub dropped: usize,
    /// How many of all of these nobody ever read.
    pub unread: usize,
}

/// What a failure can have come of, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SliceLine {
    /// The events that the check blames, by their place in the trace, from 0.
    pub blamed: Vec<usize>,
    /// How many events happened before them, themselves included.
    pub past: usize,
    /// How many events of those lie between them.
    pub thread: usize,
    /// When the thread begins and ends, in virtual microseconds.
    pub window_us: [u64; 2],
    /// The faults in force during it, by id.
    pub faults: Vec<String>,
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultLine {
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// Its id.
    pub id: String,
    /// Whether it began or ended.
    pub phase: Phase,
    /// What it is, in words.
    pub what: String,
    /// How much it touched in all.
    pub touched: u64,
}

/// What came of a workload's operations.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WorkloadLine {
    /// The workload.
    pub name: String,
    /// Its operation.
    pub operation: String,
    /// How many were planned.
    pub planned: usize,
    /// How many succeeded.
    pub ok: usize,
    /// How many failed.
    pub failed: usize,
    /// How many did not return in time.
    pub unfinished: usize,
    /// How many were lost with their node.
    pub lost: usize,
}

/// How long operations took that succeeded, in virtual microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of them at the most.
    pub p50_us: u64,
    /// Nine of ten at the most.
    pub p90_us: u64,
    /// Ninety-nine of a hundred at the most.
    pub p99_us: u64,
    /// All of them at the most.
    pub max_us: u64,
}

impl Report {
    /// The same, with a story that fits on a screen.
    pub fn brief(run: &Run, command: impl Into<String>) -> Self {
        let story = Slice::of(run).map_or_else(Vec::new, |slice| story::brief(run, &slice));
        Self {
            story,
            ..Self::new(run, command)
        }
    }

    /// The account of a run that `command` repeats.
    pub fn new(run: &Run, command: impl Into<String>) -> Self {
        let (plan, trace) = (&run.plan, &run.outcome.trace);
        let history = History::new(plan, trace);
        let slice = Slice::of(run);
        Self {
            format: FORMAT,
            scenario: plan.scenario.clone(),
            system: plan.system.clone(),
            seed: plan.seed,
            engine: run.engine.to_owned(),
            nodes: nodes(run),
            duration_ms: plan.duration_ms,
            swarm: plan.swarm.as_ref().map(ToString::to_string),
            faults: faults(run),
            workloads: workloads(&history),
            failed: failed(&history),
            latency: latency(&history),
            measured: measured(plan, trace, &history),
            messages: messages(run),
            verdict: run.verdict.word(),
            reasons: run.verdict.reasons().to_vec(),
            story: slice
                .as_ref()
                .map_or_else(Vec::new, |slice| story::tell(run, slice)),
            slice: slice.map(|slice| line_of(run, slice)),
            digest: trace.digest(),
            command: command.into(),
            wall: Some(run.outcome.wall),
        }
    }
}

fn nodes(run: &Run) -> Vec<NodeLine> {
    let mut nodes: Vec<NodeLine> = Vec::new();
    for node in &run.plan.nodes {
        match nodes.iter_mut().find(|line| line.role == node.role) {
            Some(line) => line.count += 1,
            None => nodes.push(NodeLine {
                role: node.role.clone(),
                count: 1,
            }),
        }
    }
    nodes
}

fn line_of(run: &Run, slice: Slice) -> SliceLine {
    let faults = slice.faults.iter();
    SliceLine {
        past: slice.past_count(),
        thread: slice.thread_count(),
        window_us: slice.window_us,
        faults: faults
            .map(|place| run.plan.faults[*place].id.clone())
            .collect(),
        blamed: slice.blamed,
    }
}

fn faults(run: &Run) -> Vec<FaultLine> {
    let touches: BTreeMap<&str, u64> = run.outcome.trace.touches().collect();
    let line = |fault: &crate::fault::PlannedFault| FaultLine {
        at_ms: fault.at_ms,
        id: fault.id.clone(),
        phase: fault.phase,
        what: fault.fault.to_string(),
        touched: touches.get(fault.id.as_str()).copied().unwrap_or(0),
    };
    run.plan.faults.iter().map(line).collect()
}

fn workloads(history: &History<'_>) -> Vec<WorkloadLine> {
    let mut lines: BTreeMap<&str, WorkloadLine> = BTreeMap::new();
    for made in history.iter() {
        let planned = &made.planned;
        let line = lines.entry(&planned.workload).or_default();
        line.name.clone_from(&planned.workload);
        line.operation.clone_from(&planned.operation);
        line.planned += 1;
        let count = match made.outcome() {
            Some(OperationOutcome::Ok { .. }) => &mut line.ok,
            Some(OperationOutcome::Failed { .. }) => &mut line.failed,
            Some(OperationOutcome::Unfinished) | None => &mut line.unfinished,
            Some(OperationOutcome::Crashed | OperationOutcome::Skipped) => &mut line.lost,
        };
        *count += 1;
    }
    lines.into_values().collect()
}

fn failed(history: &History<'_>) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for made in history.iter() {
        if let Some(OperationOutcome::Failed { kind, .. }) = made.outcome() {
            *kinds.entry(kind.clone()).or_default() += 1;
        }
    }
    kinds
}

fn latency(history: &History<'_>) -> Option<Latency> {
    let ok = history.iter().filter(|made| made.is_ok());
    let mut took: Vec<u64> = ok.filter_map(|made| made.took_us()).collect();
    took.sort_unstable();
    let last = took.len().checked_sub(1)?;
    // The nearest rank: the least value that so many percent do not exceed.
    let rank = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
    Some(Latency {
        p50_us: rank(50),
        p90_us: rank(90),
        p99_us: rank(99),
        max_us: took[last],
    })
}

fn messages(run: &Run) -> Messages {
    let mut messages = Messages::default();
    for event in run.outcome.trace.events() {
        match &event.kind {
            EventKind::Message { outcome, .. } => {
                messages.unread += 1;
                *match outcome {
                    MessageOutcome::Sent => &mut messages.sent,
                    MessageOutcome::Delayed => &mut messages.delayed,
                    MessageOutcome::Held => &mut messages.held,
                    MessageOutcome::Dropped => &mut messages.dropped,
                } += 1;
            }
            EventKind::Received { .. } => messages.unread -= 1,
            _ => {}
        }
    }
    messages
}

#[cfg(test)]
mod tests;
