//! Every planned operation has exactly one outcome, none later than its deadline and the
//! tolerance; only those of a node that was down are skipped.

use std::collections::BTreeMap;

use super::{Findings, History, Made};
use crate::operation::TOLERANCE;
use crate::plan::Plan;
use crate::system::Breach;
use crate::trace::{Blame, EventKind, OperationOutcome, Trace};

pub(super) fn check(plan: &Plan, trace: &Trace, history: &History<'_>, findings: &mut Findings) {
    let down = Down::new(plan, trace);
    let wrong = history.iter().filter_map(|made| wrong(made, &down));
    findings.fail_each("answered", wrong.collect());
}

fn wrong(made: &Made<'_>, down: &Down<'_>) -> Option<Breach> {
    let what = what_is_wrong(made, down)?;
    Some(Breach::of(what, [Blame::Operation(made.planned.id)]))
}

fn what_is_wrong(made: &Made<'_>, down: &Down<'_>) -> Option<String> {
    let words = made.words();
    let (ended_us, outcome) = match made.outcomes.as_slice() {
        [] => return Some(format!("{words} has no outcome")),
        [only] => only,
        many => return Some(format!("{words} has {} outcomes", many.len())),
    };
    let timeout_ms = made.planned.timeout_ms;
    match outcome {
        OperationOutcome::Skipped => {
            let at_us = made.planned.at_ms * 1000;
            let was_down = down.covers(&made.planned.node, at_us);
            (!was_down).then(|| format!("{words} was never made, though its node ran"))
        }
        OperationOutcome::Crashed => None,
        OperationOutcome::Unfinished => Some(format!(
            "{words} had not returned {timeout_ms} ms after its call, its deadline, and {} ms \
             more",
            TOLERANCE.as_millis()
        )),
        OperationOutcome::Ok { .. } | OperationOutcome::Failed { .. } => {
            let Some(called_us) = made.called_us else {
                return Some(format!("{words} ended and was never called"));
            };
            let latest_us = called_us + timeout_ms * 1000 + TOLERANCE.as_micros() as u64;
            let took_ms = (ended_us - called_us) / 1000;
            (*ended_us > latest_us)
                .then(|| format!("{words} ended after {took_ms} ms, its deadline was {timeout_ms}"))
        }
    }
}

/// When each node was down by a crash.
struct Down<'t>(BTreeMap<&'t str, Vec<(u64, u64)>>);

impl<'t> Down<'t> {
    fn new(plan: &Plan, trace: &'t Trace) -> Self {
        let end_us = plan.duration_ms * 1000;
        let mut down: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
        for event in trace.events() {
            let Some(node) = event.node.as_deref() else {
                continue;
            };
            match event.kind {
                EventKind::NodeCrashed => {
                    down.entry(node).or_default().push((event.at_us, end_us));
                }
                EventKind::NodeStarted { .. } => {
                    if let Some((_, until)) = down.entry(node).or_default().last_mut() {
                        *until = event.at_us;
                    }
                }
                _ => {}
            }
        }
        Self(down)
    }

    fn covers(&self, node: &str, at_us: u64) -> bool {
        let of_node = self.0.get(node);
        let mut of_node = of_node.into_iter().flatten();
        of_node.any(|(from, until)| (*from..=*until).contains(&at_us))
    }
}
