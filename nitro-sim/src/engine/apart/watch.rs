//! Where a run is: for its logs, for an escape, and for the process that waits for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static NODE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The node whose turn it is on this thread, by its number.
pub(in crate::engine) fn node() -> Option<usize> {
    NODE.get()
}

/// Nothing that comes now is of a node.
pub(in crate::engine) fn leave() {
    NODE.set(None);
}

/// Where a run is, in memory that both processes see.
#[derive(Debug, Default)]
pub(in crate::engine) struct Page {
    /// How many turns nodes have taken.
    turns: AtomicU64,
    /// The node whose turn it is, by its number from 1 on; 0 while it is nobody's.
    node: AtomicU64,
    /// When, in virtual microseconds.
    at_us: AtomicU64,
}

/// What a page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Place {
    /// How many turns nodes have taken.
    pub(in crate::engine) turns: u64,
    /// The node whose turn it is, by its number; none while it is nobody's.
    pub(in crate::engine) node: Option<usize>,
    /// When, in virtual microseconds.
    pub(in crate::engine) at_us: u64,
}

impl Page {
    /// A node's turn begins.
    pub(in crate::engine) fn enter(&self, node: usize, at_us: u64) {
        NODE.set(Some(node));
        self.node.store(node as u64 + 1, Ordering::Relaxed);
        self.at_us.store(at_us, Ordering::Relaxed);
        let turns = self.turns.load(Ordering::Relaxed) + 1;
        self.turns.store(turns, Ordering::Relaxed);
    }

    /// The run is over: what comes now is its judgement.
    pub(in crate::engine) fn end(&self) {
        self.node.store(0, Ordering::Relaxed);
    }

    /// Where the run is.
    pub(in crate::engine) fn place(&self) -> Place {
        Place {
            turns: self.turns.load(Ordering::Relaxed),
            node: self
                .node
                .load(Ordering::Relaxed)
                .checked_sub(1)
                .map(|node| node as usize),
            at_us: self.at_us.load(Ordering::Relaxed),
        }
    }
}
