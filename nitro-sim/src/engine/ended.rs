//! How a run ended, in words.

use std::fmt;

use super::WALL_MAX;
use crate::record::EVENTS_MAX;
use crate::trace::Ended;

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
            Ended::Died { at_us, node, how } if node.is_empty() => write!(
                f,
                "the run's process ended by {how}, in no node's turn, at {:.3} s",
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
