//! What ends the tasks of a node in one order, whatever order its runtime would drop them in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

/// The life of a node: when it is cut, the node's tasks drop what they do, oldest first.
///
/// A runtime that is dropped drops its tasks in an order that depends on the tasks of earlier
/// runs in the same process; what they do while they are dropped, as closing sockets, would then
/// differ between two runs of one plan.
#[derive(Clone, Debug, Default)]
pub struct Lifeline(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    next: u64,
    tasks: BTreeMap<u64, Option<Waker>>,
}

impl Lifeline {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while a life is held")
    }

    /// Ends the life: every task is woken to drop what it does.
    pub fn cut(&self) {
        let mut state = self.lock();
        state.is_cut = true;
        let wakers: Vec<Waker> = state.tasks.values_mut().filter_map(Option::take).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn join(&self) -> Joined {
        let mut state = self.lock();
        let task = state.next;
        state.next += 1;
        state.tasks.insert(task, None);
        drop(state);
        let lifeline = self.clone();
        Joined { lifeline, task }
    }
}

/// A task's part in the life of its node.
#[derive(Debug)]
pub(super) struct Joined {
    lifeline: Lifeline,
    task: u64,
}

impl Joined {
    /// Whether the life is over; if not, `waker` is woken when it is.
    pub(super) fn is_cut(&self, waker: &Waker) -> bool {
        let mut state = self.lifeline.lock();
        if !state.is_cut {
            let held = state.tasks.entry(self.task).or_default();
            if !held.as_ref().is_some_and(|held| held.will_wake(waker)) {
                *held = Some(waker.clone());
            }
        }
        state.is_cut
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.lifeline.lock().tasks.remove(&self.task);
    }
}
