//! The systems that come with the command line.

mod cluster;
pub mod counter;
pub mod echo;
pub mod greeter;

use crate::system::System;

/// All of them.
pub fn systems() -> Vec<System> {
    vec![counter::system(), echo::system(), greeter::system()]
}
