//! The machine a node runs on: the one seam between nitro and the outside world.
//!
//! Every node takes its time, sockets, randomness, tasks and files from a [`Host`], handed in
//! once. Hand in [`tokio::host`] and it runs on this machine; [`memory::Machine`] gives hosts
//! that talk through pipes in one process; `nitro-sim` gives hosts whose every fault is planned.
//! Nothing else in nitro touches the outside.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod memory;
pub mod network;
pub mod tasks;
pub mod timers;
pub mod tokio;

use std::sync::Arc;

pub use clock::{Clock, Timer};
pub use disk::{Disk, File};
pub use entropy::Entropy;
pub use network::{Datagram, Listener, Network, Stream};
pub use tasks::{Task, Tasks};
pub(crate) use timers::SharedTimer;
pub use timers::SharedTimers;

/// What a node takes from its machine. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Monotonic and wall time, and timers.
    pub clock: Arc<dyn Clock>,
    /// Streams, datagrams and names.
    pub network: Arc<dyn Network>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Concurrent work.
    pub tasks: Arc<dyn Tasks>,
    /// Files.
    pub disk: Arc<dyn Disk>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}
