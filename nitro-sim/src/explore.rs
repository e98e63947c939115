//! Many seeds of a scenario, run and judged: what failed, how often, and how to see it again.
//!
//! A sweep runs each seed on a [`Pool`] and keeps a [`Tally`]: small plain data in which failures
//! with one signature count once. It is the same whatever the number of jobs, because answers are
//! taken in the order of the seeds, and tallies of parts of a sweep merge into that of the whole.

pub mod growth;
pub mod interrupt;
mod points;
pub mod progress;
pub mod results;
pub mod seeds;
pub mod table;
mod tally;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::draw::Draw;
use crate::engine::Engine;
use crate::plan::{Plan, PlanError};
use crate::run::{Heard, Pool, RunError, Summary, Twice, system_of};
use crate::scenario::Scenario;
use crate::system::{System, Systems};
pub use points::{Met, Points};
pub use seeds::{Seeds, Shard};
pub use tally::{FaultCount, Kind, Tally};

/// The share of seeds that are run twice and compared, where the scenario asks for equal traces.
/// Source: FoundationDB, which does so with 5 %.
pub const TWICE_SHARE: f64 = 0.05;

/// What is to be explored.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'s> {
    /// The scenario.
    pub scenario: &'s Scenario,
    /// The systems, one of which it runs.
    pub systems: &'s Systems,
    /// The engine by name.
    pub engine: &'s str,
    /// The seeds.
    pub seeds: Seeds,
    /// How many run at a time.
    pub jobs: usize,
    /// Whether each seed also draws which of the faults are on, and how hard.
    pub swarm: bool,
    /// After how many different failures it ends; none for at the end of the seeds.
    pub stop_at: Option<usize>,
}

/// What a sweep says while it goes on.
#[derive(Debug)]
pub struct Step<'t> {
    /// All that came of it so far.
    pub tally: &'t Tally,
    /// A failure of a new kind: its signature and what it is.
    pub new: Option<(&'t str, &'t Kind)>,
}

impl Sweep<'_> {
    /// The plan of a seed.
    ///
    /// # Errors
    ///
    /// When none can be made.
    pub fn plan(&self, seed: u64) -> Result<Plan, PlanError> {
        match self.swarm {
            true => Plan::swarm(self.scenario, seed),
            false => Plan::new(self.scenario, seed),
        }
    }

    /// The plan of the first seed with all its faults, and its system, if an engine can run them:
    /// whether there is anything to explore. None where that seed has no plan, as others may have
    /// one; and a seed may still draw what the engine refuses.
    ///
    /// # Errors
    ///
    /// When the engine cannot run it.
    pub fn first(&self, engine: &dyn Engine) -> Result<Option<(Plan, &System)>, RunError> {
        // Whatever the seed would draw of them: what is refused is the same for every seed.
        let Ok(plan) = Plan::new(self.scenario, self.seeds.from()) else {
            return Ok(None);
        };
        let system = system_of(&plan, self.systems, engine)?;
        Ok(Some((plan, system)))
    }

    /// Runs the seeds, and tells `hear` of each step; where that breaks, what has come so far is
    /// what there is.
    pub fn run(&self, mut hear: impl FnMut(Step<'_>) -> ControlFlow<()>) -> Tally {
        let pool = Pool::new(self.systems, self.engine, self.jobs);
        let mut taken = Taken {
            next: self.seeds.from(),
            early: BTreeMap::new(),
            tally: Tally::default(),
        };
        let mut is_enough = false;
        pool.run(
            self.seeds.iter(),
            |seed| {
                let plan = self.plan(*seed).map_err(|error| error.to_string())?;
                Ok((plan, twice(*seed)))
            },
            |heard| {
                let Heard::Run(seed, judged) = heard else {
                    let tally = &taken.tally;
                    return hear(Step { tally, new: None });
                };
                taken.early.insert(seed, *judged);
                while let Some((seed, judged)) = taken.next() {
                    let new = taken.tally.add(seed, judged);
                    let tally = &taken.tally;
                    let new = new.as_deref();
                    let new = new.and_then(|signature| Some((signature, tally.kind(signature)?)));
                    is_enough = self
                        .stop_at
                        .is_some_and(|most| tally.failures.len() >= most);
                    if hear(Step { tally, new }).is_break() || is_enough {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            },
        );
        // What ran ahead is kept, unless the sweep ended where it was to end.
        if !is_enough {
            for (seed, judged) in taken.early {
                taken.tally.add(seed, judged);
            }
        }
        taken.tally
    }
}

/// Whether a seed is of the sample that is run twice.
fn twice(seed: u64) -> Twice {
    match Draw::new(seed, "twice").chance(TWICE_SHARE) {
        true => Twice::Yes,
        false => Twice::No,
    }
}

/// Answers as they are taken: in the order of their seeds.
struct Taken {
    next: u64,
    early: BTreeMap<u64, Result<Summary, String>>,
    tally: Tally,
}

impl Taken {
    fn next(&mut self) -> Option<(u64, Result<Summary, String>)> {
        let judged = self.early.remove(&self.next)?;
        self.next += 1;
        Some((self.next - 1, judged))
    }
}

#[cfg(test)]
mod tests;
