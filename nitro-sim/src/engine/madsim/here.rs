//! The engines there are in a program that is built for madsim, which is the default there.

use super::Madsim;
use crate::engine::Engine;
use crate::engine::turmoil::Turmoil;

/// The engines by name; the first is the default.
pub const NAMES: [&str; 2] = ["madsim", "turmoil"];

/// What there is to say of the default engine of this program: whoever built it so knows.
pub const DEFAULT_NOTE: Option<&str> = None;

/// The engine of a name.
pub fn by_name(name: &str) -> Option<Box<dyn Engine>> {
    match name {
        "madsim" => Some(Box::new(Madsim)),
        "turmoil" => Some(Box::new(Turmoil)),
        _ => None,
    }
}
