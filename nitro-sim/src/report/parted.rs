//! Two runs side by side: where they part, and what came of it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use crate::run::Run;
use crate::trace::{Event, EventKind, OperationOutcome, Trace};

/// How many operations that ended otherwise are listed.
const LISTED_MAX: usize = 20;

/// Where two runs part and what differs between them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parted {
    /// Where they part, in words.
    pub words: String,
    /// The first event that differs, by its place; none when they are equal.
    pub index: Option<usize>,
    /// When that is, in virtual microseconds.
    pub at_us: Option<u64>,
    /// That event of the one run; none where it had ended.
    pub left: Option<String>,
    /// That event of the other.
    pub right: Option<String>,
    /// What can be counted: its name, and how much of it either run has.
    pub table: Vec<[String; 3]>,
    /// The operations that ended otherwise: which, and how in either run; the first ones.
    pub operations: Vec<[String; 3]>,
    /// How many operations ended otherwise in all.
    pub operations_count: usize,
}

impl Parted {
    /// How two runs differ.
    pub fn of([one, other]: [(&Run, &Report); 2]) -> Self {
        let traces = [&one.0.outcome.trace, &other.0.outcome.trace];
        let found = traces[0].first_difference(traces[1]);
        let line = |event: &Option<Event>| event.as_ref().map(Event::line);
        let event = found
            .as_ref()
            .and_then(|found| found.left.as_ref().or(found.right.as_ref()));
        let operations = operations(traces);
        Self {
            words: match (&found, event) {
                (Some(found), Some(event)) => format!(
                    "the first {} events are equal; event {} differs, at {:.6} s on {}",
                    found.index,
                    found.index,
                    event.at_us as f64 / 1e6,
                    event.node.as_deref().unwrap_or("the cluster")
                ),
                _ => "every event is equal".to_owned(),
            },
            index: found.as_ref().map(|found| found.index),
            at_us: event.map(|event| event.at_us),
            left: found.as_ref().and_then(|found| line(&found.left)),
            right: found.as_ref().and_then(|found| line(&found.right)),
            table: table([one, other]),
            operations_count: operations.len(),
            operations: operations.into_iter().take(LISTED_MAX).collect(),
        }
    }

    /// Writes it as text.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.words)?;
        if self.index.is_some() {
            let ended = "the trace has ended";
            writeln!(out, "    one:   {}", self.left.as_deref().unwrap_or(ended))?;
            writeln!(out, "    other: {}", self.right.as_deref().unwrap_or(ended))?;
        }
        writeln!(out, "\n{:<26} {:>22} {:>22}", "", "one", "other")?;
        for [name, left, right] in &self.table {
            let mark = if left == right { ' ' } else { '*' };
            writeln!(out, "{mark} {name:<24} {left:>22} {right:>22}")?;
        }
        if self.operations_count > 0 {
            writeln!(
                out,
                "\n{} operations ended otherwise",
                self.operations_count
            )?;
            for [name, left, right] in &self.operations {
                writeln!(
                    out,
                    "    {name}\n        one:   {left}\n        other: {right}"
                )?;
            }
        }
        Ok(())
    }
}

fn table(runs: [(&Run, &Report); 2]) -> Vec<[String; 3]> {
    let counts = runs.map(|(run, report)| {
        let ok: usize = report.workloads.iter().map(|line| line.ok).sum();
        let failed: usize = report.workloads.iter().map(|line| line.failed).sum();
        let messages = &report.messages;
        let events = run.outcome.trace.events().len();
        [
            ("scenario", report.scenario.clone()),
            ("seed", report.seed.to_string()),
            ("engine", report.engine.clone()),
            ("verdict", report.verdict.to_owned()),
            ("events", events.to_string()),
            ("operations ok", ok.to_string()),
            ("operations failed", failed.to_string()),
            ("messages sent", messages.sent.to_string()),
            ("messages delayed", messages.delayed.to_string()),
            ("messages held", messages.held.to_string()),
            ("messages dropped", messages.dropped.to_string()),
            ("messages never read", messages.unread.to_string()),
        ]
    });
    let [one, other] = counts;
    let both = one.into_iter().zip(other);
    both.map(|((name, left), (_, right))| [name.to_owned(), left, right])
        .collect()
}

/// The operations that ended otherwise, by number.
fn operations([one, other]: [&Trace; 2]) -> Vec<[String; 3]> {
    let (left, right) = (endings(one), endings(other));
    let mut ids: Vec<u64> = left.keys().chain(right.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let never = || "never made".to_owned();
    let line = |id: u64| {
        let [left, right] = [&left, &right].map(|all| all.get(&id).cloned());
        let name = left.as_ref().or(right.as_ref())?.0.clone();
        let [left, right] = [left, right].map(|made| made.map_or_else(never, |(_, how)| how));
        (left != right).then_some([format!("operation {id}{name}"), left, right])
    };
    ids.into_iter().filter_map(line).collect()
}

/// What each operation was and how it ended, without the time.
fn endings(trace: &Trace) -> BTreeMap<u64, (String, String)> {
    let mut all: BTreeMap<u64, (String, String)> = BTreeMap::new();
    for event in trace.events() {
        let node = event.node.as_deref().unwrap_or_default();
        match &event.kind {
            EventKind::Call {
                operation,
                name,
                key,
                ..
            } => {
                let what = format!(", {name} of key {key} by {node}");
                all.insert(*operation, (what, "no outcome".to_owned()));
            }
            EventKind::Outcome { operation, outcome } => {
                let made = all.entry(*operation).or_default();
                made.1 = match outcome {
                    OperationOutcome::Ok { reply } => format!("ok {reply}"),
                    OperationOutcome::Failed { kind, message } => format!("{kind}: {message}"),
                    OperationOutcome::Unfinished => "unfinished".to_owned(),
                    OperationOutcome::Crashed => "lost with its node".to_owned(),
                    OperationOutcome::Skipped => "never made".to_owned(),
                };
            }
            _ => {}
        }
    }
    all
}
