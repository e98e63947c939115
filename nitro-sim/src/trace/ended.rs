//! How a run ended, as data.

use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// At its planned end.
    Finished,
    /// Before its end, because it took too long of its machine's time.
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
        /// The node whose turn it was; empty where it was none's.
        node: String,
        /// By which signal or exit code.
        how: String,
    },
}
