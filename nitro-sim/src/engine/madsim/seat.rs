//! Whose turn it is: what a node's tasks do is known to be the node's.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use madsim::time::TimeHandle;

use super::clock::now;
use crate::engine::apart::watch::{self, Page};
use crate::record::Recorder;

/// How often the tasks of a run may be polled between two looks of the cluster, which come every 10
/// ms. A poll takes at most 100 ns of virtual time: where more fit in between, something is ready
/// without end.
const POLLS_BETWEEN_LOOKS_MAX: u64 = 90_000;

/// Where the tasks of a node sit.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) node: usize,
    pub(super) run: Watch,
    pub(super) pauses: Pauses,
}

/// What a node stands still for: madsim can pause a node too, but does not tell whether that kept it
/// from anything.
#[derive(Clone)]
pub(super) struct Pauses {
    recorder: Recorder,
    state: Arc<Mutex<Still>>,
}

#[derive(Default)]
struct Still {
    /// The faults in force.
    faults: Vec<String>,
    /// The tasks that would have gone on.
    wakers: Vec<Waker>,
}

impl Pauses {
    pub(super) fn new(recorder: Recorder) -> Self {
        let state = Arc::default();
        Self { recorder, state }
    }

    fn lock(&self) -> MutexGuard<'_, Still> {
        self.state.lock().expect("no panic while a pause is held")
    }

    /// A fault has the node stand still.
    pub(super) fn begin(&self, fault: &str) {
        self.lock().faults.push(fault.to_owned());
    }

    /// A fault has its end.
    pub(super) fn end(&self, fault: &str) {
        self.end_where(|other| other == fault);
    }

    /// Every pause has its end: whether there was one.
    pub(super) fn end_all(&self) -> bool {
        self.end_where(|_| true)
    }

    fn end_where(&self, ends: impl Fn(&str) -> bool) -> bool {
        let mut state = self.lock();
        let before = state.faults.len();
        state.faults.retain(|fault| !ends(fault));
        let has_ended = state.faults.len() < before;
        let woken = match state.faults.is_empty() {
            true => std::mem::take(&mut state.wakers),
            false => Vec::new(),
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        has_ended
    }

    /// Whether a task that would go on may not, which is noted with the faults that keep it.
    fn keep(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        for fault in &state.faults {
            self.recorder.touch(fault);
        }
        let is_kept = !state.faults.is_empty();
        if is_kept && state.wakers.iter().all(|other| !other.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        is_kept
    }
}

/// What a run says of itself while it goes on.
#[derive(Clone)]
pub(super) struct Watch {
    pub(super) page: &'static Page,
    pub(super) time: TimeHandle,
    /// The recorder's time.
    pub(super) time_us: Arc<AtomicU64>,
    /// How often tasks were polled since the cluster looked.
    pub(super) polls: Arc<AtomicU64>,
    /// The node that was polled more often than it may be, by its number from 1 on.
    pub(super) spun: Arc<AtomicU64>,
}

impl Watch {
    /// The time in microseconds, which the recorder is told.
    pub(super) fn now_us(&self) -> u64 {
        let now_us = now(&self.time).as_nanos() / 1000;
        self.time_us.store(now_us, Ordering::Relaxed);
        now_us
    }

    /// The cluster looks: what time it is, and which node was polled without end, and how often.
    pub(super) fn look(&self) -> (u64, Option<(usize, u64)>) {
        let polls = self.polls.swap(0, Ordering::Relaxed);
        let spun = self.spun.load(Ordering::Relaxed).checked_sub(1);
        (self.now_us(), spun.map(|node| (node as usize, polls)))
    }
}

/// A task of a node.
pub(super) struct Seated<T> {
    pub(super) seat: Seat,
    pub(super) future: BoxFuture<'static, T>,
}

impl<T> Future for Seated<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Seat { node, run, pauses } = &self.seat;
        if pauses.keep(context.waker()) {
            return Poll::Pending;
        }
        if run.polls.fetch_add(1, Ordering::Relaxed) >= POLLS_BETWEEN_LOOKS_MAX {
            // Nobody goes on, until the cluster looks and ends the run.
            run.spun.store(*node as u64 + 1, Ordering::Relaxed);
            return Poll::Pending;
        }
        run.page.enter(*node, run.now_us());
        let polled = self.future.as_mut().poll(context);
        watch::leave();
        polled
    }
}
