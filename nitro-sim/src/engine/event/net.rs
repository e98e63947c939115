//! The network of a run. For now streams that keep their order, behind the links of every engine.

mod pipe;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nitro::host::Network;
use nitro::host::tasks::TokioTasks;
use nitro::time::Instant;

use super::clock::EventClock;
use crate::draw::Draw;
use crate::fault::Fault;
use crate::network::{Attached, Attachment, Links};
use crate::record::Recorder;
use pipe::{Core, Sockets};

/// The network while nothing is wrong with it.
#[derive(Clone, Debug)]
pub(super) struct NetSettings {
    /// How long a message takes, in microseconds: at least and at most.
    pub(super) latency_us: [u64; 2],
    /// The share of messages lost, 0 to 1.
    pub(super) loss: f64,
}

/// The network of a cluster. A clone is the same network.
#[derive(Clone)]
pub(super) struct Net {
    core: Arc<Mutex<Core>>,
    links: Links,
    recorder: Recorder,
    nodes: Arc<[(Arc<str>, IpAddr)]>,
}

impl Net {
    pub(super) fn new(
        seed: u64,
        nodes: &[(Arc<str>, IpAddr)],
        settings: NetSettings,
        recorder: Recorder,
    ) -> Self {
        let least = Duration::from_micros(settings.latency_us[0]);
        let links = Links::new(seed, nodes, settings.loss, least, recorder.clone());
        let core = Core {
            draw: Draw::new(seed, "latency"),
            latency_us: settings.latency_us,
            now: 0,
            serial: 0,
            due: BTreeMap::new(),
            pipes: Vec::new(),
            listeners: BTreeMap::new(),
            answers: BTreeMap::new(),
            next_port: 49_152,
        };
        Self {
            core: Arc::new(Mutex::new(core)),
            links,
            recorder,
            nodes: nodes.into(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core
            .lock()
            .expect("no panic while the network is held")
    }

    pub(super) fn next_due(&self) -> Option<(Instant, usize)> {
        let core = self.lock();
        let (at, what) = core.due.first_key_value()?;
        Some((Instant::from_nanos(at.0), what.0))
    }

    pub(super) fn deliver(&self, node: usize, now: Instant) {
        let wakers = self.lock().deliver(node, now.as_nanos());
        for waker in wakers {
            waker.wake();
        }
    }

    pub(super) fn set_now(&self, now: Instant) {
        self.lock().now = now.as_nanos();
    }

    pub(super) fn network(&self, node: usize) -> Arc<dyn Network> {
        let sockets = Sockets {
            node,
            core: Arc::clone(&self.core),
            nodes: Arc::clone(&self.nodes),
        };
        let at = Attached {
            links: self.links.clone(),
            node,
            name: Arc::clone(&self.nodes[node].0),
            clock: Arc::new(EventClock::begin()),
            recorder: self.recorder.clone(),
        };
        let tasks = Arc::new(TokioTasks);
        Arc::new(Attachment::new(at, Arc::new(sockets), tasks))
    }

    pub(super) fn begin_fault(&self, id: &str, fault: &Fault) {
        self.links.begin(id, fault);
    }

    pub(super) fn end_fault(&self, id: &str) {
        self.links.end(id);
    }

    pub(super) fn heal(&self) -> bool {
        self.links.heal()
    }

    pub(super) fn release(&self) -> bool {
        self.links.release()
    }

    pub(super) fn crash(&self, node: usize, fault: &str) {
        let at = Instant::from_nanos(self.lock().now);
        self.links.crash(node, at, fault);
        self.lock().clear(node);
    }

    pub(super) fn stop(&self, node: usize) {
        self.links.stop(node);
        self.lock().clear(node);
    }

    pub(super) fn start(&self, node: usize) -> u32 {
        self.links.start(node)
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.links.is_up(node)
    }
}
