//! The links between nodes: what is wrong with each, and which nodes are up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nitro::time::Instant;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::passage::Passages;
use super::{LOSSES_MAX, OPEN_AGAIN_FIRST, RETRANSMIT_FIRST};
use crate::draw::Draw;
use crate::fault::Fault;
use crate::record::Recorder;

/// All links of a cluster. A clone is the same links.
#[derive(Clone, Debug)]
pub struct Links {
    shared: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    pub(super) passages: Arc<Passages>,
    recorder: Recorder,
    /// How long a message takes at least when nothing is wrong.
    pub(super) latency_min: Duration,
    /// How many microseconds a message takes, at least and at most, where the network below the
    /// links takes no time.
    latency_us: Option<[u64; 2]>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    links: BTreeMap<(usize, usize), Link>,
}

#[derive(Debug)]
struct Node {
    name: Arc<str>,
    address: IpAddr,
    incarnation: u32,
    status: Status,
    /// The incarnations that ended in a crash: when, and by which fault.
    crashes: BTreeMap<u32, (Instant, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Up,
    Crashed,
    Stopped,
}

/// One direction between two nodes. Each list holds the ids of the faults in force.
#[derive(Debug)]
struct Link {
    blocks: Vec<String>,
    holds: Vec<String>,
    added: Vec<(String, [u64; 2])>,
    losses: Vec<(String, f64)>,
    loss: f64,
    draw: Draw,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes, so much later than it would.
    Goes(Duration),
    /// It is lost; a stream sends it again so much later.
    Lost(Duration),
    /// It waits until the link opens; lost if it is a datagram.
    Blocked,
    /// It waits until it is released.
    Held,
}

/// Whether a stream can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It can, after so long.
    Open(Duration),
    /// Nobody answers.
    Silent,
    /// The node answers that nobody listens.
    Refused,
}

/// What became of the incarnation at the other end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It did not crash.
    Same,
    /// It crashed and has not restarted.
    Down,
    /// It crashed, at that time, and another has taken its place.
    Restarted(Instant),
}

impl Links {
    /// The links of nodes, by name and address, where nothing is wrong but `loss`.
    pub fn new(
        seed: u64,
        nodes: &[(Arc<str>, IpAddr)],
        loss: f64,
        latency_min: Duration,
        recorder: Recorder,
    ) -> Self {
        let mut links = BTreeMap::new();
        for (from, (from_name, _)) in nodes.iter().enumerate() {
            for (to, (to_name, _)) in nodes.iter().enumerate() {
                if from != to {
                    let draw = Draw::new(seed, &format!("link/{from_name}/{to_name}"));
                    links.insert((from, to), Link::new(loss, draw));
                }
            }
        }
        let node = |(name, address): &(Arc<str>, IpAddr)| Node {
            name: Arc::clone(name),
            address: *address,
            incarnation: 0,
            status: Status::Stopped,
            crashes: BTreeMap::new(),
        };
        let nodes = nodes.iter().map(node).collect();
        Self {
            shared: Arc::new(Mutex::new(State { nodes, links })),
            changed: Arc::new(Notify::new()),
            passages: Arc::default(),
            recorder,
            latency_min,
            latency_us: None,
        }
    }

    /// The same links, over a network that takes no time: each message takes as long as is drawn
    /// from these microseconds, at least and at most.
    pub fn with_latency(mut self, latency_us: [u64; 2]) -> Self {
        self.latency_us = Some(latency_us);
        self
    }

    /// How long a message takes now when nothing is wrong, besides what the network below takes.
    pub(super) fn latency(&self, from: usize, to: usize) -> Duration {
        let drawn = self.latency_us.and_then(|[least, most]| {
            let mut state = self.lock();
            let link = state.links.get_mut(&(from, to))?;
            Some(Duration::from_micros(link.draw.whole(least, most)))
        });
        drawn.unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().expect("no panic while links are held")
    }

    /// Ready at the next change of any link or node.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }

    /// The number of a node by name.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.lock()
            .nodes
            .iter()
            .position(|node| &*node.name == name)
    }

    /// The number of the node that has an address.
    pub fn node_at(&self, address: IpAddr) -> Option<usize> {
        let state = self.lock();
        state.nodes.iter().position(|node| node.address == address)
    }

    /// The name of a node.
    pub fn name(&self, node: usize) -> Arc<str> {
        Arc::clone(&self.lock().nodes[node].name)
    }

    /// The address of a node by name.
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        let node = self.node(name)?;
        Some(self.lock().nodes[node].address)
    }

    /// Whether a node runs.
    pub fn is_up(&self, node: usize) -> bool {
        self.lock().nodes[node].status == Status::Up
    }

    /// How often a node has started.
    pub fn incarnation(&self, node: usize) -> u32 {
        self.lock().nodes[node].incarnation
    }

    /// A node starts: its next incarnation, whose number is returned.
    pub fn start(&self, node: usize) -> u32 {
        let incarnation = {
            let node = &mut self.lock().nodes[node];
            node.status = Status::Up;
            node.incarnation += 1;
            node.incarnation
        };
        self.changed.notify_waiters();
        incarnation
    }

    /// A node crashes by a fault: its peers hear nothing more of it.
    pub fn crash(&self, node: usize, at: Instant, fault: &str) {
        {
            let node = &mut self.lock().nodes[node];
            node.status = Status::Crashed;
            node.crashes
                .insert(node.incarnation, (at, fault.to_owned()));
        }
        self.changed.notify_waiters();
    }

    /// A node's process ends; the machine lives and answers that nobody listens.
    pub fn stop(&self, node: usize) {
        self.lock().nodes[node].status = Status::Stopped;
        self.changed.notify_waiters();
    }

    /// Puts a fault of links in force; a fault of nodes changes nothing here.
    pub fn begin(&self, id: &str, fault: &Fault) {
        {
            let mut state = self.lock();
            for (from, to) in fault.links() {
                let number = |name: &str| state.nodes.iter().position(|n| &*n.name == name);
                let (Some(from), Some(to)) = (number(from), number(to)) else {
                    continue;
                };
                if let Some(link) = state.links.get_mut(&(from, to)) {
                    link.begin(id.to_owned(), fault);
                }
            }
        }
        self.changed.notify_waiters();
    }

    /// Ends a fault of links.
    pub fn end(&self, id: &str) {
        self.end_where(|_, other| other == id);
    }

    /// Ends every hold: whether there was one.
    pub fn release(&self) -> bool {
        self.end_where(|is_hold, _| is_hold)
    }

    /// Ends every fault of links: whether there was one.
    pub fn heal(&self) -> bool {
        self.end_where(|_, _| true)
    }

    fn end_where(&self, ends: impl Fn(bool, &str) -> bool) -> bool {
        let mut ended = false;
        for link in self.lock().links.values_mut() {
            ended |= link.end_where(&ends);
        }
        self.changed.notify_waiters();
        ended
    }

    /// Whether bytes flow from one node to another now.
    pub fn is_open(&self, from: usize, to: usize) -> bool {
        let state = self.lock();
        let link = state.links.get(&(from, to));
        link.is_none_or(|link| link.blocks.is_empty() && link.holds.is_empty())
    }

    /// Decides what becomes of a message, and counts it for each fault that has a part in it.
    pub fn fate(&self, from: usize, to: usize) -> Fate {
        self.decide(from, to, RETRANSMIT_FIRST)
    }

    fn decide(&self, from: usize, to: usize, again_first: Duration) -> Fate {
        let mut state = self.lock();
        let Some(link) = state.links.get_mut(&(from, to)) else {
            return Fate::Goes(Duration::ZERO);
        };
        let (fate, touched) = link.fate(again_first);
        for fault in touched {
            self.recorder.touch(&fault);
        }
        fate
    }

    /// Decides whether a stream can be opened, and counts it for each fault that has a part in
    /// it. Both directions must be open: the answer has to come back.
    pub fn reach(&self, from: usize, to: usize) -> Reach {
        let mut wait = Duration::ZERO;
        for (from, to) in [(from, to), (to, from)] {
            match self.decide(from, to, OPEN_AGAIN_FIRST) {
                Fate::Goes(later) | Fate::Lost(later) => wait += later + self.latency(from, to),
                Fate::Blocked | Fate::Held => return Reach::Silent,
            }
        }
        let state = self.lock();
        let node = &state.nodes[to];
        match node.status {
            Status::Up => Reach::Open(wait),
            Status::Stopped => Reach::Refused,
            Status::Crashed => {
                if let Some((_, fault)) = node.crashes.get(&node.incarnation) {
                    self.recorder.touch(fault);
                }
                Reach::Silent
            }
        }
    }

    /// What became of an incarnation of a node.
    pub fn peer(&self, node: usize, incarnation: u32) -> Peer {
        let state = self.lock();
        let node = &state.nodes[node];
        match node.crashes.get(&incarnation) {
            None => Peer::Same,
            Some((at, _)) if node.incarnation > incarnation => Peer::Restarted(*at),
            Some(_) => Peer::Down,
        }
    }

    /// Counts something for the fault that ended an incarnation of a node.
    pub fn touch_crash(&self, node: usize, incarnation: u32) {
        if let Some((_, fault)) = self.lock().nodes[node].crashes.get(&incarnation) {
            self.recorder.touch(fault);
        }
    }
}

impl Link {
    fn new(loss: f64, draw: Draw) -> Self {
        Self {
            blocks: Vec::new(),
            holds: Vec::new(),
            added: Vec::new(),
            losses: Vec::new(),
            loss,
            draw,
        }
    }

    fn begin(&mut self, id: String, fault: &Fault) {
        match fault {
            Fault::Partition { .. } | Fault::PartitionOneWay { .. } => self.blocks.push(id),
            Fault::Hold { .. } => self.holds.push(id),
            Fault::Latency { added_us, .. } => self.added.push((id, *added_us)),
            Fault::Loss { loss, .. } => self.losses.push((id, *loss)),
            _ => {}
        }
    }

    /// Ends the faults for which `ends(is it a hold, its id)`; whether there was one.
    fn end_where(&mut self, ends: &impl Fn(bool, &str) -> bool) -> bool {
        let count = |link: &Self| {
            link.blocks.len() + link.holds.len() + link.added.len() + link.losses.len()
        };
        let before = count(self);
        self.blocks.retain(|id| !ends(false, id));
        self.holds.retain(|id| !ends(true, id));
        self.added.retain(|(id, _)| !ends(false, id));
        self.losses.retain(|(id, _)| !ends(false, id));
        count(self) < before
    }

    /// What becomes of a message, and which faults have a part in it.
    fn fate(&mut self, again_first: Duration) -> (Fate, Vec<String>) {
        if !self.blocks.is_empty() {
            return (Fate::Blocked, self.blocks.clone());
        }
        if !self.holds.is_empty() {
            return (Fate::Held, self.holds.clone());
        }
        let mut touched = Vec::new();
        let mut later = Duration::ZERO;
        for (id, [least, most]) in &self.added {
            later += Duration::from_micros(self.draw.whole(*least, *most));
            touched.push(id.clone());
        }
        let mut losses = 0;
        while losses < LOSSES_MAX && self.is_lost(&mut touched) {
            later += again_first * 2u32.pow(losses);
            losses += 1;
        }
        match losses {
            0 => (Fate::Goes(later), touched),
            _ => (Fate::Lost(later), touched),
        }
    }

    fn is_lost(&mut self, touched: &mut Vec<String>) -> bool {
        let mut is_lost = self.loss > 0.0 && self.draw.chance(self.loss);
        for (id, loss) in &self.losses {
            if self.draw.chance(*loss) {
                touched.push(id.clone());
                is_lost = true;
            }
        }
        is_lost
    }
}
