//! A run in a process of its own: a copy of this one, so that what it leaves behind in statics and
//! thread-locals reaches no other, and watched, so that it ends in time.

pub(in crate::engine) mod logs;
pub(in crate::engine) mod outcome;
pub(in crate::engine) mod process;
pub(in crate::engine) mod watch;
mod worker;

use std::fs::File;
use std::io::{self, Write};
use std::time::Duration;

#[cfg(not(madsim))]
pub use super::event::here::{DEFAULT_NOTE, NAMES, by_name};
#[cfg(madsim)]
pub use super::madsim::here::{DEFAULT_NOTE, NAMES, by_name};
use super::{Ended, Engine, Outcome, Tell, WALL_MAX};
use crate::plan::Plan;
use crate::system::{System, Systems};
use process::Limits;
use watch::Page;
pub use worker::Worker;

/// The longest a turn of a node may take of this machine's time. A turn is short work; even one on
/// a busy machine takes milliseconds.
pub(super) const TURN_WALL_MAX: Duration = Duration::from_secs(20);

/// How long a run may take that nobody limits further.
const LIMITS: Limits = Limits {
    wall_max: WALL_MAX,
    turn_max: TURN_WALL_MAX,
};

/// The engine of a name in a process that has done nothing before, where it can have one: what
/// runs of it have in common is the plan alone.
///
/// # Errors
///
/// When it cannot be started.
pub fn anew(name: &str, systems: &Systems) -> io::Result<Option<Box<dyn Engine>>> {
    match (name == NAMES[0], systems.source()) {
        (true, Some(source)) => Ok(Some(Box::new(Worker::start(source)?))),
        _ => Ok(by_name(name)),
    }
}

/// Runs a plan by `run` in a process of its own, which answers with what `tell` says. `run` may say
/// on the page where it is.
pub(super) fn told_apart(
    plan: &Plan,
    system: &System,
    tell: Tell,
    run: impl FnOnce(&'static Page) -> Outcome + Send,
) -> Result<Vec<u8>, Ended> {
    let limits = Limits {
        turn_max: system.longest_turn().unwrap_or(LIMITS.turn_max),
        ..LIMITS
    };
    let finished = process::in_child(limits, |page, mut out: File| {
        let outcome = run(page);
        page.end();
        // Nobody is left to hear of an error: the reader has gone.
        let _ = out.write_all(&tell(plan, system, outcome));
    });
    outcome::told(finished, plan)
}
