//! How a run is judged: its trace against its plan's checks and its system's invariants.
//!
//! A failure beats a doubt, and a doubt beats a pass: a run in which a fault touched nothing, or
//! nothing succeeded, proves nothing and is inconclusive.

mod answered;
mod consistency;
mod converged;
mod history;
mod leaked;
pub mod linearizable;
pub mod measures;
pub mod model;
mod points;
mod promises;
mod rules;
mod share;
mod signature;
mod stopped;
mod vacuity;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::Ended;
use crate::plan::Plan;
use crate::system::{Breach, System};
use crate::trace::{Blame, Contradiction, Difference, Trace};

pub use history::{History, Made};
pub use promises::promises;
pub use signature::Signature;

/// What is said of one kind at the most, before the rest is only counted.
const REASONS_MAX: usize = 3;

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// All checks held, and each had something to hold of.
    Pass,
    /// These did not hold.
    Fail(Vec<Reason>),
    /// Nothing failed, but these prove nothing.
    Inconclusive(Vec<Reason>),
}

/// Why a run failed or proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// The check or invariant, by name.
    pub check: String,
    /// What it found.
    pub what: String,
    /// What in the trace has a part in it; none where the check cannot tell.
    pub blames: Vec<Blame>,
    /// The operations that contradict one another, where that is what it found.
    pub contradiction: Option<Contradiction>,
}

impl Reason {
    /// A reason that points at nothing in the trace.
    pub fn new(check: impl Into<String>, what: impl Into<String>) -> Self {
        Self::of(&check.into(), Breach::from(what.into()))
    }

    fn of(check: &str, found: Breach) -> Self {
        Self {
            check: check.to_owned(),
            what: found.what,
            blames: found.blames,
            contradiction: found.contradiction,
        }
    }
}

impl Verdict {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail(_) => "fail",
            Verdict::Inconclusive(_) => "inconclusive",
        }
    }

    /// Why it is no pass; none where it is.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Verdict::Pass => &[],
            Verdict::Fail(reasons) | Verdict::Inconclusive(reasons) => reasons,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)
    }
}

/// What the checks found so far.
#[derive(Debug, Default)]
struct Findings {
    failures: Vec<Reason>,
    doubts: Vec<Reason>,
}

impl Findings {
    fn fail(&mut self, check: &str, what: impl Into<Breach>) {
        self.failures.push(Reason::of(check, what.into()));
    }

    fn doubt(&mut self, check: &str, what: impl Into<String>) {
        self.doubts.push(Reason::new(check, what));
    }

    /// Fails with the first few of many, and the number of the others.
    fn fail_each(&mut self, check: &str, all: Vec<impl Into<Breach>>) {
        let others = all.len().saturating_sub(REASONS_MAX);
        for what in all.into_iter().take(REASONS_MAX) {
            self.fail(check, what);
        }
        if others > 0 {
            self.fail(check, format!("and {others} more"));
        }
    }

    fn verdict(self) -> Verdict {
        match (self.failures.is_empty(), self.doubts.is_empty()) {
            (false, _) => Verdict::Fail(self.failures),
            (true, false) => Verdict::Inconclusive(self.doubts),
            (true, true) => Verdict::Pass,
        }
    }
}

/// Judges a run. `again` is where a second run of the same plan parts from it, if it does.
pub fn judge(
    plan: &Plan,
    system: &System,
    trace: &Trace,
    ended: &Ended,
    again: Option<&Difference>,
) -> Verdict {
    let mut findings = Findings::default();
    let history = History::new(plan, trace);
    stopped::check(trace, &mut findings);
    points::check(trace, &mut findings);
    leaked::check_stopped(trace, &mut findings);
    for (name, holds) in system.invariants() {
        let judged = holds(trace);
        findings.fail_each(name, judged.violations);
        for doubt in judged.doubts {
            findings.doubt(name, doubt);
        }
    }
    match ended {
        Ended::Finished => {
            if plan.checks.answered {
                answered::check(plan, trace, &history, &mut findings);
            }
            converged::check(plan, &history, &mut findings);
            share::check(plan, &history, &mut findings);
            leaked::check(plan, trace, &mut findings);
            measures::check(plan, trace, &history, &mut findings);
            let has_invariants = !system.invariants().is_empty();
            vacuity::check(plan, trace, &history, has_invariants, &mut findings);
        }
        Ended::TooSlow { .. } | Ended::TooMuch { .. } | Ended::Panicked { .. } => {
            findings.doubt("finished", ended.to_string());
        }
        wrong => findings.fail("finished", wrong.to_string()),
    }
    if let Some(difference) = again {
        let what = format!("two runs of the plan differ: {difference}");
        findings.fail(
            "replayed",
            Breach::of(what, [Blame::Event(difference.index)]),
        );
    }
    findings.verdict()
}

#[cfg(test)]
mod tests;
