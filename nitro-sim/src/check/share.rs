//! Enough operations succeed, and not too many fail. Those of a node that was down count neither
//! way.

use super::{Findings, History};
use crate::plan::Plan;

pub(super) fn check(plan: &Plan, history: &History<'_>, findings: &mut Findings) {
    let ok = history.iter().filter(|made| made.is_ok()).count();
    let failed = history.iter().filter(|made| made.is_failed()).count();
    if let Some(least) = plan.checks.min_ok {
        let made = ok + failed;
        let share = ok as f64 / made.max(1) as f64;
        if made == 0 {
            findings.doubt("min_ok", "no operation was made");
        } else if share < least {
            let what = format!("{ok} of {made} operations succeeded, {share:.3}; least {least}");
            findings.fail("min_ok", what);
        }
    }
    if let Some(most) = plan.checks.max_failed
        && failed as u64 > most
    {
        findings.fail(
            "max_failed",
            format!("{failed} operations failed; most {most}"),
        );
    }
}
