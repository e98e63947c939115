//! Figures of a stretch of the run are within the bounds that the scenario gives them.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{Findings, History, Made};
use crate::plan::Plan;
use crate::scenario::{Measure, Quantity};
use crate::trace::Trace;

/// A figure that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// What was to be measured.
    pub measure: Measure,
    /// The figure; none where there was nothing to measure.
    pub figure: Option<f64>,
}

impl Measured {
    fn is_within(&self, figure: f64) -> bool {
        let Measure { min, max, .. } = self.measure;
        min.is_none_or(|min| figure >= min) && max.is_none_or(|max| figure <= max)
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.figure {
            Some(figure) => write!(f, "{figure:.3}")?,
            None => write!(f, "nothing to measure")?,
        }
        let Measure { min, max, .. } = self.measure;
        min.map_or(Ok(()), |min| write!(f, ", least {min}"))?;
        max.map_or(Ok(()), |max| write!(f, ", most {max}"))
    }
}

/// The figures of a run, in the order of its plan.
pub fn measured(plan: &Plan, trace: &Trace, history: &History<'_>) -> Vec<Measured> {
    let measures = plan.checks.measures.iter();
    let one = |measure: &Measure| Measured {
        figure: figure(plan, trace, history, measure),
        measure: measure.clone(),
    };
    measures.map(one).collect()
}

pub(super) fn check(plan: &Plan, trace: &Trace, history: &History<'_>, findings: &mut Findings) {
    for measured in measured(plan, trace, history) {
        let name = &measured.measure.id;
        match measured.figure {
            None => findings.doubt(name, measured.to_string()),
            Some(figure) if !measured.is_within(figure) => {
                findings.fail(name, measured.to_string());
            }
            Some(_) => {}
        }
    }
}

fn figure(plan: &Plan, trace: &Trace, history: &History<'_>, measure: &Measure) -> Option<f64> {
    let stretch = Stretch(measure);
    match &measure.what {
        Quantity::Goodput { workload } => {
            let ended = |made: &&Made<'_>| stretch.has(made.outcomes.first().map(|(us, _)| *us));
            let made = of_workload(history, workload.as_deref());
            let ok = made.filter(|made| made.is_ok()).filter(ended).count();
            Some(ok as f64 / stretch.seconds())
        }
        Quantity::Ok { workload } => {
            let made = of_workload(history, workload.as_deref());
            let called: Vec<_> = made.filter(|made| stretch.has(made.called_us)).collect();
            let ok = called.iter().filter(|made| made.is_ok()).count();
            ratio(ok as f64, called.len() as f64)
        }
        Quantity::Count { note, nodes } => {
            let counts = nodes.iter().map(|node| stretch.notes(trace, note, node));
            Some(counts.sum::<usize>() as f64)
        }
        Quantity::Share { note, node } => {
            let of_node = plan.nodes.iter().find(|planned| planned.name == *node)?;
            let same = plan.nodes.iter().filter(|one| one.role == of_node.role);
            let counts = same.map(|one| stretch.notes(trace, note, &one.name));
            let counts: Vec<usize> = counts.collect();
            let own = stretch.notes(trace, note, node);
            ratio(own as f64, mean(&counts))
        }
        Quantity::Spread { note, nodes } => {
            let counts = nodes.iter().map(|node| stretch.notes(trace, note, node));
            let counts: Vec<usize> = counts.collect();
            let most = counts.iter().max().copied()?;
            ratio(most as f64, mean(&counts))
        }
        Quantity::Repeats { note, free_per_s } => {
            let called = history.iter().filter(|made| stretch.has(made.called_us));
            let called: Vec<_> = called.collect();
            let callers = called.iter().map(|made| made.planned.node.as_str());
            let callers = callers.collect::<BTreeSet<&str>>().len() as f64;
            let nodes = plan.nodes.iter();
            let noted = nodes.map(|node| stretch.notes(trace, note, &node.name));
            let noted = noted.sum::<usize>() as f64;
            let free = free_per_s * stretch.seconds() * callers;
            let repeats = (noted - called.len() as f64 - free).max(0.0);
            ratio(repeats, called.len() as f64)
        }
    }
}

fn of_workload<'h>(
    history: &'h History<'h>,
    workload: Option<&'h str>,
) -> impl Iterator<Item = &'h Made<'h>> {
    let is_of = move |made: &&Made<'_>| workload.is_none_or(|name| made.planned.workload == name);
    history.iter().filter(is_of)
}

fn mean(counts: &[usize]) -> f64 {
    counts.iter().sum::<usize>() as f64 / counts.len() as f64
}

/// None of nothing.
fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// The stretch of the run that is looked at.
struct Stretch<'m>(&'m Measure);

impl Stretch<'_> {
    fn has(&self, at_us: Option<u64>) -> bool {
        let (from, until) = (self.0.from_ms * 1000, self.0.until_ms * 1000);
        at_us.is_some_and(|us| (from..until).contains(&us))
    }

    fn seconds(&self) -> f64 {
        (self.0.until_ms - self.0.from_ms) as f64 / 1000.0
    }

    fn notes(&self, trace: &Trace, note: &str, node: &str) -> usize {
        let notes = trace.notes(note);
        let own = notes.filter(|(event, _)| event.node.as_deref() == Some(node));
        own.filter(|(event, _)| self.has(Some(event.at_us))).count()
    }
}

#[cfg(test)]
mod tests;
