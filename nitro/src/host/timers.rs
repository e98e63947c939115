//! A clock whose timers share one timer of the host.
//!
//! Most time limits of calls never come: the answer does. A timer of the host for each would cost
//! more than the rest of a layer. Here a timer is a slot in a table; one task waits for the
//! earliest of them, and what is set for later, or taken back, does not concern it.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker, ready};

use super::{Clock, Host, Timer};
use crate::time::{Instant, WallTime};

/// The clock of a host, with timers that cost little as long as they do not fire.
///
/// A timer is set by its first poll. It must be polled where the host's tasks can be spawned. To
/// fire costs as much as there are timers: it happens once for all that are due, and at most as
/// often as the host's own timers can tell times apart. Cheap to clone.
#[derive(Clone)]
pub struct SharedTimers(Arc<Shared>);

struct Shared {
    host: Host,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// When the task next looks, while it runs.
    next: Option<Instant>,
    /// The task, while it waits.
    keeper: Option<Waker>,
}

struct Slot {
    at: Instant,
    state: State,
}

enum State {
    Free,
    Waiting(Waker),
    Fired,
}

impl SharedTimers {
    /// A clock over that of a host.
    pub fn new(host: &Host) -> Self {
        Self(Arc::new(Shared {
            host: host.clone(),
            table: Mutex::default(),
        }))
    }

    /// A timer that fires at `at`, in no allocation of its own.
    pub(crate) fn at(&self, at: Instant) -> SharedTimer {
        SharedTimer {
            timers: self.clone(),
            at,
            slot: None,
        }
    }
}

impl Clock for SharedTimers {
    fn now(&self) -> Instant {
        self.0.host.clock.now()
    }

    fn wall(&self) -> WallTime {
        self.0.host.clock.wall()
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        Box::new(self.at(at))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("no panic while the table of timers is held")
    }

    /// Sees to it that the task looks at `at` or before.
    fn look_at(self: &Arc<Self>, mut table: MutexGuard<'_, Table>, at: Instant) {
        if table.next.is_some_and(|next| next <= at) {
            return;
        }
        let is_running = table.next.replace(at).is_some();
        let keeper = table.keeper.take();
        drop(table);
        if is_running {
            keeper.into_iter().for_each(Waker::wake);
            return;
        }
        let kept = Kept {
            shared: Arc::downgrade(self),
            is_waiting: false,
        };
        let keeping = keep(kept, Arc::clone(&self.host.clock));
        self.host.tasks.spawn("shared timers", Box::pin(keeping));
    }
}

impl Table {
    fn take_slot(&mut self, at: Instant, waker: &Waker) -> usize {
        let state = State::Waiting(waker.clone());
        let slot = Slot { at, state };
        match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Fires what is due; answers whom to wake. The task ends when nothing is left to wait for.
    fn fire(&mut self, now: Instant) -> Vec<Waker> {
        let mut woken = Vec::new();
        self.next = None;
        for slot in &mut self.slots {
            let State::Waiting(_) = slot.state else {
                continue;
            };
            if slot.at > now {
                self.next = Some(self.next.map_or(slot.at, |next| next.min(slot.at)));
            } else if let State::Waiting(waker) = std::mem::replace(&mut slot.state, State::Fired) {
                woken.push(waker);
            }
        }
        woken
    }
}

/// One timer of [`SharedTimers`].
pub(crate) struct SharedTimer {
    timers: SharedTimers,
    at: Instant,
    slot: Option<usize>,
}

impl Timer for SharedTimer {
    fn reset(&mut self, at: Instant) {
        self.at = at;
        self.give_back();
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let shared = &self.timers.0;
        let mut table = shared.lock();
        let Some(index) = self.slot else {
            // Looked at only if the task would not do so in a moment.
            let is_next = table.next.is_none_or(|next| self.at < next);
            if is_next && shared.host.clock.now() >= self.at {
                return Poll::Ready(());
            }
            self.slot = Some(table.take_slot(self.at, context.waker()));
            shared.look_at(table, self.at);
            return Poll::Pending;
        };
        let mut before = None;
        match &mut table.slots[index].state {
            State::Waiting(waker) if waker.will_wake(context.waker()) => {}
            State::Waiting(waker) => {
                before = Some(std::mem::replace(waker, context.waker().clone()));
            }
            _ => return Poll::Ready(()),
        }
        // Nobody looks where the task was dropped, as when its runtime was.
        shared.look_at(table, self.at);
        drop(before);
        Poll::Pending
    }
}

impl SharedTimer {
    /// When it fires.
    pub(crate) fn time(&self) -> Instant {
        self.at
    }

    /// Those that it is one of.
    pub(crate) fn timers(&self) -> &SharedTimers {
        &self.timers
    }

    fn give_back(&mut self) {
        if let Some(index) = self.slot.take() {
            let mut table = self.timers.0.lock();
            let state = std::mem::replace(&mut table.slots[index].state, State::Free);
            table.free.push(index);
            // A waker may be the last to hold a task, which may hold such a timer.
            drop(table);
            drop(state);
        }
    }
}

impl Drop for SharedTimer {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let keeper = self.lock().keeper.take();
        keeper.into_iter().for_each(Waker::wake);
    }
}

/// The table, as the task holds it: not for longer than somebody else does.
struct Kept {
    shared: Weak<Shared>,
    /// Whether the task has begun to wait and there is something to wait for.
    is_waiting: bool,
}

impl Kept {
    /// When to look next; `None` ends the task.
    fn next(&mut self, context: &Context<'_>) -> Option<Instant> {
        let shared = self.shared.upgrade()?;
        let mut table = shared.lock();
        self.is_waiting = true;
        let before = table.keeper.replace(context.waker().clone());
        let next = table.next;
        drop(table);
        drop(before);
        next
    }

    /// Fires what is due; whether there is more to wait for.
    fn fire(&mut self, now: Instant) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let mut table = shared.lock();
        let woken = table.fire(now);
        self.is_waiting = table.next.is_some();
        drop(table);
        woken.into_iter().for_each(Waker::wake);
        self.is_waiting
    }
}

impl Drop for Kept {
    /// Where the task is dropped before its work is done, all who wait are woken, and the first
    /// of them starts another. Not where it never ran: it would be dropped again.
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        if self.is_waiting {
            let mut table = shared.lock();
            table.next = None;
            let woken = table.waiting();
            drop(table);
            woken.iter().for_each(Waker::wake_by_ref);
        }
    }
}

impl Table {
    fn waiting(&self) -> Vec<Waker> {
        let waker = |slot: &Slot| match &slot.state {
            State::Waiting(waker) => Some(waker.clone()),
            _ => None,
        };
        self.slots.iter().filter_map(waker).collect()
    }
}

async fn keep(mut kept: Kept, clock: Arc<dyn Clock>) {
    let mut timer: Option<(Instant, Box<dyn Timer>)> = None;
    poll_fn(|context| {
        loop {
            let Some(next) = kept.next(context) else {
                return Poll::Ready(());
            };
            let (at, timer) = timer.get_or_insert_with(|| (next, clock.timer(next)));
            if *at != next {
                *at = next;
                timer.reset(next);
            }
            ready!(timer.poll_elapsed(context));
            if !kept.fire(clock.now().max(next)) {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::host;

    const MILLI: Duration = Duration::from_millis(1);

    async fn fired_after(clock: Arc<dyn Clock>, millis: u64) -> u128 {
        let begun = clock.now();
        clock.sleep(MILLI * u32::try_from(millis).unwrap()).await;
        clock.now().since(begun).as_millis()
    }

    fn clock() -> Arc<dyn Clock> {
        Arc::new(SharedTimers::new(&host::tokio::host()))
    }

    #[tokio::test(start_paused = true)]
    async fn each_timer_fires_at_its_time_whatever_the_order_they_are_set_in() {
        let clock = clock();
        let millis = [50, 10, 30, 10, 1_000, 999, 3];
        let timers = millis.map(|millis| fired_after(clock.clone(), millis));
        let fired = futures_util::future::join_all(timers).await;
        for (fired, wanted) in fired.into_iter().zip(millis) {
            let wanted = u128::from(wanted);
            assert!((wanted..=wanted + 2).contains(&fired), "{fired} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timers_that_are_taken_back_keep_no_other_from_firing() {
        let clock = clock();
        for round in 0..100 {
            let early = clock.timeout(MILLI * 5, std::future::pending::<()>());
            let dropped = clock.timeout(MILLI, early);
            assert!(dropped.await.is_err(), "{round}");
        }
        assert!((7..=9).contains(&fired_after(clock, 7).await));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_can_be_set_again_and_one_of_the_past_is_due() {
        let clock = clock();
        let mut timer = clock.timer(clock.now());
        poll_fn(|context| timer.poll_elapsed(context)).await;
        let later = clock.now() + MILLI * 20;
        timer.reset(later);
        poll_fn(|context| timer.poll_elapsed(context)).await;
        assert!(clock.now() >= later);
    }

    #[test]
    fn timers_outlive_the_runtime_that_they_were_first_used_on() {
        let clock = clock();
        for _ in 0..2 {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().build().unwrap();
            let long = clock.clone();
            // Lives on in a task that the runtime drops.
            runtime.spawn(async move { long.sleep(Duration::from_secs(3_600)).await });
            runtime.block_on(async { assert!(fired_after(clock.clone(), 5).await >= 5) });
        }
    }
}
