//! A run as the page draws it: columns of numbers, and texts by their number.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Parted;
use crate::fault::{Fault, Phase, PlannedFault};
use crate::plan::Plan;
use crate::report::{Report, Slice, ends};
use crate::run::Run;
use crate::trace::{EventKind, LogLevel, MessageOutcome, OperationOutcome, Trace};

/// How much of a run without a failure is shown at first, around its first fault.
const FIRST_SIGHT_US: [u64; 2] = [300_000, 2_200_000];

/// What a number stands for that is not known.
const NONE: i64 = -1;

/// A run as the page draws it.
#[derive(Serialize)]
pub(super) struct Drawing<'r> {
    account: &'r Report,
    plan: String,
    nodes: Vec<&'r str>,
    duration_us: u64,
    /// How many events the trace has.
    events: usize,
    lives: Vec<Vec<Life>>,
    faults: Vec<Band<'r>>,
    operations: Operations,
    messages: Messages,
    marks: Marks,
    slice: Runs,
    window_us: [u64; 2],
    strings: Vec<String>,
}

/// A part of a node's life.
#[derive(Serialize)]
struct Life {
    from: u64,
    to: u64,
    state: &'static str,
}

/// A fault over the nodes that it touches.
#[derive(Serialize)]
struct Band<'r> {
    id: &'r str,
    what: String,
    from: u64,
    to: i64,
    nodes: Vec<usize>,
    /// The groups that it parts, where it does.
    sides: Vec<Vec<usize>>,
    touched: u64,
}

#[derive(Default, Serialize)]
struct Operations {
    id: Vec<u64>,
    node: Vec<usize>,
    name: Vec<usize>,
    key: Vec<u64>,
    value: Vec<u64>,
    called: Vec<i64>,
    ended: Vec<u64>,
    outcome: Vec<u8>,
    said: Vec<i64>,
    /// The events of its call and its end.
    call: Vec<i64>,
    end: Vec<i64>,
}

#[derive(Default, Serialize)]
struct Messages {
    event: Vec<usize>,
    from: Vec<usize>,
    to: Vec<usize>,
    bytes: Vec<u64>,
    fate: Vec<u8>,
    sent: Vec<u64>,
    /// The event of its reading, and when that was.
    read: Vec<i64>,
    read_us: Vec<i64>,
}

#[derive(Default, Serialize)]
struct Marks {
    event: Vec<usize>,
    node: Vec<usize>,
    at: Vec<u64>,
    kind: Vec<usize>,
    text: Vec<usize>,
}

/// A slice, as runs of events: how many to skip, how many to take, and so on.
#[derive(Default, Serialize)]
struct Runs {
    blamed: Vec<usize>,
    brought: Vec<usize>,
    past: Vec<usize>,
    thread: Vec<usize>,
}

/// Texts, each once.
#[derive(Default)]
struct Strings {
    numbers: BTreeMap<String, usize>,
    all: Vec<String>,
}

impl Strings {
    fn number(&mut self, text: &str) -> usize {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.all.len();
        self.all.push(text.to_owned());
        self.numbers.insert(text.to_owned(), number);
        number
    }
}

impl<'r> Drawing<'r> {
    /// The drawing of a run, with the slice of its failure.
    pub(super) fn of(run: &'r Run, account: &'r Report, slice: Option<&Slice>) -> Self {
        let (plan, trace) = (&run.plan, &run.outcome.trace);
        let mut collector = Collector::new(plan);
        collector.collect(trace);
        let Collector {
            strings,
            operations,
            messages,
            marks,
            ..
        } = collector;
        let end_us = trace.events().last().map_or(0, |event| event.at_us);
        let duration_us = (plan.duration_ms * 1000).max(end_us);
        Self {
            account,
            plan: plan.to_text(),
            nodes: plan.nodes.iter().map(|node| node.name.as_str()).collect(),
            duration_us,
            events: trace.events().len(),
            lives: lives(plan, trace, duration_us),
            faults: bands(plan, trace),
            operations,
            messages,
            marks,
            window_us: slice.map_or_else(|| first_sight(plan), |slice| slice.window_us),
            slice: slice.map(runs).unwrap_or_default(),
            strings: strings.all,
        }
    }

    /// The same drawing, looked at where two runs part.
    pub(super) fn around(self, parted: &Parted) -> Self {
        let Some(at_us) = parted.at_us else {
            return self;
        };
        let [before, after] = FIRST_SIGHT_US.map(|us| us / 4);
        Self {
            window_us: [at_us.saturating_sub(before), at_us + after],
            ..self
        }
    }
}

/// Where to look at a run in which nothing is wrong.
fn first_sight(plan: &Plan) -> [u64; 2] {
    let first = plan.faults.first().map_or(0, |fault| fault.at_ms * 1000);
    let [before, after] = FIRST_SIGHT_US;
    let end_us = plan.duration_ms * 1000;
    [first.saturating_sub(before), (first + after).min(end_us)]
}

fn runs(slice: &Slice) -> Runs {
    Runs {
        blamed: slice.blamed.clone(),
        brought: slice.brought.clone(),
        past: lengths(&slice.past),
        thread: lengths(&slice.thread),
    }
}

fn lengths(events: &[bool]) -> Vec<usize> {
    let mut lengths = vec![0];
    let mut is_in = false;
    for event in events {
        if *event != is_in {
            is_in = *event;
            lengths.push(0);
        }
        *lengths.last_mut().expect("there is one from the start") += 1;
    }
    if lengths.len() % 2 == 1 {
        lengths.pop();
    }
    lengths
}

/// Goes through a trace once, and puts each event in its column.
struct Collector<'p> {
    nodes: BTreeMap<&'p str, usize>,
    strings: Strings,
    operations: Operations,
    /// The row of each operation.
    rows: BTreeMap<u64, usize>,
    messages: Messages,
    /// The row of each message, by its event.
    sent: BTreeMap<u64, usize>,
    marks: Marks,
}

impl<'p> Collector<'p> {
    fn new(plan: &'p Plan) -> Self {
        let nodes = plan.nodes.iter().enumerate();
        let mut collector = Self {
            nodes: nodes.map(|(at, node)| (node.name.as_str(), at)).collect(),
            strings: Strings::default(),
            operations: Operations::default(),
            rows: BTreeMap::new(),
            messages: Messages::default(),
            sent: BTreeMap::new(),
            marks: Marks::default(),
        };
        for planned in &plan.operations {
            let Some(node) = collector.nodes.get(planned.node.as_str()).copied() else {
                continue;
            };
            let name = collector.strings.number(&planned.operation);
            let all = &mut collector.operations;
            collector.rows.insert(planned.id, all.id.len());
            all.id.push(planned.id);
            all.node.push(node);
            all.name.push(name);
            all.key.push(planned.key);
            all.value.push(planned.value);
            all.called.push(NONE);
            all.ended.push(plan.duration_ms * 1000);
            all.outcome.push(2);
            all.said.push(NONE);
            all.call.push(NONE);
            all.end.push(NONE);
        }
        collector
    }

    fn collect(&mut self, trace: &Trace) {
        for (place, event) in trace.events().iter().enumerate() {
            let node = event.node.as_deref();
            let node = node.and_then(|node| self.nodes.get(node).copied());
            match &event.kind {
                EventKind::Message {
                    from,
                    to,
                    bytes,
                    outcome,
                } => self.message(place, event.at_us, [from, to], *bytes, *outcome),
                EventKind::Received { message } => {
                    if let Some(row) = self.sent.get(message) {
                        self.messages.read[*row] = place as i64;
                        self.messages.read_us[*row] = event.at_us as i64;
                    }
                }
                EventKind::Call { operation, .. } => {
                    if let Some(row) = self.rows.get(operation) {
                        self.operations.called[*row] = event.at_us as i64;
                        self.operations.call[*row] = place as i64;
                    }
                }
                EventKind::Outcome { operation, outcome } => {
                    self.outcome(place, event.at_us, *operation, outcome);
                }
                kind => {
                    if let (Some(node), Some((kind, text))) = (node, said(kind)) {
                        self.mark(place, node, event.at_us, kind, &text);
                    }
                }
            }
        }
    }

    fn message(
        &mut self,
        place: usize,
        at_us: u64,
        [from, to]: [&str; 2],
        bytes: u64,
        outcome: MessageOutcome,
    ) {
        let (Some(from), Some(to)) = (self.nodes.get(from), self.nodes.get(to)) else {
            return;
        };
        let all = &mut self.messages;
        self.sent.insert(place as u64, all.event.len());
        all.event.push(place);
        all.from.push(*from);
        all.to.push(*to);
        all.bytes.push(bytes);
        all.fate.push(match outcome {
            MessageOutcome::Sent => 0,
            MessageOutcome::Delayed => 1,
            MessageOutcome::Held => 2,
            MessageOutcome::Dropped => 3,
        });
        all.sent.push(at_us);
        all.read.push(NONE);
        all.read_us.push(NONE);
    }

    fn outcome(&mut self, place: usize, at_us: u64, operation: u64, outcome: &OperationOutcome) {
        let Some(row) = self.rows.get(&operation).copied() else {
            return;
        };
        let (number, said) = match outcome {
            OperationOutcome::Ok { reply } => (0, reply.to_string()),
            OperationOutcome::Failed { kind, message } => (1, format!("{kind}: {message}")),
            OperationOutcome::Unfinished => (2, String::new()),
            OperationOutcome::Crashed => (3, String::new()),
            OperationOutcome::Skipped => (4, String::new()),
        };
        let all = &mut self.operations;
        all.outcome[row] = number;
        all.ended[row] = at_us;
        all.end[row] = place as i64;
        if !said.is_empty() {
            all.said[row] = self.strings.number(&said) as i64;
        }
    }

    fn mark(&mut self, place: usize, node: usize, at_us: u64, kind: &str, text: &str) {
        self.marks.event.push(place);
        self.marks.node.push(node);
        self.marks.at.push(at_us);
        self.marks.kind.push(self.strings.number(kind));
        self.marks.text.push(self.strings.number(text));
    }
}

/// What a mark is called and says.
fn said(kind: &EventKind) -> Option<(&'static str, String)> {
    Some(match kind {
        EventKind::Note { name, value } => ("note", format!("{name} {value}")),
        EventKind::Log { level, message, .. } => {
            let level = match level {
                LogLevel::Error => "error",
                LogLevel::Warn => "warning",
                LogLevel::Info => "log",
            };
            (level, message.clone())
        }
        EventKind::TaskPanicked { task, message } => ("panic", format!("{task}: {message}")),
        EventKind::NodeStopped { error: Some(error) } => ("stop", error.clone()),
        EventKind::ConnectFailed { to, error } => ("no stream", format!("to {to}: {error}")),
        EventKind::Broken { peer, error } => ("broken stream", format!("with {peer}: {error}")),
        _ => return None,
    })
}

/// The lives of the nodes, in the order of the plan.
fn lives(plan: &Plan, trace: &Trace, end_us: u64) -> Vec<Vec<Life>> {
    let of_node = |node: &crate::plan::PlannedNode| {
        let mut turns: Vec<(u64, &'static str)> = Vec::new();
        for event in trace.events() {
            if event.node.as_deref() != Some(node.name.as_str()) {
                continue;
            }
            match event.kind {
                EventKind::NodeStarted { .. } => turns.push((event.at_us, "up")),
                EventKind::NodeCrashed => turns.push((event.at_us, "down")),
                EventKind::NodeStopped { .. } => turns.push((event.at_us, "stopped")),
                _ => {}
            }
        }
        for (place, fault) in plan.faults.iter().enumerate() {
            if let (Phase::Begin, Fault::Pause { node: paused }) = (fault.phase, &fault.fault)
                && *paused == node.name
            {
                turns.push((fault.at_ms * 1000, "paused"));
                let end_ms = ends::of(&plan.faults, place);
                turns.extend(end_ms.map(|end_ms| (end_ms * 1000, "up")));
            }
        }
        turns.sort_by_key(|(at_us, _)| *at_us);
        let ends = turns.iter().skip(1).map(|(at_us, _)| *at_us);
        let ends: Vec<u64> = ends.chain([end_us]).collect();
        let life = |((from, state), to): (&(u64, &'static str), u64)| Life {
            from: *from,
            to,
            state,
        };
        turns.iter().zip(ends).map(life).collect()
    };
    plan.nodes.iter().map(of_node).collect()
}

fn bands<'r>(plan: &'r Plan, trace: &Trace) -> Vec<Band<'r>> {
    let touches: BTreeMap<&str, u64> = trace.touches().collect();
    let begun = plan.faults.iter().enumerate();
    let begun = begun.filter(|(_, fault)| fault.phase == Phase::Begin);
    let band = |(place, fault): (usize, &'r PlannedFault)| Band {
        id: &fault.id,
        what: fault.fault.to_string(),
        from: fault.at_ms * 1000,
        to: ends::of(&plan.faults, place).map_or(NONE, |end_ms| (end_ms * 1000) as i64),
        nodes: touched_nodes(plan, &fault.fault),
        sides: sides(plan, &fault.fault),
        touched: touches.get(fault.id.as_str()).copied().unwrap_or(0),
    };
    begun.map(band).collect()
}

fn touched_nodes(plan: &Plan, fault: &Fault) -> Vec<usize> {
    let links = fault.links();
    let is_touched = |name: &str| {
        fault.node() == Some(name) || links.iter().any(|(from, to)| *from == name || *to == name)
    };
    let nodes = plan.nodes.iter().enumerate();
    let touched = nodes.filter(|(_, node)| is_touched(&node.name));
    touched.map(|(at, _)| at).collect()
}

fn sides(plan: &Plan, fault: &Fault) -> Vec<Vec<usize>> {
    let groups: Vec<&[String]> = match fault {
        Fault::Partition { groups } => groups.iter().map(Vec::as_slice).collect(),
        Fault::PartitionOneWay { from, to } => vec![from, to],
        Fault::Hold { between } | Fault::Latency { between, .. } | Fault::Loss { between, .. } => {
            between.iter().map(Vec::as_slice).collect()
        }
        _ => Vec::new(),
    };
    let numbers = |group: &[String]| {
        let nodes = plan.nodes.iter().enumerate();
        let own = nodes.filter(|(_, node)| group.contains(&node.name));
        own.map(|(at, _)| at).collect()
    };
    groups.into_iter().map(numbers).collect()
}
