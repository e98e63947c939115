//! The timers of a node's clock. The engine keeps them itself: it knows to the nanosecond when the
//! next is due, where tokio's wheel is turned once for every level that a timer falls through.
//!
//! They tell milliseconds apart, as tokio's do, which stand behind the clock of a real machine:
//! what is due within one fires together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nitro::host::Timer;
use nitro::time::Instant;
use tokio::task::coop;

const TICK_NANOS: u128 = 1_000_000;

/// The timers of one life of a node, on its own clock. A clone is the same timers.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// When the life began, from which milliseconds are counted.
    born: Instant,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Of two for one time, what was set first fires first.
    by_time: BTreeMap<(Instant, u64), Waker>,
    count: u64,
}

impl Timers {
    /// The timers of a life that begins now.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            born: now,
            waiting: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no panic while timers are held")
    }

    /// When the next one fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.lock().by_time.keys().next().map(|(at, _)| *at)
    }

    /// Wakes whoever waits for a time that has come.
    pub(super) fn fire(&self, now: Instant) {
        // Waked one by one, because whoever is woken may come back here.
        while let Some(waker) = self.take_due(now) {
            waker.wake();
        }
    }

    fn take_due(&self, now: Instant) -> Option<Waker> {
        let mut waiting = self.lock();
        let first = waiting.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// A timer that fires at a time, or at once if that has passed. `now` is what the node's clock
    /// says.
    pub(super) fn timer(&self, at: Instant, now: fn() -> Instant) -> EventTimer {
        EventTimer {
            timers: self.clone(),
            at: self.tick(at),
            now,
            entry: None,
        }
    }

    /// The first millisecond of the life that is not before a time.
    fn tick(&self, at: Instant) -> Instant {
        let ticks = at.since(self.born).as_nanos().div_ceil(TICK_NANOS);
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX);
        self.born + Duration::from_millis(ticks)
    }
}

/// A timer of a node's clock.
#[derive(Debug)]
pub(super) struct EventTimer {
    timers: Timers,
    at: Instant,
    now: fn() -> Instant,
    /// Its place among those that wait, while it does or did.
    entry: Option<u64>,
}

impl EventTimer {
    fn cancel(&mut self) {
        if let Some(number) = self.entry.take() {
            // What it held is dropped once nothing is locked: that may run other code.
            let waker = self.timers.lock().by_time.remove(&(self.at, number));
            drop(waker);
        }
    }
}

impl Timer for EventTimer {
    fn reset(&mut self, at: Instant) {
        self.cancel();
        self.at = self.timers.tick(at);
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        // As with tokio's own, who waits for no time at all lets others go first now and then.
        let budget = ready!(coop::poll_proceed(context));
        if (self.now)() >= self.at {
            self.cancel();
            budget.made_progress();
            return Poll::Ready(());
        }
        let mut waiting = self.timers.lock();
        let number = *self.entry.get_or_insert_with(|| {
            waiting.count += 1;
            waiting.count
        });
        let held = waiting.by_time.get_mut(&(self.at, number));
        let earlier = match held {
            Some(held) if held.will_wake(context.waker()) => None,
            Some(held) => Some(std::mem::replace(held, context.waker().clone())),
            None => {
                let key = (self.at, number);
                waiting.by_time.insert(key, context.waker().clone())
            }
        };
        drop(waiting);
        drop(earlier);
        Poll::Pending
    }
}

impl Drop for EventTimer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::task::noop_waker_ref;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(0) };
    }

    fn now() -> Instant {
        Instant::from_nanos(NOW.get())
    }

    fn at(us: u64) -> Instant {
        Instant::ORIGIN + Duration::from_micros(us)
    }

    fn is_ready(timer: &mut EventTimer) -> bool {
        let mut context = Context::from_waker(noop_waker_ref());
        timer.poll_elapsed(&mut context).is_ready()
    }

    #[test]
    fn timers_of_one_millisecond_fire_together_and_not_before_their_time() {
        let timers = Timers::begin(at(300));
        let mut set: Vec<EventTimer> = [1301, 2300, 2301]
            .map(|us| timers.timer(at(us), now))
            .into();
        assert!(!set.iter_mut().any(is_ready));
        assert_eq!(timers.next(), Some(at(2300)));
        NOW.set(2_300_000);
        timers.fire(now());
        assert_eq!(timers.next(), Some(at(3300)));
        let ready: Vec<bool> = set.iter_mut().map(is_ready).collect();
        assert_eq!(ready, [true, true, false]);
    }

    #[test]
    fn nothing_is_left_of_a_timer_that_is_dropped_or_set_anew() {
        let timers = Timers::begin(at(0));
        let mut timer = timers.timer(at(5000), now);
        assert!(!is_ready(&mut timer) && !is_ready(&mut timer));
        timer.reset(at(9000));
        assert_eq!(timers.next(), None);
        assert!(!is_ready(&mut timer));
        assert_eq!(timers.next(), Some(at(9000)));
        drop(timer);
        assert_eq!(timers.next(), None);
    }
}
