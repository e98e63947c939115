//! A saved plan, run again, with its trace's digest against the one it was saved with.

use crate::check::{Reason, Verdict};
use crate::engine::Engine;
use crate::plan::{Plan, Recorded};
use crate::run::{Run, RunError, run};
use crate::system::Systems;

/// The plan of a run with what came of it, to be saved.
pub fn to_save(run: &Run) -> Plan {
    let mut plan = run.plan.clone();
    plan.recorded = Some(Recorded {
        engine: run.engine.to_owned(),
        trace: run.outcome.trace.digest(),
        verdict: run.verdict.word().to_owned(),
    });
    plan
}

/// Runs a saved plan. Where it was saved by a run on the same engine, a different digest is a
/// failure.
///
/// # Errors
///
/// When the plan cannot be run.
pub fn replay(plan: &Plan, systems: &Systems, engine: &dyn Engine) -> Result<Run, RunError> {
    let mut run = run(plan, systems, engine)?;
    let digest = run.outcome.trace.digest();
    if let Some(recorded) = &plan.recorded
        && recorded.engine == run.engine
        && recorded.trace != digest
    {
        let reason = Reason {
            check: "same digest".to_owned(),
            what: format!(
                "the trace is {digest}, the plan was saved with {}: the code has changed since, \
                 or does not run the same twice",
                recorded.trace
            ),
        };
        let mut reasons = match run.verdict {
            Verdict::Fail(reasons) => reasons,
            _ => Vec::new(),
        };
        reasons.insert(0, reason);
        run.verdict = Verdict::Fail(reasons);
    }
    Ok(run)
}
