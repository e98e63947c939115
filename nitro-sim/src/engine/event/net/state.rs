//! All that a network remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use nitro::time::Instant;

use super::connection::Connection;
use super::datagram::{Parcel, Socket};
use super::link::{Fate, Links};
use super::names::Names;
use super::schedule::Schedule;
use super::settings::NetSettings;
use super::slab::{Id, Slab};
use crate::record::Recorder;
use crate::trace::{EventKind, MessageOutcome};

/// How long a message takes within one node.
const WITHIN_A_NODE: Duration = Duration::from_micros(10);

/// The first port given to who asks for any, as IANA has it.
const EPHEMERAL_FIRST: u16 = 49_152;

/// All that a network remembers.
pub(super) struct State {
    pub(super) settings: NetSettings,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) names: Names,
    pub(super) links: Links,
    pub(super) schedule: Schedule<Event>,
    pub(super) connections: Slab<Connection>,
    pub(super) listeners: Slab<Queue>,
    pub(super) sockets: Slab<Socket>,
    /// Who receives what is sent to a group: node and port.
    pub(super) groups: BTreeMap<IpAddr, BTreeSet<(usize, u16)>>,
    /// What waits until a link is released.
    pub(super) held: Vec<Held>,
    pub(super) recorder: Recorder,
    /// To be woken, and to be dropped, once nobody uses this: either may run other code.
    pub(super) woken: Vec<Waker>,
    pub(super) discarded: Vec<Waker>,
}

/// A node as its network knows it.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    pub(super) address: IpAddr,
    pub(super) incarnation: u32,
    pub(super) status: Status,
    pub(super) listeners: BTreeMap<u16, Id>,
    pub(super) sockets: BTreeMap<u16, Id>,
    /// The ends of streams that are on it.
    pub(super) ends: BTreeSet<(Id, usize)>,
    /// The ports of streams that it opened.
    pub(super) ports: BTreeSet<u16>,
    pub(super) last_port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Up,
    /// Its power is cut, by this fault.
    Crashed(Arc<str>),
    /// No process runs; the machine answers that nobody listens.
    Stopped,
}

/// Streams that wait to be accepted.
pub(super) struct Queue {
    pub(super) node: usize,
    pub(super) port: u16,
    /// It is heard on this node only.
    pub(super) is_local: bool,
    pub(super) waiting: VecDeque<Id>,
    /// How many openings have been answered and will wait here.
    pub(super) answered: usize,
    pub(super) waker: Option<Waker>,
}

/// What happens on the network at a time.
pub(super) enum Event {
    /// An opening reaches the node that is asked.
    Asked(Id),
    /// The answer reaches the opener.
    Answered(Id),
    /// An opening is tried again or given up.
    AskAgain(Id),
    /// What was sent from an end arrives at the other.
    Arrival(Id, usize),
    /// An end hears what was acknowledged.
    Hearing(Id, usize),
    /// An end sends again what is lost or unanswered.
    Again(Id, usize),
    /// An end is told that the other knows nothing of the stream.
    Reset(Id, usize),
    /// A datagram arrives.
    Datagram(Box<Parcel>),
}

/// What waits until a link is released.
pub(super) enum Held {
    Asking(Id),
    Answering(Id),
    Way(Id, usize),
    /// To be told to an end.
    Reset(Id, usize),
    Datagram(usize, Box<Parcel>),
}

impl Node {
    pub(super) fn new(name: Arc<str>, address: IpAddr) -> Self {
        Self {
            name,
            address,
            incarnation: 0,
            status: Status::Stopped,
            listeners: BTreeMap::new(),
            sockets: BTreeMap::new(),
            ends: BTreeSet::new(),
            ports: BTreeSet::new(),
            last_port: 0,
        }
    }

    /// A port that nothing uses, for which `is_taken` is false.
    pub(super) fn free_port(&mut self, is_taken: impl Fn(&Self, u16) -> bool) -> io::Result<u16> {
        for _ in EPHEMERAL_FIRST..=u16::MAX {
            self.last_port = self.last_port.wrapping_add(1).max(EPHEMERAL_FIRST);
            if !is_taken(self, self.last_port) {
                return Ok(self.last_port);
            }
        }
        let message = format!("every ephemeral port of {} is taken", self.name);
        Err(io::Error::new(ErrorKind::AddrNotAvailable, message))
    }

    /// Whether a stream of this node uses a port.
    pub(super) fn is_stream_port(&self, port: u16) -> bool {
        self.listeners.contains_key(&port) || self.ports.contains(&port)
    }
}

impl State {
    /// Records what happened on a node now.
    pub(super) fn record(&self, node: usize, kind: EventKind) -> Option<u64> {
        let at_us = self.now.as_nanos() / 1000;
        let name = &self.nodes[node].name;
        self.recorder.record(at_us, Some(name), kind)
    }

    pub(super) fn name(&self, node: usize) -> Arc<str> {
        Arc::clone(&self.nodes[node].name)
    }

    /// The fate of a message on a link; within one node nothing happens to it.
    pub(super) fn fate(&mut self, link: Option<usize>, bytes: usize) -> Fate {
        match link {
            Some(link) => self.links.fate(link, bytes, self.now),
            None => Fate::Arrives(self.now + WITHIN_A_NODE, false),
        }
    }

    /// What a message takes on a link that is not worth a draw.
    pub(super) fn typical(&self, link: Option<usize>) -> Duration {
        link.map_or(WITHIN_A_NODE, |link| self.links.typical(link))
    }

    /// Whether nothing gets through a link now, and why.
    pub(super) fn shut(&mut self, link: Option<usize>) -> Option<Fate> {
        link.and_then(|link| self.links.shut(link))
    }

    /// The link from one node to another; none within one.
    pub(super) fn link(&mut self, from: usize, to: usize) -> Option<usize> {
        (from != to).then(|| self.links.between(from, to))
    }

    /// Records a message that is sent: its place in the trace, where it is recorded.
    pub(super) fn record_message(
        &self,
        link: usize,
        bytes: usize,
        outcome: MessageOutcome,
    ) -> Option<u64> {
        if !self.settings.records_messages {
            return None;
        }
        let (from, to) = self.links.ends(link);
        let ends = [from, to].map(|node| &*self.nodes[node].name);
        let at_us = self.now.as_nanos() / 1000;
        self.recorder.message(at_us, ends, bytes as u64, outcome)
    }

    /// Counts something for the fault that cut a node's power, if one did.
    pub(super) fn touch_crash(&self, node: usize) {
        if let Status::Crashed(fault) = &self.nodes[node].status {
            self.recorder.touch(fault);
        }
    }

    /// The address of a node's port.
    pub(super) fn socket_address(&self, node: usize, port: u16) -> SocketAddr {
        SocketAddr::new(self.nodes[node].address, port)
    }

    /// Wakes whoever waits, once nobody uses this.
    pub(super) fn wake(&mut self, waker: Option<Waker>) {
        self.woken.extend(waker);
    }

    /// Puts a waker in the place of an earlier one.
    pub(super) fn replace(&mut self, earlier: Option<Waker>) {
        self.discarded.extend(earlier);
    }
}

/// The waker to keep of an earlier one and that of this poll, and the one to drop.
pub(super) fn renew(place: &mut Option<Waker>, new: &Waker) -> Option<Waker> {
    match place {
        Some(waker) if waker.will_wake(new) => None,
        _ => place.replace(new.clone()),
    }
}
