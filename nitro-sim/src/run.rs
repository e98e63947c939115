//! A plan, run and judged: with its whole trace ([`run`]), or where it ran and in short
//! ([`summarize`]), many at a time ([`Pool`]).

mod behaviours;
mod pool;
mod summary;

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use nitro::buggify::sites;

use crate::check::{Verdict, judge};
use crate::engine::{Ended, Engine, Outcome, Refusal, accepts};
use crate::plan::Plan;
use crate::system::{System, Systems};
use crate::trace::{Origin, Trace};

pub use pool::{Heard, Pool};
pub use summary::{PointMet, Summary, Twice, summarize};

/// A run and its judgement.
#[derive(Debug)]
pub struct Run {
    /// What was run.
    pub plan: Plan,
    /// The engine that ran it.
    pub engine: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// How it is judged.
    pub verdict: Verdict,
}

impl Run {
    /// A run of which there is the trace, judged anew. It takes no time of this machine.
    ///
    /// # Errors
    ///
    /// When the plan's system is not registered.
    pub fn of_trace(
        plan: Plan,
        systems: &Systems,
        engine: &'static str,
        trace: Trace,
        ended: Ended,
    ) -> Result<Self, RunError> {
        let system = registered(&plan, systems)?;
        let verdict = judge(&plan, system, &trace, &ended, None);
        let outcome = Outcome {
            trace,
            ended,
            wall: Duration::ZERO,
        };
        Ok(Self {
            plan,
            engine,
            outcome,
            verdict,
        })
    }

    /// Writes its trace as a file that is enough to judge and report it.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn save_trace(&self, out: &mut dyn Write) -> io::Result<()> {
        // Whatever run may have saved the plan, the file is the same.
        let plan = Plan {
            recorded: None,
            expected: None,
            ..self.plan.clone()
        };
        let origin = Origin {
            plan: plan.to_text(),
            ended: self.outcome.ended.clone(),
        };
        self.outcome.trace.save(origin, out)
    }
}

/// Why a plan was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// Its system is not registered: its name, and those that are.
    UnknownSystem(String, Vec<String>),
    /// Its system has no such role.
    UnknownRole(String),
    /// It plays a trick that this program does not have.
    UnknownTrick(String),
    /// The engine cannot do all of it.
    Refused(Refusal),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::UnknownSystem(name, known) => write!(
                f,
                "the system \"{name}\" is not registered; registered are: {}",
                known.join(", ")
            ),
            RunError::UnknownRole(role) => {
                write!(
                    f,
                    "the plan has nodes of role \"{role}\", the system does not"
                )
            }
            RunError::UnknownTrick(site) => write!(
                f,
                "the plan plays the trick \"{site}\", which this program does not have: it has \
                 been renamed, or is another program's"
            ),
            RunError::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

/// The system of a plan, if an engine can run the plan with it.
///
/// # Errors
///
/// When the plan cannot be run.
pub fn system_of<'s>(
    plan: &Plan,
    systems: &'s Systems,
    engine: &dyn Engine,
) -> Result<&'s System, RunError> {
    let system = registered(plan, systems)?;
    accepts(engine, plan).map_err(RunError::Refused)?;
    Ok(system)
}

/// The system of a plan, which has the roles of its nodes.
fn registered<'s>(plan: &Plan, systems: &'s Systems) -> Result<&'s System, RunError> {
    let Some(system) = systems.get(&plan.system) else {
        let known = systems.iter().map(|system| system.name().to_owned());
        return Err(RunError::UnknownSystem(
            plan.system.clone(),
            known.collect(),
        ));
    };
    for node in &plan.nodes {
        if system.find_role(&node.role).is_none() {
            return Err(RunError::UnknownRole(node.role.clone()));
        }
    }
    if let Some(buggify) = &plan.buggify {
        let known = sites();
        let is_known = |name: &&String| known.iter().any(|site| site.name == **name);
        if let Some(unknown) = buggify.sites.iter().find(|name| !is_known(name)) {
            return Err(RunError::UnknownTrick(unknown.clone()));
        }
    }
    Ok(system)
}

/// Runs a plan, twice where it is to be checked for equal traces, and judges it.
///
/// # Errors
///
/// When the plan cannot be run; a run that fails is no error.
pub fn run(plan: &Plan, systems: &Systems, engine: &dyn Engine) -> Result<Run, RunError> {
    let system = system_of(plan, systems, engine)?;
    let outcome = engine.run(plan, system);
    // A run cut short by this machine's time need not be equal to another.
    let is_compared = plan.checks.replayed && outcome.ended == Ended::Finished;
    let again = is_compared.then(|| engine.again(plan, system, &outcome.trace));
    let verdict = judge(
        plan,
        system,
        &outcome.trace,
        &outcome.ended,
        again.flatten().as_ref(),
    );
    Ok(Run {
        plan: plan.clone(),
        engine: engine.name(),
        outcome,
        verdict,
    })
}

#[cfg(test)]
mod tests;
