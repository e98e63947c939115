//! The timers of a node's clock. The engine keeps them itself: it knows to the nanosecond when the
//! next is due, where tokio's wheel is turned once for every level that a timer falls through.
//!
//! They tell milliseconds apart, as tokio's do, which stand behind the clock of a real machine:
//! what is due within one fires together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use nitro::host::Timer;
use nitro::time::Instant;
use tokio::task::coop;

use super::one_thread::OneThread;
use super::ready::Ready;

const TICK_NANOS: u128 = 1_000_000;

/// The timers of one life of a node, on its own clock. A clone is the same timers.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// When the life began, from which milliseconds are counted.
    born: Instant,
    waiting: Arc<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// When the first of them fires, in nanoseconds; [`NEVER`] where there is none. Beside the
    /// set, because every turn of the node asks.
    first: AtomicU64,
    set: OneThread<Set>,
}

const NEVER: u64 = u64::MAX;

/// Who waits, each in a slot that is another's once it has been woken or has gone.
#[derive(Debug, Default)]
struct Set {
    /// The slots by time. Of two for one time, what was set first fires first.
    ready: Ready,
    slots: Vec<Slot>,
    free: Vec<usize>,
    count: u64,
}

#[derive(Debug, Default)]
struct Slot {
    /// The number of the timer that has it, or had it last.
    number: u64,
    waker: Option<Waker>,
}

/// A timer's place among those that wait: its slot and its number, which no other has.
type Place = (usize, u64);

impl Set {
    /// Puts a timer among those that wait.
    fn insert(&mut self, at: Instant, waker: Waker) -> Place {
        self.count += 1;
        let (slot, number) = (self.free.pop().unwrap_or(self.slots.len()), self.count);
        if slot == self.slots.len() {
            self.slots.push(Slot::default());
        }
        let waker = Some(waker);
        self.slots[slot] = Slot { number, waker };
        self.ready.set(slot, at.as_nanos(), number);
        (slot, number)
    }

    /// What is woken for a timer, while it waits.
    fn waker(&mut self, (slot, number): Place) -> Option<&mut Waker> {
        let slot = &mut self.slots[slot];
        slot.waker.as_mut().filter(|_| slot.number == number)
    }

    /// Takes a timer from those that wait, if it is among them.
    fn remove(&mut self, (slot, number): Place) -> Option<Waker> {
        let waker = match self.slots[slot].number == number {
            true => self.slots[slot].waker.take()?,
            false => return None,
        };
        self.ready.remove(slot);
        self.free.push(slot);
        Some(waker)
    }

    /// Takes the first timer from those that wait.
    fn pop_first(&mut self) -> Option<Waker> {
        let (_, slot) = self.ready.first()?;
        self.remove((slot, self.slots[slot].number))
    }
}

impl Timers {
    /// The timers of a life that begins now.
    pub(super) fn begin(now: Instant) -> Self {
        Self {
            born: now,
            waiting: Arc::new(Waiting {
                first: AtomicU64::new(NEVER),
                set: OneThread::new(Set::default()),
            }),
        }
    }

    /// Changes what waits.
    fn change<T>(&self, change: impl FnOnce(&mut Set) -> T) -> T {
        self.waiting.set.with(|set| {
            let result = change(set);
            let first = set.ready.first().map_or(NEVER, |(at, _)| at);
            self.waiting.first.store(first, Ordering::Relaxed);
            result
        })
    }

    /// When the next one fires.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = self.waiting.first.load(Ordering::Relaxed);
        (first != NEVER).then(|| Instant::from_nanos(first))
    }

    /// Wakes whoever waits for a time that has come.
    pub(super) fn fire(&self, now: Instant) {
        // Woken one by one, because whoever is woken may come back here.
        while self.next().is_some_and(|first| first <= now) {
            let first = self.change(Set::pop_first);
            first.into_iter().for_each(Waker::wake);
        }
    }

    /// A timer that fires at a time, or at once if that has passed. `now` is what the node's clock
    /// says.
    pub(super) fn timer(&self, at: Instant, now: fn() -> Instant) -> EventTimer {
        EventTimer {
            timers: self.clone(),
            at: self.tick(at),
            now,
            place: None,
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
    place: Option<Place>,
}

impl EventTimer {
    fn cancel(&mut self) {
        if let Some(place) = self.place.take() {
            // What it held is dropped once nobody uses the set: that may run other code.
            drop(self.timers.change(|set| set.remove(place)));
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
            // What has come was taken from those that wait before anybody was told.
            self.place = None;
            budget.made_progress();
            return Poll::Ready(());
        }
        let (at, place, new) = (self.at, self.place, context.waker());
        let (place, earlier) = self.timers.change(|set| {
            match place.and_then(|place| Some((place, set.waker(place)?))) {
                Some((place, held)) if held.will_wake(new) => (place, None),
                Some((place, held)) => (place, Some(std::mem::replace(held, new.clone()))),
                None => (set.insert(at, new.clone()), None),
            }
        });
        self.place = Some(place);
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
