//! What is still to happen on the network, by time, and at one time by node.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use nitro::time::Instant;

/// Things to happen, each at a time and of concern to a node.
pub(super) struct Schedule<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    count: u64,
}

struct Entry<T> {
    at: Instant,
    node: usize,
    /// Of two for one node at one time, what was scheduled first happens first.
    number: u64,
    what: T,
}

impl<T> Entry<T> {
    fn key(&self) -> (Instant, usize, u64) {
        (self.at, self.node, self.number)
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Schedule<T> {
    pub(super) fn new() -> Self {
        let heap = BinaryHeap::new();
        Self { heap, count: 0 }
    }

    pub(super) fn push(&mut self, at: Instant, node: usize, what: T) {
        self.count += 1;
        let number = self.count;
        self.heap.push(Reverse(Entry {
            at,
            node,
            number,
            what,
        }));
    }

    /// The time and node of what comes next.
    pub(super) fn next(&self) -> Option<(Instant, usize)> {
        self.heap.peek().map(|Reverse(next)| (next.at, next.node))
    }

    /// Takes away what comes next as long as `is_idle` says that nothing would happen.
    pub(super) fn prune(&mut self, is_idle: impl Fn(Instant, &T) -> bool) {
        while let Some(Reverse(next)) = self.heap.peek()
            && is_idle(next.at, &next.what)
        {
            self.heap.pop();
        }
    }

    /// What comes next, if it is due and of concern to this node.
    pub(super) fn take(&mut self, node: usize, now: Instant) -> Option<(Instant, T)> {
        let (at, next) = self.next()?;
        if at > now || next != node {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some((at, entry.what))
    }
}
