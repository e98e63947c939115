//! The systems that come with the command line.

pub mod broken;
mod cluster;
pub mod counter;
pub mod echo;
pub mod election;
pub mod feed;
pub mod greeter;
mod jobs;
mod keeper;
pub mod leader;
pub mod ledger;
pub mod locks;
pub mod pool;
pub mod queue;

use crate::system::System;

/// All of them.
pub fn systems() -> Vec<System> {
    let mut systems = vec![
        counter::system(),
        echo::system(),
        election::system(),
        feed::system(),
        feed::acks_before_sync(),
        greeter::system(),
        leader::system(),
        leader::unfenced(),
        ledger::system(),
        ledger::acks_before_sync(),
        locks::system(),
        locks::unfenced(),
        locks::wall_clock_lease(),
        pool::system(),
        queue::system(),
        queue::acks_before_sync(),
    ];
    systems.extend(broken::systems());
    systems
}
