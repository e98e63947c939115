//! Two runs side by side: where they part, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde::Serialize;

use super::Report;
use crate::operation::PlannedOperation;
use crate::run::Run;
use crate::trace::{Event, OperationOutcome, Trace};

/// How many digits of a plan's digest are shown: enough to see that two differ.
const PLAN_DIGITS: usize = 12;

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
    /// The operations that both plans ask for and that ended otherwise: which, and how in either
    /// run; the first ones.
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
        let operations = operations([one.0, other.0]);
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
        // Names of scenarios are as long as they like.
        let longest = self
            .table
            .iter()
            .map(|[_, left, right]| left.len().max(right.len()));
        let width = longest.max().unwrap_or(0);
        writeln!(out, "\n{:<22} {:>width$}  {:>width$}", "", "one", "other")?;
        for [name, left, right] in &self.table {
            let mark = if left == right { ' ' } else { '*' };
            writeln!(out, "{mark} {name:<20} {left:>width$}  {right:>width$}")?;
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
            (
                "plan",
                run.plan.digest().chars().take(PLAN_DIGITS).collect(),
            ),
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
    let counted = both.map(|((name, left), (_, right))| [name.to_owned(), left, right]);
    counted
        .chain(figures(runs.map(|(_, report)| report)))
        .collect()
}

/// What either run's scenario has measured, and its figure in each.
fn figures(reports: [&Report; 2]) -> Vec<[String; 3]> {
    let [one, other] = reports.map(|report| {
        let all = report.measured.iter();
        let figures = all.map(|one| (one.measure.id.as_str(), one.to_string()));
        figures.collect::<Vec<_>>()
    });
    let mut names: Vec<&str> = one.iter().chain(&other).map(|(name, _)| *name).collect();
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    let of = |all: &[(&str, String)], name: &str| {
        let figure = all.iter().find(|(other, _)| *other == name);
        figure.map_or("not measured".to_owned(), |(_, figure)| figure.clone())
    };
    let line = |name: &&str| [(*name).to_owned(), of(&one, name), of(&other, name)];
    names.iter().map(line).collect()
}

/// The operations that both plans ask for and that ended otherwise, by number. Two plans may mean
/// others by one number: these have nothing to be held against.
fn operations([one, other]: [&Run; 2]) -> Vec<[String; 3]> {
    let planned = other.plan.operations.iter();
    let planned: BTreeMap<u64, &PlannedOperation> = planned.map(|made| (made.id, made)).collect();
    let endings = [one, other].map(|run| endings(&run.outcome.trace));
    let line = |made: &PlannedOperation| {
        if planned.get(&made.id) != Some(&made) {
            return None;
        }
        let ended = |all: &BTreeMap<u64, String>| {
            let ending = all.get(&made.id).cloned();
            ending.unwrap_or_else(|| "no outcome".to_owned())
        };
        let [left, right] = [ended(&endings[0]), ended(&endings[1])];
        let PlannedOperation {
            id,
            operation,
            key,
            node,
            ..
        } = made;
        let what = format!("operation {id}, {operation} of key {key} by {node}");
        (left != right).then_some([what, left, right])
    };
    one.plan.operations.iter().filter_map(line).collect()
}

/// How each operation ended, without the time.
fn endings(trace: &Trace) -> BTreeMap<u64, String> {
    let ending = |outcome: &OperationOutcome| match outcome {
        OperationOutcome::Ok { reply } => format!("ok {reply}"),
        OperationOutcome::Failed { kind, message } => format!("{kind}: {message}"),
        OperationOutcome::Unfinished => "unfinished".to_owned(),
        OperationOutcome::Crashed => "lost with its node".to_owned(),
        OperationOutcome::Skipped => "never made".to_owned(),
    };
    let outcomes = trace.outcomes();
    outcomes
        .map(|(_, operation, outcome)| (operation, ending(outcome)))
        .collect()
}
