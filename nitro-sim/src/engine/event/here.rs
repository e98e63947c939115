//! The engines there are where the event engine runs, which is the default there.

use std::io;

use super::{Event, Worker};
use crate::engine::Engine;
use crate::engine::turmoil::Turmoil;
use crate::system::Systems;

/// The engines by name; the first is the default.
pub const NAMES: [&str; 2] = ["event", "turmoil"];

/// What there is to say of the default engine of this machine.
pub const DEFAULT_NOTE: Option<&str> = None;

/// The engine of a name.
pub fn by_name(name: &str) -> Option<Box<dyn Engine>> {
    match name {
        "event" => Some(Box::new(Event::default())),
        "turmoil" => Some(Box::new(Turmoil)),
        _ => None,
    }
}

/// The engine of a name in a process that has done nothing before, where it can have one: what
/// runs of it have in common is the plan alone.
///
/// # Errors
///
/// When it cannot be started.
pub fn anew(name: &str, systems: &Systems) -> io::Result<Option<Box<dyn Engine>>> {
    match (name, systems.source()) {
        ("event", Some(source)) => Ok(Some(Box::new(Worker::start(source)?))),
        _ => Ok(by_name(name)),
    }
}
