//! Some time after the last fault has begun or ended, and the last trick has been played, every
//! operation succeeds.

use super::{Findings, History};
use crate::plan::Plan;
use crate::system::Breach;
use crate::trace::{Blame, OperationOutcome};

pub(super) fn check(plan: &Plan, history: &History<'_>, findings: &mut Findings) {
    let Some(within_ms) = plan.checks.converged_within_ms else {
        return;
    };
    let from_ms = plan.calm_from_ms() + within_ms;
    let called_after = |called_us: Option<u64>| called_us.is_some_and(|us| us > from_ms * 1000);
    let later = history.iter().filter(|made| called_after(made.called_us));
    // An operation that went down with its own node says nothing of the cluster.
    let later: Vec<_> = later
        .filter(|made| made.outcome() != Some(&OperationOutcome::Crashed))
        .collect();
    let seconds = from_ms as f64 / 1000.0;
    if later.is_empty() {
        let what = format!("no operation was called after {seconds:.3} s");
        findings.doubt("converged", what);
    }
    let failed = later.iter().filter(|made| !made.is_ok());
    let what = |made: &&super::Made<'_>| {
        let how = match made.outcome() {
            Some(OperationOutcome::Failed { kind, message }) => format!("{kind}: {message}"),
            Some(_) => "unfinished".to_owned(),
            None => "no outcome".to_owned(),
        };
        let what = format!("{} failed after {seconds:.3} s: {how}", made.words());
        Breach::of(what, [Blame::Operation(made.planned.id)])
    };
    findings.fail_each("converged", failed.map(what).collect());
}
