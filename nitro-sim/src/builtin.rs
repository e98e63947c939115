//! The systems that come with the command line.

pub mod echo;

use crate::system::System;

/// All of them.
pub fn systems() -> Vec<System> {
    vec![echo::system()]
}
