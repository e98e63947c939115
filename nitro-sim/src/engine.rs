//! What makes a trace of a plan. An engine that cannot do what a plan asks refuses before the
//! run, by name.
//!
//! Which engines a program has depends on the machine and on how it was built: [`NAMES`]. The cfg
//! `madsim` puts the madsim engine in the event engine's place. The cfg `elsewhere` leaves turmoil
//! alone: the build script sets it where the others cannot be, which is anywhere but on Linux with
//! glibc on x86-64 or aarch64; set by hand it builds on Linux what there is on other machines.

#[cfg_attr(elsewhere, path = "engine/elsewhere.rs")]
mod apart;
mod ended;
#[cfg(not(any(elsewhere, madsim)))]
pub mod event;
mod launch;
mod logs;
#[cfg(all(madsim, not(elsewhere)))]
pub mod madsim;
mod part;
pub mod turmoil;

use std::fmt;
use std::time::Duration;

use nitro::time::Instant;

use crate::fault::Fault;
use crate::machine::Tricks;
use crate::plan::{Buggify, Plan};
use crate::scenario::Network;
use crate::system::{Source, System};
pub use crate::trace::Ended;
use crate::trace::{Difference, Trace};
pub use apart::{DEFAULT_NOTE, NAMES, Worker, anew, by_name};

/// The longest a run may take of this machine's time. Past it the run ends without a verdict.
pub const WALL_MAX: Duration = Duration::from_secs(600);

/// The civil time at which every run begins: 2026-01-01T00:00:00Z.
const EPOCH_UNIX_SECONDS: u64 = 1_767_225_600;

/// Why there is no engine of a name, and what to do.
pub fn missing(name: &str) -> String {
    let known = NAMES.join(", ");
    let why = match name {
        "madsim" => {
            "this program was built without the engine madsim, which takes a build of its own \
             (Linux), beside the usual one:\n    \
             RUSTFLAGS=\"--cfg madsim\" cargo run --release --target-dir target/madsim \
             -p nitro-sim -- run ... --engine madsim\n\
             it has"
        }
        "event" => {
            "the engine event is for Linux on x86-64 or aarch64, with glibc, and not in a program \
             that was built with --cfg madsim; this one has"
        }
        _ => return format!("there is no engine \"{name}\"; there are: {known}"),
    };
    format!("{why}: {known}")
}

/// The tricks that a plan asks for.
fn tricks(plan: &Plan) -> Tricks {
    let of = |buggify: &Buggify| Tricks {
        until: Instant::from_nanos(buggify.until_ms * 1_000_000),
        sites: buggify.sites.iter().cloned().collect(),
    };
    plan.buggify.as_ref().map(of).unwrap_or_default()
}

/// Runs plans.
pub trait Engine {
    /// Its name, as the command line takes it.
    fn name(&self) -> &'static str;

    /// Whether it can do this.
    ///
    /// # Errors
    ///
    /// Why not, and which engine can.
    fn supports(&self, fault: &Fault) -> Result<(), String>;

    /// Whether it can be such a network.
    ///
    /// # Errors
    ///
    /// Why not, and which engine can.
    fn supports_network(&self, _network: &Network) -> Result<(), String> {
        Ok(())
    }

    /// Whether it can run so many nodes on this machine.
    ///
    /// # Errors
    ///
    /// Why not, and what to raise.
    fn supports_nodes(&self, _count: usize) -> Result<(), String> {
        Ok(())
    }

    /// Runs a plan whose network, nodes and every fault it supports.
    fn run(&self, plan: &Plan, system: &System) -> Outcome;

    /// Runs a plan, and answers with what `tell` says of it: in the run's own process where it has
    /// one, so that nothing else has to leave it.
    ///
    /// # Errors
    ///
    /// How a run ended whose process said nothing.
    fn tell(&self, plan: &Plan, system: &System, tell: Tell) -> Result<Vec<u8>, Ended> {
        Ok(tell(plan, system, self.run(plan, system)))
    }

    /// Runs a plan again: where the run parts from the first; none when it does not.
    fn again(&self, plan: &Plan, system: &System, first: &Trace) -> Option<Difference> {
        first.first_difference(&self.run(plan, system).trace)
    }
}

/// What is said of a run, where it has run. It is a function and no closure, so that another
/// process can call it too.
pub type Tell = fn(&Plan, &System, Outcome) -> Vec<u8>;

/// What another process of this program does: a function, which is given the systems' source and
/// the question, and makes the answer.
pub type Job = fn(Source, &[u8]) -> Vec<u8>;

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub trace: Trace,
    /// How it ended.
    pub ended: Ended,
    /// How long it took of this machine's time. For the eyes only: it is in no trace.
    pub wall: Duration,
}

impl Outcome {
    /// What came of a run, before anybody knows how long it took.
    pub fn of(ended: Ended, trace: Trace) -> Self {
        let wall = Duration::ZERO;
        Self { trace, ended, wall }
    }

    /// What came of a run that left no trace.
    pub fn without_trace(plan: &Plan, engine: &str, ended: Ended) -> Self {
        Self::of(ended, Trace::new(plan.digest(), engine))
    }
}

/// What an engine cannot do of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The engine's name.
    pub engine: String,
    /// Each fault by its id, or the network, or the nodes, with why it is refused.
    pub reasons: Vec<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the engine {} refuses the plan:", self.engine)?;
        for (fault, why) in &self.reasons {
            write!(f, "\n    {fault}: {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// Whether an engine can do all that a plan asks.
///
/// # Errors
///
/// All that it cannot do.
pub fn accepts(engine: &dyn Engine, plan: &Plan) -> Result<(), Refusal> {
    let mut reasons: Vec<(String, String)> = Vec::new();
    if let Err(why) = engine.supports_network(&plan.network) {
        reasons.push(("network".to_owned(), why));
    }
    if let Err(why) = engine.supports_nodes(plan.nodes.len()) {
        reasons.push(("nodes".to_owned(), why));
    }
    for fault in &plan.faults {
        if let Err(why) = engine.supports(&fault.fault)
            && reasons.iter().all(|(id, _)| *id != fault.id)
        {
            reasons.push((fault.id.clone(), why));
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        engine: engine.name().to_owned(),
        reasons,
    })
}

#[cfg(test)]
mod tests;
