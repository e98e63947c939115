//! Hosts within one process: pipes for sockets, memory for files, this machine's clock.

pub mod disk;
pub mod network;

use std::sync::Arc;

use super::tasks::TokioTasks;
use super::tokio::MachineClock;
use super::{Entropy, Host};

pub use disk::MemoryDisk;
pub use network::MemoryNetwork;

/// A process in which hosts stand side by side and reach each other by name.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    network: MemoryNetwork,
}

impl Machine {
    /// A machine without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// A host of this name, with an address and an empty disk of its own. The same name gives
    /// the same address again.
    pub fn host(&self, name: &str) -> Host {
        let this_machine = super::tokio::host();
        Host {
            clock: Arc::new(MachineClock::new()),
            network: Arc::new(self.network.attach(name)),
            entropy: this_machine.entropy as Arc<dyn Entropy>,
            tasks: Arc::new(TokioTasks),
            disk: Arc::new(MemoryDisk::new()),
        }
    }
}
