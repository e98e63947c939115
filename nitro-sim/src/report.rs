//! The account of a run: what ran, what was done to it, what came of it.

pub mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::{History, Reason};
use crate::fault::Phase;
use crate::run::Run;
use crate::trace::{EventKind, MessageOutcome, OperationOutcome};

/// The account of a run, as plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The scenario by name.
    pub scenario: String,
    /// The system by name.
    pub system: String,
    /// The seed.
    pub seed: u64,
    /// The engine by name.
    pub engine: String,
    /// How many nodes of each role, in the order they start.
    pub nodes: Vec<(String, usize)>,
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
    /// How many messages were sent at once, delayed, held and dropped.
    pub messages: [usize; 4],
    /// The verdict in a word.
    pub verdict: &'static str,
    /// Why it is no pass.
    pub reasons: Vec<Reason>,
    /// The digest of the trace.
    pub digest: String,
    /// The command that repeats the run.
    pub command: String,
    /// How long it took of this machine's time; none leaves it out.
    pub wall: Option<Duration>,
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq)]
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
#[derive(Clone, Debug, Default, PartialEq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The account of a run that `command` repeats.
    pub fn new(run: &Run, command: impl Into<String>) -> Self {
        let (plan, trace) = (&run.plan, &run.outcome.trace);
        let history = History::new(plan, trace);
        Self {
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
            messages: messages(run),
            verdict: run.verdict.word(),
            reasons: run.verdict.reasons().to_vec(),
            digest: trace.digest(),
            command: command.into(),
            wall: Some(run.outcome.wall),
        }
    }
}

fn nodes(run: &Run) -> Vec<(String, usize)> {
    let mut nodes: Vec<(String, usize)> = Vec::new();
    for node in &run.plan.nodes {
        match nodes.iter_mut().find(|(role, _)| *role == node.role) {
            Some((_, count)) => *count += 1,
            None => nodes.push((node.role.clone(), 1)),
        }
    }
    nodes
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

fn workloads(history: &History) -> Vec<WorkloadLine> {
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

fn failed(history: &History) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for made in history.iter() {
        if let Some(OperationOutcome::Failed { kind, .. }) = made.outcome() {
            *kinds.entry(kind.clone()).or_default() += 1;
        }
    }
    kinds
}

fn latency(history: &History) -> Option<Latency> {
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

fn messages(run: &Run) -> [usize; 4] {
    let mut counts = [0; 4];
    for event in run.outcome.trace.events() {
        if let EventKind::Message { outcome, .. } = &event.kind {
            let index = match outcome {
                MessageOutcome::Sent => 0,
                MessageOutcome::Delayed => 1,
                MessageOutcome::Held => 2,
                MessageOutcome::Dropped => 3,
            };
            counts[index] += 1;
        }
    }
    counts
}
