//! A failing plan made small: the same failure with fewer faults, nodes and operations, in less
//! time, on a plainer network. It is always the plan that is cut, and never another seed.
//!
//! A smaller plan is kept only if it fails as the first did, by [`Signature`]: one that passes,
//! proves nothing or fails otherwise is not. What comes of it is run three times more, and refused
//! unless all three are one run.

mod less;
mod minimize;
mod passes;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use nitro::time::Instant;

use crate::check::Signature;
use crate::fault::Phase;
use crate::plan::Plan;

/// How often what comes of it is run: as often as nobody takes for chance.
pub const VERIFIED_RUNS: u32 = 3;

/// How often all is gone through at most. Each time but the last makes the plan smaller, and the
/// second is mostly the last.
const PASSES_MAX: u32 = 8;

/// Runs plans for [`shrink`], each as if it were the first.
pub trait Judge {
    /// Runs a plan, and says what it showed.
    ///
    /// # Errors
    ///
    /// Why it cannot be run.
    fn judge(&mut self, plan: &Plan) -> Result<Shown, String>;
}

/// What a run showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The verdict, in a word.
    pub verdict: String,
    /// The failure, if it was one.
    pub failure: Option<Signature>,
    /// The digest of the trace.
    pub digest: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown {
            verdict, digest, ..
        } = self;
        match &self.failure {
            Some(failure) => write!(f, "{verdict} ({failure}), digest {digest}"),
            None => write!(f, "{verdict}, digest {digest}"),
        }
    }
}

/// How far it goes at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many runs, before those that verify what has come of them.
    pub runs_max: u32,
    /// How much of this machine's time.
    pub wall_max: Duration,
}

impl Default for Limits {
    /// Ten times the runs of a usual case, and the patience of who waits for it.
    fn default() -> Self {
        Self {
            runs_max: 2000,
            wall_max: Duration::from_secs(300),
        }
    }
}

/// How large a plan is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many faults there are.
    pub faults: usize,
    /// How often a fault begins or ends.
    pub fault_events: usize,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many operations there are.
    pub operations: usize,
    /// How long it runs, in virtual milliseconds.
    pub duration_ms: u64,
}

impl Size {
    /// The size of a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            faults: plan.fault_ids().len(),
            fault_events: plan.faults.len(),
            nodes: plan.nodes.len(),
            operations: plan.operations.len(),
            duration_ms: plan.duration_ms,
        }
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it tries to do without.
    pub doing: &'static str,
    /// How many runs there were.
    pub runs: u32,
    /// How much of this machine's time has gone.
    pub wall: Duration,
    /// How large the plan was.
    pub before: Size,
    /// How large the smallest is that fails.
    pub after: Size,
}

/// Why it ended before nothing more could be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It had made as many runs as it may.
    Runs,
    /// It had taken as long as it may.
    Wall,
    /// It was asked to.
    Asked,
}

/// A plan made small.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// What it was.
    pub before: Plan,
    /// What has come of it.
    pub after: Plan,
    /// The failure that both show.
    pub failure: Signature,
    /// The digest of the trace of what has come of it.
    pub digest: String,
    /// How many runs it took, the last three included.
    pub runs: u32,
    /// How much of this machine's time it took.
    pub wall: Duration,
    /// The other failures that smaller plans showed on the way.
    pub others: BTreeSet<Signature>,
    /// Why more might be left out; none where nothing can.
    pub stopped: Option<Stopped>,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShrinkError {
    /// The plan cannot be run.
    NotRun(String),
    /// The plan does not fail: what its run showed.
    NoFailure(Shown),
    /// What has come of it does not show the same each time: what each run showed.
    Unsteady(Vec<Shown>),
}

impl fmt::Display for ShrinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShrinkError::NotRun(why) => f.write_str(why),
            ShrinkError::NoFailure(shown) => write!(
                f,
                "there is no failure to shrink: the run shows {shown}; `explore` finds a seed \
                 that fails"
            ),
            ShrinkError::Unsteady(runs) => {
                write!(
                    f,
                    "the failure is not steady: of {} runs of one plan",
                    runs.len()
                )?;
                for (number, shown) in (1..).zip(runs) {
                    write!(f, "\n    run {number} shows {shown}")?;
                }
                write!(
                    f,
                    "\nso what was left out may matter, and nothing is saved. The system does not \
                     run the same twice: `verify` finds where its runs part"
                )
            }
        }
    }
}

impl std::error::Error for ShrinkError {}

/// Makes a failing plan as small as it goes. `now` is this machine's time; `watch` is told before
/// each run how far it has come, and says whether to go on.
///
/// # Errors
///
/// When the plan does not fail, or what has come of it does not fail alike each time.
pub fn shrink(
    plan: &Plan,
    judge: &mut dyn Judge,
    limits: Limits,
    now: &dyn Fn() -> Instant,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Shrunk, ShrinkError> {
    let began = now();
    let first = judge.judge(plan).map_err(ShrinkError::NotRun)?;
    let Some(failure) = first.failure.clone() else {
        return Err(ShrinkError::NoFailure(first));
    };
    let mut best = plan.clone();
    // It is no longer what a seed drew, or a run saved.
    (best.swarm, best.recorded, best.expected) = (None, None, None);
    // A second run of each would show nothing else, and what comes of it is run three times.
    best.checks.replayed &= failure.is_of("replayed");
    let mut search = Search {
        judge,
        failure,
        before: Size::of(plan),
        start_ms: passes::times(plan).first().copied().unwrap_or(0),
        best,
        refused: BTreeSet::new(),
        others: BTreeSet::new(),
        runs: 1,
        limits,
        now,
        began,
        watch,
        doing: "",
        stopped: None,
    };
    for _ in 0..PASSES_MAX {
        let before = search.best.clone();
        search.pass();
        if search.best == before || search.stopped.is_some() {
            break;
        }
    }
    search.verified(plan)
}

/// The search for a smaller plan.
struct Search<'a> {
    judge: &'a mut dyn Judge,
    failure: Signature,
    before: Size,
    /// How long it had before anything happened.
    start_ms: u64,
    /// The smallest plan that is known to fail.
    best: Plan,
    /// The digests of plans that do not.
    refused: BTreeSet<String>,
    others: BTreeSet<Signature>,
    runs: u32,
    limits: Limits,
    now: &'a dyn Fn() -> Instant,
    began: Instant,
    watch: &'a mut dyn FnMut(&Progress) -> bool,
    doing: &'static str,
    stopped: Option<Stopped>,
}

impl Search<'_> {
    /// Whether a smaller plan fails alike; then it is the one to go on with.
    fn accepts(&mut self, candidate: Plan) -> bool {
        if self.stopped.is_some() || candidate == self.best || self.is_unhealed(&candidate) {
            return false;
        }
        let digest = candidate.digest();
        if self.refused.contains(&digest) {
            return false;
        }
        self.stopped = self.bound();
        if self.stopped.is_some() {
            return false;
        }
        self.runs += 1;
        // One that cannot be run does not fail alike.
        let failure = self
            .judge
            .judge(&candidate)
            .ok()
            .and_then(|shown| shown.failure);
        if failure.as_ref() == Some(&self.failure) {
            self.best = candidate;
            return true;
        }
        self.others.extend(failure);
        self.refused.insert(digest);
        false
    }

    /// Whether a fault goes on for ever that ended before, where the failure is that the cluster
    /// does not come round afterwards: that would be no wonder.
    fn is_unhealed(&self, candidate: &Plan) -> bool {
        let goes_on = |id: &str| !ending(candidate).any(|ending| ending == id);
        self.failure.is_of("converged")
            && ending(&self.best).any(|id| candidate.fault_ids().contains(&id) && goes_on(id))
    }

    /// What forbids one more run.
    fn bound(&mut self) -> Option<Stopped> {
        let progress = Progress {
            doing: self.doing,
            runs: self.runs,
            wall: self.wall(),
            before: self.before,
            after: Size::of(&self.best),
        };
        let goes_on = (self.watch)(&progress);
        match () {
            () if !goes_on => Some(Stopped::Asked),
            () if self.runs >= self.limits.runs_max => Some(Stopped::Runs),
            () if progress.wall >= self.limits.wall_max => Some(Stopped::Wall),
            () => None,
        }
    }

    fn wall(&self) -> Duration {
        (self.now)().since(self.began)
    }

    /// Runs what has come of it three times more.
    fn verified(self, before: &Plan) -> Result<Shrunk, ShrinkError> {
        let runs = (0..VERIFIED_RUNS).map(|_| self.judge.judge(&self.best));
        let runs: Result<Vec<Shown>, String> = runs.collect();
        let runs = runs.map_err(ShrinkError::NotRun)?;
        let is_steady = runs.iter().all(|shown| *shown == runs[0]);
        if !is_steady || runs[0].failure.as_ref() != Some(&self.failure) {
            return Err(ShrinkError::Unsteady(runs));
        }
        let wall = (self.now)().since(self.began);
        let mut after = self.best;
        after.checks.replayed = before.checks.replayed;
        Ok(Shrunk {
            before: before.clone(),
            after,
            failure: self.failure,
            digest: runs[0].digest.clone(),
            runs: self.runs + VERIFIED_RUNS,
            wall,
            others: self.others,
            stopped: self.stopped,
        })
    }
}

/// The faults that end.
fn ending(plan: &Plan) -> impl Iterator<Item = &str> {
    let ends = plan.faults.iter();
    let ends = ends.filter(|fault| fault.phase == Phase::End);
    ends.map(|fault| fault.id.as_str())
}

#[cfg(test)]
mod tests;
