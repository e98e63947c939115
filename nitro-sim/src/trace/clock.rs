//! Which events happened before which: a vector clock for every event, made of the trace in one
//! pass.
//!
//! What a node does is in order, across its crashes too, as its disk survives them; a message is
//! sent before it is read. Nothing else orders events of different nodes: not the time, and not
//! the opening and closing of streams, which carry no bytes.

use std::collections::BTreeMap;

use super::{EventKind, Trace};

/// The vector clocks of a trace's events, which are named by their place from 0.
///
/// Only a reading changes what a node knows of others. So an event has the count of its node's
/// events, and a row of counts that it shares with all since the node last read.
#[derive(Clone, Debug)]
pub struct Clocks {
    nodes: usize,
    stamps: Vec<Option<Stamp>>,
    /// Rows of one count a node, one after the other.
    rows: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Stamp {
    node: usize,
    /// How many events its node has made, this one included.
    count: u32,
    /// What its node knew of the others.
    row: usize,
}

impl Clocks {
    /// The clocks of a trace.
    pub fn of(trace: &Trace) -> Self {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for event in trace.events() {
            if let Some(node) = event.node.as_deref() {
                let next = numbers.len();
                numbers.entry(node).or_insert(next);
            }
        }
        let nodes = numbers.len();
        let mut clocks = Self {
            nodes,
            stamps: Vec::with_capacity(trace.events().len()),
            rows: vec![0; nodes],
        };
        // What each node has made and knows; at first they share a row of nothing.
        let mut now: Vec<(u32, usize)> = vec![(0, 0); nodes];
        for event in trace.events() {
            let node = event.node.as_deref().and_then(|node| numbers.get(node));
            let stamp = node.map(|node| {
                let (count, row) = &mut now[*node];
                *count += 1;
                if let EventKind::Received { message } = &event.kind
                    && let Some(read) = clocks.read(*row, *message)
                {
                    *row = read;
                }
                Stamp {
                    node: *node,
                    count: *count,
                    row: *row,
                }
            });
            clocks.stamps.push(stamp);
        }
        clocks
    }

    /// A new row: what a node knew, and what the sender of a message knew.
    fn read(&mut self, row: usize, message: u64) -> Option<usize> {
        let sent = self.stamp(usize::try_from(message).ok()?)?;
        let next = self.rows.len() / self.nodes;
        for node in 0..self.nodes {
            let own = self.rows[row * self.nodes + node];
            self.rows.push(own.max(self.count(sent, node)));
        }
        Some(next)
    }

    fn stamp(&self, event: usize) -> Option<Stamp> {
        self.stamps.get(event).copied().flatten()
    }

    /// How many events of a node had happened before or at a stamp.
    fn count(&self, stamp: Stamp, node: usize) -> u32 {
        match node == stamp.node {
            true => stamp.count,
            false => self.rows[stamp.row * self.nodes + node],
        }
    }

    /// Whether an event happened before another. Of two for which it is false both ways, neither
    /// can have been a cause of the other. What is done to the cluster from outside has no clock.
    pub fn happened_before(&self, one: usize, other: usize) -> bool {
        one != other && self.is_known_to(one, other)
    }

    /// Whether an event happened before another or is the same.
    pub fn is_known_to(&self, one: usize, other: usize) -> bool {
        let (Some(one), Some(other)) = (self.stamp(one), self.stamp(other)) else {
            return false;
        };
        one.count <= self.count(other, one.node)
    }

    /// The events that happened before any of these, and these: whether each event of the trace
    /// is among them.
    pub fn past_of(&self, events: &[usize]) -> Vec<bool> {
        let mut known = vec![0; self.nodes];
        for stamp in events.iter().filter_map(|event| self.stamp(*event)) {
            for (node, most) in known.iter_mut().enumerate() {
                *most = self.count(stamp, node).max(*most);
            }
        }
        let is_known = |stamp: &Option<Stamp>| stamp.is_some_and(|at| at.count <= known[at.node]);
        self.stamps.iter().map(is_known).collect()
    }
}

#[cfg(test)]
mod tests;
