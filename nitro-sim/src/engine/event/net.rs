//! The network of the event engine: streams that behave as TCP does, datagrams and names, moved
//! by virtual time alone.
//!
//! It has no clock, no runtime and no thread. What is to happen stands in one schedule: the engine
//! asks [`Net::next_due`] what comes next and lets it happen with [`Net::deliver`]. What an event
//! costs does not grow with the number of nodes, links or streams.
//!
//! Streams, as a kernel has them:
//!
//! - opening one where nobody listens is refused after a round trip; where nobody answers it is
//!   asked for again after 1, 3, 7 and 15 seconds and times out after [`CONNECT_MAX`];
//! - silence is silence: what is lost is sent again 200 ms later, then twice that, and later bytes
//!   wait behind it; what is unacknowledged for [`SILENCE_MAX`] breaks the stream. So a stream
//!   goes on after a partition when its timer next runs out, not when the partition ends;
//! - closing one sends what was written and then the end, or a reset if something is unread;
//!   after a crash nothing is sent, and the node's next life answers old streams with resets;
//! - a writer waits once a send buffer and a receive buffer are full.
//!
//! What was in flight when a fault set in still arrives. Acknowledgements are not lost one by one,
//! as each makes up for those before. Absent: congestion control, keepalive, corruption, TIME_WAIT.
//!
//! [`CONNECT_MAX`]: crate::network::CONNECT_MAX
//! [`SILENCE_MAX`]: crate::network::SILENCE_MAX

mod connection;
mod datagram;
mod link;
mod names;
mod open;
mod receive;
mod schedule;
mod send;
mod settings;
mod slab;
mod sockets;
mod state;

use std::net::IpAddr;
use std::sync::Arc;
use std::task::Waker;

use nitro::host::Network;
use nitro::time::Instant;

use super::one_thread::OneThread;
use crate::fault::Fault;
use crate::record::Recorder;
use connection::Phase;
use link::Links;
use names::Names;
use schedule::Schedule;
use slab::Slab;
use sockets::Sockets;
use state::{Event, Node, State, Status};

pub(crate) use settings::NetSettings;

/// The network of a cluster. A clone is the same network.
#[derive(Clone)]
pub(crate) struct Net(Arc<OneThread<State>>);

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

impl Net {
    /// The network of nodes, by name and address, none of which has started.
    pub(crate) fn new(
        seed: u64,
        nodes: &[(Arc<str>, IpAddr)],
        settings: NetSettings,
        recorder: Recorder,
    ) -> Self {
        let names = nodes.iter().map(|(name, _)| Arc::clone(name)).collect();
        let node = |(name, address): &(Arc<str>, IpAddr)| Node::new(Arc::clone(name), *address);
        Self(Arc::new(OneThread::new(State {
            links: Links::new(seed, names, &settings, recorder.clone()),
            settings,
            now: Instant::ORIGIN,
            nodes: nodes.iter().map(node).collect(),
            names: Names::new(nodes),
            schedule: Schedule::new(),
            connections: Slab::new(),
            listeners: Slab::new(),
            sockets: Slab::new(),
            groups: Default::default(),
            held: Vec::new(),
            recorder,
            woken: Vec::new(),
            discarded: Vec::new(),
        })))
    }

    /// Runs `work` on the state, and wakes whoever it woke once nobody uses that: a waker may run
    /// or drop code that comes back here.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let (result, one, others) = self.0.with(|state| {
            let result = work(state);
            if state.woken.len() > 1 || !state.discarded.is_empty() {
                let woken = std::mem::take(&mut state.woken);
                return (
                    result,
                    None,
                    Some((woken, std::mem::take(&mut state.discarded))),
                );
            }
            // What most calls do: the list keeps its place.
            (result, state.woken.pop(), None)
        });
        one.into_iter().for_each(Waker::wake);
        if let Some((woken, discarded)) = others {
            drop(discarded);
            woken.into_iter().for_each(Waker::wake);
        }
        result
    }

    /// When the next thing happens, and the node it is of concern to. A node that is paused,
    /// stopped or down is no exception: its machine goes on, or swallows what arrives.
    pub(crate) fn next_due(&self) -> Option<(Instant, usize)> {
        self.0.with(|state| {
            let connections = &state.connections;
            state.schedule.prune(|at, event| match event {
                Event::AskAgain(id) => connections.get(*id).is_none_or(|found| !found.is_opening()),
                Event::Again(id, side) => {
                    let again = connections
                        .get(*id)
                        .and_then(|found| found.ways[*side].again);
                    again != Some(at)
                }
                _ => false,
            });
            state.schedule.next()
        })
    }

    /// Lets all happen that comes next and is due for a node, and wakes whoever waits for it on
    /// its sockets. It returns whether somebody was woken.
    pub(crate) fn deliver(&self, node: usize, now: Instant) -> bool {
        self.with(|state| {
            state.now = now;
            while let Some((_, event)) = state.schedule.take(node, now) {
                state.happen(event);
            }
            !state.woken.is_empty()
        })
    }

    /// What time it is in the cluster when the code of a node calls.
    pub(crate) fn set_now(&self, now: Instant) {
        self.with(|state| state.now = now);
    }

    /// The sockets of a node, for the life it is in.
    pub(crate) fn network(&self, node: usize) -> Arc<dyn Network> {
        Arc::new(Sockets {
            net: self.clone(),
            node,
            incarnation: self.with(|state| state.nodes[node].incarnation),
        })
    }

    /// Puts a fault of links or names in force; others change nothing here.
    pub(crate) fn begin_fault(&self, id: &str, fault: &Fault) {
        self.with(|state| {
            state.links.begin(id, fault);
            state.names.begin(id, fault);
        });
    }

    /// Ends a fault of links or names.
    pub(crate) fn end_fault(&self, id: &str) {
        self.with(|state| {
            state.names.end(id);
            if state.links.end(id) {
                state.send_held();
            }
        });
    }

    /// Ends every fault of links: whether there was one.
    pub(crate) fn heal(&self) -> bool {
        self.with(|state| {
            let was_any = state.links.heal();
            state.send_held();
            was_any
        })
    }

    /// Ends every hold: whether there was one.
    pub(crate) fn release(&self) -> bool {
        self.with(|state| {
            let was_any = state.links.release();
            state.send_held();
            was_any
        })
    }

    /// Cuts a node's power, by a fault: its sockets are gone and nobody is told.
    pub(crate) fn crash(&self, node: usize, fault: &str) {
        self.with(|state| state.crash(node, fault));
    }

    /// A node's process ends: the machine closes its sockets as a kernel does, and from now on
    /// answers that nobody listens.
    pub(crate) fn stop(&self, node: usize) {
        self.with(|state| state.stop(node));
    }

    /// A node starts: its next life, whose number is returned.
    pub(crate) fn start(&self, node: usize) -> u32 {
        self.with(|state| {
            let node = &mut state.nodes[node];
            node.status = Status::Up;
            node.incarnation += 1;
            node.incarnation
        })
    }

    /// Whether a node runs.
    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.with(|state| state.nodes[node].status == Status::Up)
    }
}

impl State {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Asked(id) => self.on_asked(id),
            Event::Answered(id) => self.on_answered(id),
            Event::AskAgain(id) => self.on_ask_again(id),
            Event::Arrival(id, side) => self.on_arrival(id, side),
            Event::Hearing(id, side) => self.on_hearing(id, side),
            Event::Again(id, side) => self.on_again(id, side),
            Event::Reset(id, side) => self.on_reset(id, side),
            Event::Datagram(parcel) => self.on_datagram(*parcel),
        }
    }

    fn crash(&mut self, node: usize, fault: &str) {
        let fault: Arc<str> = Arc::from(fault);
        self.nodes[node].status = Status::Crashed(Arc::clone(&fault));
        for (id, side) in std::mem::take(&mut self.nodes[node].ends) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.ways[side].abandon();
                self.retire(id, side, Phase::Crashed(Arc::clone(&fault)));
            }
        }
        // Whoever waited to be accepted is among the ends: nobody is left to be told.
        for id in std::mem::take(&mut self.nodes[node].listeners).into_values() {
            let queue = self.listeners.remove(id);
            self.replace(queue.and_then(|queue| queue.waker));
        }
        for id in std::mem::take(&mut self.nodes[node].sockets).into_values() {
            self.close_socket(id);
        }
    }

    fn stop(&mut self, node: usize) {
        self.nodes[node].status = Status::Stopped;
        for id in std::mem::take(&mut self.nodes[node].listeners).into_values() {
            self.close_listener(id);
        }
        for (id, side) in self.nodes[node].ends.clone() {
            self.close(id, side);
        }
        for id in std::mem::take(&mut self.nodes[node].sockets).into_values() {
            self.close_socket(id);
        }
    }
}

#[cfg(test)]
mod tests;
