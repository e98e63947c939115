//! What a run is to keep, in words: a line a promise.

use crate::plan::Plan;
use crate::system::System;

/// What the checks of a plan and of its system hold a run to.
pub fn promises(plan: &Plan, system: &System) -> Vec<String> {
    let invariants = system.invariants().iter();
    let mut lines: Vec<String> = invariants.map(|(name, _)| name.clone()).collect();
    let checks = &plan.checks;
    if checks.answered {
        lines.push("every operation has one outcome, none after its deadline".to_owned());
    }
    if let Some(within_ms) = checks.converged_within_ms {
        let seconds = within_ms as f64 / 1000.0;
        lines.push(format!(
            "{seconds} s after the last fault every operation succeeds"
        ));
    }
    if let Some(least) = checks.min_ok {
        let percent = least * 100.0;
        lines.push(format!("at least {percent:.0} % of the operations succeed"));
    }
    if let Some(most) = checks.max_failed {
        lines.push(format!("no more than {most} operations fail"));
    }
    if checks.replayed {
        lines.push("two runs of one plan give equal traces".to_owned());
    }
    lines.push("no node fails, and no task panics".to_owned());
    lines
}
