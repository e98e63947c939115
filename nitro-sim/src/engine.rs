//! What makes a trace of a plan. An engine that cannot do what a plan asks refuses before the
//! run, by name.

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(madsim)
))]
pub mod event;
mod logs;
pub mod turmoil;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::plan::Plan;
use crate::record::EVENTS_MAX;
use crate::scenario::Network;
use crate::system::System;
use crate::trace::Trace;

/// The longest a run may take of this machine's time. Past it the run ends without a verdict.
pub const WALL_MAX: Duration = Duration::from_secs(600);

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

    /// Runs a plan whose network and every fault it supports.
    fn run(&self, plan: &Plan, system: &System) -> Outcome;
}

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

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// At its planned end.
    Finished,
    /// Before its end, after [`WALL_MAX`].
    TooSlow {
        /// The virtual time reached, in microseconds.
        at_us: u64,
    },
    /// Before its end, because it recorded as much as a run may.
    TooMuch {
        /// The virtual time reached, in microseconds.
        at_us: u64,
    },
    /// The engine itself panicked.
    Panicked {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// The panic's message.
        message: String,
    },
    /// Before its end, because a node did what is not simulated.
    Escaped {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// The node.
        node: String,
        /// What it did, and what to use instead.
        what: String,
    },
    /// Before its end, because nothing was left to happen while operations were under way.
    Deadlocked {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// Who waits for what.
        waiting: Vec<String>,
    },
    /// Before its end, because nodes went on and on while virtual time stood still.
    Spun {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// The last node.
        node: String,
        /// How many turns nodes had taken at that time.
        turns: u64,
    },
    /// Before its end, because a node's code did not come back.
    Stuck {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// The node.
        node: String,
    },
    /// Before its end, because the run's process ended.
    Died {
        /// The virtual time reached, in microseconds.
        at_us: u64,
        /// The node whose turn it was.
        node: String,
        /// By which signal or exit code.
        how: String,
    },
}

/// In words, with what to do.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at_us: &u64| *at_us as f64 / 1e6;
        match self {
            Ended::Finished => write!(f, "it finished"),
            Ended::TooSlow { at_us } => write!(
                f,
                "the run reached {:.3} s in {} s of this machine's time, the most it may take: \
                 shorten it or take fewer nodes",
                seconds(at_us),
                WALL_MAX.as_secs()
            ),
            Ended::TooMuch { at_us } => write!(
                f,
                "the run recorded {EVENTS_MAX} events by {:.3} s, the most it may: does \
                 something loop without waiting?",
                seconds(at_us)
            ),
            Ended::Panicked { at_us, message } => {
                write!(
                    f,
                    "the engine panicked at {:.3} s: {message}",
                    seconds(at_us)
                )
            }
            Ended::Escaped { at_us, node, what } => {
                let at = seconds(at_us);
                write!(f, "{node} left the simulation at {at:.3} s: {what}")
            }
            Ended::Deadlocked { at_us, waiting } => write!(
                f,
                "nothing is left to happen at {:.3} s, and these wait for ever: {}",
                seconds(at_us),
                waiting.join(", ")
            ),
            Ended::Spun { at_us, node, turns } => write!(
                f,
                "nodes took {turns} turns at {:.3} s, {node} the last: they answer one another \
                 while virtual time stands still; give the network a latency, or wait for a timer",
                seconds(at_us)
            ),
            Ended::Stuck { at_us, node } => write!(
                f,
                "{node} does not come back from its turn at {:.3} s: a task loops without \
                 awaiting",
                seconds(at_us)
            ),
            Ended::Died { at_us, node, how } => write!(
                f,
                "the run's process ended by {how} in a turn of {node} at {:.3} s",
                seconds(at_us)
            ),
        }
    }
}

/// What an engine cannot do of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The engine's name.
    pub engine: String,
    /// Each fault by its id, or the network, with why it is refused.
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

/// The engines by name; the first is the default.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(madsim)
))]
pub const NAMES: [&str; 2] = ["event", "turmoil"];

/// The engines by name; the first is the default. The event engine is for Linux.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(madsim)
)))]
pub const NAMES: [&str; 1] = ["turmoil"];

/// Makes a program's systems. It is a function and no closure, so that a process of its own can
/// call it too.
pub type Source = fn() -> Vec<System>;

/// The default engine for a test, whose process has done other things before.
///
/// # Errors
///
/// When it needs a process of its own and cannot have one.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(madsim)
))]
pub fn for_tests(source: Source) -> std::io::Result<Box<dyn Engine>> {
    Ok(Box::new(event::Worker::start(source)?))
}

/// The default engine for a test.
///
/// # Errors
///
/// None here.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(madsim)
)))]
pub fn for_tests(_: Source) -> std::io::Result<Box<dyn Engine>> {
    Ok(Box::new(turmoil::Turmoil))
}

/// The engine of a name.
pub fn by_name(name: &str) -> Option<Box<dyn Engine>> {
    match name {
        #[cfg(all(
            target_os = "linux",
            target_env = "gnu",
            any(target_arch = "x86_64", target_arch = "aarch64"),
            not(madsim)
        ))]
        "event" => Some(Box::new(event::Event::default())),
        "turmoil" => Some(Box::new(turmoil::Turmoil)),
        _ => None,
    }
}
