//! What stands in the place of [`apart`](super::apart) where no run has a process of its own:
//! turmoil is the only engine there.

use std::convert::Infallible;
use std::io;

use super::turmoil::Turmoil;
use super::{Ended, Engine, Job, Outcome, Tell};
use crate::plan::Plan;
use crate::system::{Source, System, Systems};

/// The engines by name; the first is the default.
pub const NAMES: [&str; 1] = ["turmoil"];

/// What there is to say of the default engine of this machine.
pub const DEFAULT_NOTE: Option<&str> = Some(
    "the engine event is for Linux on x86-64 or aarch64, with glibc; here the default is turmoil, \
     which is slower, and whose digests are its own",
);

/// The engine of a name.
pub fn by_name(name: &str) -> Option<Box<dyn Engine>> {
    match name {
        "turmoil" => Some(Box::new(Turmoil)),
        _ => None,
    }
}

/// The engine of a name; here none has a process of its own.
///
/// # Errors
///
/// None here.
pub fn anew(name: &str, _: &Systems) -> io::Result<Option<Box<dyn Engine>>> {
    Ok(by_name(name))
}

/// Runs a plan by `run`, which is given nothing here, and answers with what `tell` says.
pub(super) fn told_apart(
    plan: &Plan,
    system: &System,
    tell: Tell,
    run: impl FnOnce(()) -> Outcome,
) -> Result<Vec<u8>, Ended> {
    Ok(tell(plan, system, run(())))
}

/// A process that has done nothing before: here there is none.
#[derive(Debug)]
pub struct Worker(Infallible);

impl Worker {
    /// Starts none.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn start_quietly(_: Source) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has a job done.
    ///
    /// # Errors
    ///
    /// None here, where nobody can ask.
    pub fn ask(&self, _: Job, _: &[u8]) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    /// Ends the process now.
    pub fn kill(&self) {
        match self.0 {}
    }
}
