//! A plan run again: against the digest it was saved with, against what it must show, or against
//! other runs of it.

mod kept;

use std::fmt;

use crate::check::{Reason, Verdict};
use crate::engine::Engine;
use crate::plan::{Plan, Recorded};
use crate::run::{Run, RunError, run, system_of};
use crate::system::Systems;
use crate::trace::{Difference, Trace};

pub use kept::Kept;

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
/// failure; but not where it is kept for what it must show, whatever else has changed.
///
/// # Errors
///
/// When the plan cannot be run.
pub fn replay(plan: &Plan, systems: &Systems, engine: &dyn Engine) -> Result<Run, RunError> {
    let mut run = run(plan, systems, engine)?;
    let digest = run.outcome.trace.digest();
    if let (Some(recorded), None) = (&plan.recorded, &plan.expected)
        && recorded.engine == run.engine
        && recorded.trace != digest
    {
        let what = format!(
            "the trace is {digest}, the plan was saved with {}: the code has changed since, or \
             does not run the same twice",
            recorded.trace
        );
        let mut reasons = match run.verdict {
            Verdict::Fail(reasons) => reasons,
            _ => Vec::new(),
        };
        reasons.insert(0, Reason::new("same digest", what));
        run.verdict = Verdict::Fail(reasons);
    }
    Ok(run)
}

/// What came of several runs of one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// How many runs there were.
    pub runs: u32,
    /// How many events the first recorded.
    pub events: usize,
    /// The digest of the first run's trace.
    pub digest: String,
    /// Which run was the first that differs, and where.
    pub parted: Option<(u32, Difference)>,
}

/// Runs a plan several times, each time on an engine that is made anew, and compares the traces.
/// It ends with the first that differs.
///
/// # Errors
///
/// When the plan cannot be run.
pub fn verify(
    plan: &Plan,
    systems: &Systems,
    runs: u32,
    anew: impl Fn() -> Result<Box<dyn Engine>, String>,
) -> Result<Verified, String> {
    let trace = || -> Result<Trace, String> {
        let engine = anew()?;
        let system = system_of(plan, systems, &*engine).map_err(|error| error.to_string())?;
        Ok(engine.run(plan, system).trace)
    };
    let first = trace()?;
    let mut verified = Verified {
        runs,
        events: first.events().len(),
        digest: first.digest(),
        parted: None,
    };
    for run in 2..=runs {
        if let Some(difference) = first.first_difference(&trace()?) {
            verified.parted = Some((run, difference));
            break;
        }
    }
    Ok(verified)
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((run, difference)) = &self.parted else {
            return write!(
                f,
                "{} runs, one trace\n    {} events, digest {}",
                self.runs, self.events, self.digest
            );
        };
        let event = difference.left.as_ref().or(difference.right.as_ref());
        let node = event.and_then(|event| event.node.as_deref());
        let at_us = event.map_or(0, |event| event.at_us);
        write!(
            f,
            "run {run} is not run 1\n    first on {} at {:.6} s\n    {difference}",
            node.unwrap_or("the cluster"),
            at_us as f64 / 1e6
        )
    }
}
