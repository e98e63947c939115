//! A node's runtime, entered for one turn: it does all it can do now, and says when it must be
//! entered again.
//!
//! How control comes back: a runtime with nothing left to do asks the operating system to wait
//! until its next timer. The shim notes for how long, and answers at once that nothing came. Then
//! the runtime calls back, and the future given to `block_on` is woken and returns. Where the wait
//! was to be of no length, timers have just fired: coming back then would strand them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use tokio::runtime::{Builder, Runtime};

use super::shim::{self, Turned, View};

/// Tokio's timers tell milliseconds apart, counted from when the runtime was made.
const TICK_NANOS: u64 = 1_000_000;

thread_local! {
    /// What wakes the future of the turn that is under way.
    static TURN: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A runtime of a node.
pub(super) struct Machine {
    runtime: Runtime,
    /// What the node's clock said when the runtime was made, from which its timers count.
    made: u64,
    /// The state of the node's randomness.
    random: u64,
}

/// What came of a turn.
pub(super) struct Ran {
    /// When the node must be entered again, as its own monotonic clock says; none while nothing
    /// comes.
    pub(super) wakes: Option<u64>,
    /// What it looked at.
    pub(super) turned: Turned,
}

impl Machine {
    /// A runtime made at the time of a view.
    /// `tasks_between_events` is how many tasks it polls before it looks for timers again.
    pub(super) fn new(view: View, tasks_between_events: u32) -> io::Result<Self> {
        shim::look_on(view);
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(tasks_between_events)
            .on_thread_unpark(hand_back)
            .build()?;
        Ok(Self {
            runtime,
            made: view.monotonic,
            random: view.random,
        })
    }

    /// The state of the node's randomness.
    pub(super) fn random(&self) -> u64 {
        self.random
    }

    /// How many of its tasks have not ended, whoever spawned them.
    pub(super) fn tasks_alive(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Lets the node do all it can at the time of a view; `arrive` first, among its tasks. None
    /// if that says that nothing came of it.
    pub(super) fn turn(&mut self, view: View, arrive: impl FnOnce() -> bool) -> Option<Ran> {
        shim::enter(view);
        let mut arrive = Some(arrive);
        let mut has_come = true;
        self.runtime.block_on(poll_fn(|context| {
            let Some(arrive) = arrive.take() else {
                return match shim::is_waiting() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                };
            };
            TURN.with_borrow_mut(|turn| match turn {
                Some(waker) => waker.clone_from(context.waker()),
                None => *turn = Some(context.waker().clone()),
            });
            has_come = arrive();
            if has_come {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        }));
        let turned = shim::leave();
        self.random = turned.random;
        if !has_come {
            return None;
        }
        let ticks = view.monotonic.saturating_sub(self.made) / TICK_NANOS;
        let wakes = turned
            .waits_ms
            .map(|waits_ms| self.made + (ticks + waits_ms) * TICK_NANOS);
        Some(Ran { wakes, turned })
    }

    /// Ends the node: what its tasks drop sees the time of the view.
    pub(super) fn end(self, view: View) {
        shim::look_on(view);
        TURN.with_borrow_mut(Option::take);
        drop(self.runtime);
    }
}

/// Called whenever a runtime comes back from waiting.
fn hand_back() {
    if shim::is_waiting() {
        TURN.with_borrow(|turn| {
            if let Some(waker) = turn {
                waker.wake_by_ref();
            }
        });
    }
}
