//! The engines there are where the event engine runs, which is the default there.

use super::Event;
use crate::engine::Engine;
use crate::engine::turmoil::Turmoil;

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
