//! Virtual time on madsim.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use madsim::time::{Sleep, TimeHandle};
use nitro::host::{Clock, Timer};
use nitro::time::{Instant, WallTime};

use crate::engine::launch::{Death, wall};

/// The clock of one life of a node: the one clock of the run.
#[derive(Clone)]
pub(super) struct VirtualClock {
    time: TimeHandle,
    death: Death,
}

impl VirtualClock {
    pub(super) fn new(time: TimeHandle, death: Death) -> Self {
        Self { time, death }
    }
}

/// Now, as the run counts.
pub(super) fn now(time: &TimeHandle) -> Instant {
    Instant::ORIGIN + time.elapsed()
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.death.get().unwrap_or_else(|| now(&self.time))
    }

    fn wall(&self) -> WallTime {
        wall(self.now())
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        Box::new(VirtualTimer {
            time: self.time.clone(),
            at,
            armed: None,
        })
    }
}

struct VirtualTimer {
    time: TimeHandle,
    at: Instant,
    /// What wakes whoever polled last. Each poll of one of madsim's sleeps leaves a timer behind,
    /// so that it is polled once.
    armed: Option<(Pin<Box<Sleep>>, Waker)>,
}

impl Timer for VirtualTimer {
    fn reset(&mut self, at: Instant) {
        self.at = at;
        self.armed = None;
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let now = now(&self.time);
        if now >= self.at {
            return Poll::Ready(());
        }
        let is_armed = |(_, waker): &(_, Waker)| waker.will_wake(context.waker());
        if !self.armed.as_ref().is_some_and(is_armed) {
            let mut sleep = Box::pin(self.time.sleep(self.at.since(now)));
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            self.armed = Some((sleep, context.waker().clone()));
        }
        Poll::Pending
    }
}
