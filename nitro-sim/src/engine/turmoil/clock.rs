//! Virtual time on turmoil.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nitro::host::tokio::MachineClock;
use nitro::host::{Clock, Timer};
use nitro::time::{Instant, WallTime};

/// The civil time at which every run begins: 2026-01-01T00:00:00Z.
pub(super) const EPOCH_UNIX_SECONDS: u64 = 1_767_225_600;

/// The clock of one life of a node: the paused clock of its runtime, counted from the start of
/// the run.
#[derive(Clone, Debug)]
pub(super) struct VirtualClock {
    runtime: MachineClock,
    /// When this life began.
    born: Instant,
    death: Death,
}

/// The time at which a life of a node ended; `u64::MAX` while it lasts.
///
/// What is dropped with a crashed node may still ask for the time, outside of any runtime.
#[derive(Clone, Debug)]
pub(super) struct Death(Arc<AtomicU64>);

impl Death {
    pub(super) fn none() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    pub(super) fn set(&self, at: Instant) {
        self.0.store(at.as_nanos(), Ordering::Relaxed);
    }

    fn get(&self) -> Option<Instant> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos != u64::MAX).then(|| Instant::from_nanos(nanos))
    }
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
        let nanos = EPOCH_UNIX_SECONDS * 1_000_000_000 + self.now().as_nanos();
        WallTime::from_unix_nanos(nanos)
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
