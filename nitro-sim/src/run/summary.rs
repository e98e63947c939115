//! What is kept of a run among many: judged where it ran, and small enough to be sent and stored.

use std::time::Duration;

use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;
use serde::{Deserialize, Serialize};

use super::{RunError, behaviours, system_of};
use crate::check::{Signature, Verdict, judge};
use crate::engine::{Ended, Engine, Outcome};
use crate::plan::Plan;
use crate::system::{System, Systems};
use crate::trace::{Difference, EventKind, Trace};

/// A run in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// How it is judged.
    pub verdict: Verdict,
    /// How it ended.
    pub ended: Ended,
    /// The digest of its trace.
    pub digest: String,
    /// How many events it recorded.
    pub events: usize,
    /// How much each fault touched, in the order in which they stand in the plan.
    pub touches: Vec<(String, u64)>,
    /// The different things it did, as numbers that stand for them, in order.
    pub behaviours: Vec<u64>,
    /// The points of the program that it came by, each once where it held and once where not.
    pub points: Vec<PointMet>,
    /// Whether it was run twice and compared.
    pub is_compared: bool,
    /// How long it took of this machine's time, with its judgement.
    pub wall: Duration,
}

/// A point of the program that a run came by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PointMet {
    /// The module it stands in.
    pub module: String,
    /// Its name.
    pub name: String,
    /// Whether it held.
    pub holds: bool,
}

/// Whether a plan that asks for equal traces is run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Twice {
    /// It is, and what differs is a failure.
    Yes,
    /// It is not: of many runs a sample is enough, and the first of a new failure.
    No,
}

impl Summary {
    /// What its failure has in common with others; none where it did not fail.
    pub fn signature(&self) -> Option<Signature> {
        Signature::of(&self.verdict)
    }

    /// The summary of a run that left no trace.
    pub(super) fn without_trace(plan: &Plan, system: &System, engine: &str, ended: Ended) -> Self {
        let outcome = Outcome::without_trace(plan, engine, ended);
        Self::of(plan, system, &outcome, None)
    }

    fn of(plan: &Plan, system: &System, outcome: &Outcome, again: Option<&Difference>) -> Self {
        let Outcome { trace, ended, wall } = outcome;
        let touches = trace.touches();
        Self {
            verdict: judge(plan, system, trace, ended, again),
            ended: ended.clone(),
            digest: trace.digest(),
            events: trace.events().len(),
            touches: touches.map(|(id, count)| (id.to_owned(), count)).collect(),
            behaviours: behaviours::of(plan, trace),
            points: points(trace),
            is_compared: false,
            wall: *wall,
        }
    }
}

/// The points that a run came by: its trace has each once.
fn points(trace: &Trace) -> Vec<PointMet> {
    let met = trace.events().iter().filter_map(|event| match &event.kind {
        EventKind::Point {
            holds,
            name,
            module,
            ..
        } => Some(PointMet {
            module: module.clone(),
            name: name.clone(),
            holds: *holds,
        }),
        _ => None,
    });
    met.collect()
}

/// Runs a plan and judges it in the run's own process, where the engine gives it one: a crash, a
/// hang, an abort there is a result like any other.
///
/// # Errors
///
/// When the plan cannot be run; a run that fails is no error.
pub fn summarize(
    plan: &Plan,
    systems: &Systems,
    engine: &dyn Engine,
    twice: Twice,
) -> Result<Summary, RunError> {
    let system = system_of(plan, systems, engine)?;
    let clock = MachineClock::new();
    let mut summary = told(plan, system, engine);
    // A run cut short by this machine's time need not be equal to another.
    let is_comparable = plan.checks.replayed && summary.ended == Ended::Finished;
    if is_comparable && twice == Twice::Yes {
        summary.is_compared = true;
        if digest(plan, system, engine) != summary.digest {
            summary = compared(plan, system, engine);
        }
    }
    summary.wall = clock.now().since(Instant::ORIGIN);
    Ok(summary)
}

fn told(plan: &Plan, system: &System, engine: &dyn Engine) -> Summary {
    let tell = |plan: &Plan, system: &System, outcome: Outcome| {
        let summary = Summary::of(plan, system, &outcome, None);
        serde_json::to_vec(&summary).expect("a summary holds only what JSON can")
    };
    let told = engine.tell(plan, system, tell).and_then(|bytes| {
        serde_json::from_slice(&bytes).map_err(|error| Ended::Panicked {
            at_us: 0,
            message: format!("the run's process says what it should not: {error}"),
        })
    });
    told.unwrap_or_else(|ended| Summary::without_trace(plan, system, engine.name(), ended))
}

/// The digest of another run; none where it said nothing.
fn digest(plan: &Plan, system: &System, engine: &dyn Engine) -> String {
    let tell = |_: &Plan, _: &System, outcome: Outcome| outcome.trace.digest().into_bytes();
    let told = engine.tell(plan, system, tell).unwrap_or_default();
    String::from_utf8_lossy(&told).into_owned()
}

/// The summary of a plan whose runs differ, with where they do: it takes whole traces.
fn compared(plan: &Plan, system: &System, engine: &dyn Engine) -> Summary {
    let outcome = engine.run(plan, system);
    // The two that differed may not have been these two.
    let again = engine.again(plan, system, &outcome.trace);
    let again = again.unwrap_or(Difference {
        index: 0,
        left: None,
        right: None,
    });
    Summary {
        is_compared: true,
        ..Summary::of(plan, system, &outcome, Some(&again))
    }
}
