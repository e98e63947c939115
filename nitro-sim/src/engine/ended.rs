//! How a run ended, in words and as data.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WALL_MAX;
use crate::record::EVENTS_MAX;

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
