//! Virtual time on turmoil.

use nitro::host::tokio::MachineClock;
use nitro::host::{Clock, Timer};
use nitro::time::{Instant, WallTime};

use crate::engine::launch::{Death, wall};

/// The clock of one life of a node: the paused clock of its runtime, counted from the start of
/// the run.
#[derive(Clone, Debug)]
pub(super) struct VirtualClock {
    runtime: MachineClock,
    /// When this life began.
    born: Instant,
    death: Death,
}

impl VirtualClock {
    /// The clock of a life that begins now. Called on the node's runtime.
    pub(super) fn begin(death: Death) -> Self {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        Self {
            runtime: MachineClock::new(),
            born: Instant::ORIGIN + elapsed,
            death,
        }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        let living = || self.born + self.runtime.now().since(Instant::ORIGIN);
        self.death.get().unwrap_or_else(living)
    }

    fn wall(&self) -> WallTime {
        wall(self.now())
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        let born = self.born;
        let inner = self.runtime.timer(since(born, at));
        Box::new(VirtualTimer { born, inner })
    }
}

/// A point of the run on the clock of a life that was born later.
fn since(born: Instant, at: Instant) -> Instant {
    Instant::ORIGIN + at.since(born)
}

struct VirtualTimer {
    born: Instant,
    inner: Box<dyn Timer>,
}

impl Timer for VirtualTimer {
    fn reset(&mut self, at: Instant) {
        self.inner.reset(since(self.born, at));
    }

    fn poll_elapsed(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        self.inner.poll_elapsed(context)
    }
}
