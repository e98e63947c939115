//! How much of something a node holds for others, such as subscriptions: what is held for nobody
//! in the end was forgotten.
//!
//! It is told as a tracing event of the level TRACE under the target [`TARGET`], which costs a load
//! and a branch where nobody listens for it, as in a simulated run.

use tracing::Level;

/// The target of the tracing events.
pub const TARGET: &str = "nitro::held";

/// Of a broker: who is subscribed, a group counting as one.
pub const SUBSCRIPTIONS: &str = "subscriptions";

/// Tells how much of something this node holds now.
pub fn tell(what: &'static str, count: usize) {
    tracing::event!(target: TARGET, Level::TRACE, what, count = count as u64);
}

/// Whether anybody listens: what takes more than counting is done only then.
pub fn is_heard() -> bool {
    tracing::enabled!(target: TARGET, Level::TRACE)
}
