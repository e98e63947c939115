//! A node behind the links, on any engine: its host is made, its role runs, its end is noted.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use nitro::host::{Clock, Tasks};
use nitro::latest;
use nitro::time::{Instant, WallTime};

use super::EPOCH_UNIX_SECONDS;
use super::part::{Given, Part};
use crate::fault::Fault;
use crate::machine::Lifeline;
use crate::network::{Attached, Attachment, Links, Opens};
use crate::record::Recorder;
use crate::scenario::Network;

/// Whether the links and the one clock of such an engine can do a fault.
pub(super) fn supports(engine: &str, fault: &Fault) -> Result<(), String> {
    let why = match fault {
        Fault::Slow { .. } => "cannot slow a node down",
        Fault::ClockJump { .. } | Fault::ClockOffset { .. } | Fault::ClockDrift { .. } => {
            "has one clock for all nodes"
        }
        Fault::StaleName { .. } => "has no name that is stale",
        _ => return Ok(()),
    };
    Err(refused(engine, why, fault))
}

/// Says that an engine refuses a fault, and why.
pub(super) fn refused(engine: &str, why: &str, fault: &Fault) -> String {
    let kind = fault.kind();
    format!("{engine} {why} ({kind}); the event engine can")
}

/// Whether the links can be such a network.
pub(super) fn supports_network(engine: &str, network: &Network) -> Result<(), String> {
    let distribution = network.latency.name();
    let latency = format!("no latency that is {distribution}");
    let what = match network {
        Network { links, .. } if !links.is_empty() => "no links that differ",
        Network { duplicate, .. } if *duplicate > 0.0 => "no duplicates",
        Network { reorder, .. } if *reorder > 0.0 => "no overtaking that is asked for",
        Network { mtu_bytes, .. } if mtu_bytes.is_some() => "no MTU",
        Network {
            bytes_per_second, ..
        } if bytes_per_second.is_some() => "no bandwidth",
        _ if network.latency.bounds_us().is_none() => &latency,
        _ => return Ok(()),
    };
    Err(format!("{engine} has {what}; the event engine has"))
}

/// The civil time at a point of a run.
pub(super) fn wall(at: Instant) -> WallTime {
    WallTime::from_unix_nanos(EPOCH_UNIX_SECONDS * 1_000_000_000 + at.as_nanos())
}

/// The time at which a life of a node ended; `u64::MAX` while it lasts.
///
/// What is dropped with a crashed node may still ask for the time, outside of any runtime.
#[derive(Clone, Debug)]
pub(super) struct Death(Arc<AtomicU64>);

impl Death {
    pub(super) fn none() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }

    pub(super) fn set(&self, at: Instant) {
        self.0.store(at.as_nanos(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Instant> {
        let nanos = self.0.load(Ordering::Relaxed);
        (nanos != u64::MAX).then(|| Instant::from_nanos(nanos))
    }
}

/// What an engine gives to a life of a node.
pub(super) struct Machine {
    pub(super) clock: Arc<dyn Clock>,
    /// The engine's network, below the links.
    pub(super) sockets: Arc<dyn Opens>,
    /// What runs the node's tasks.
    pub(super) tasks: Arc<dyn Tasks>,
}

/// A node's part, and what its lives have in common behind the links.
pub(super) struct Launch {
    pub(super) part: Part,
    pub(super) address: IpAddr,
    links: Links,
    recorder: Recorder,
    life: Mutex<Life>,
}

/// The current life of a node.
pub(super) struct Life {
    pub(super) death: Death,
    /// Whether its role has returned.
    pub(super) is_over: bool,
    /// What ends its tasks.
    pub(super) lifeline: Lifeline,
    /// Tells the node that it is asked to stop.
    pub(super) stop: latest::Sender<bool>,
}

impl Life {
    pub(super) fn new() -> Self {
        Self {
            death: Death::none(),
            is_over: false,
            lifeline: Lifeline::default(),
            stop: latest::Sender::new(false),
        }
    }
}

impl Launch {
    /// A node that does not live yet.
    pub(super) fn new(part: Part, address: IpAddr, links: &Links, recorder: &Recorder) -> Self {
        Self {
            part,
            address,
            links: links.clone(),
            recorder: recorder.clone(),
            life: Mutex::new(Life::new()),
        }
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("no panic while a life is held")
    }

    /// Begins a life, the number of which is returned.
    pub(super) fn begin(&self) -> u32 {
        *self.life() = Life::new();
        self.links.start(self.part.number)
    }

    /// Lives a life, from its role's start to its end.
    pub(super) async fn live(&self, incarnation: u32, machine: Machine) {
        let Machine {
            clock,
            sockets,
            tasks,
        } = machine;
        let at = Attached {
            links: self.links.clone(),
            node: self.part.number,
            name: Arc::clone(&self.part.name),
            clock: Arc::clone(&clock),
            recorder: self.recorder.clone(),
        };
        let (lifeline, stop) = {
            let life = self.life();
            (life.lifeline.clone(), life.stop.subscribe())
        };
        let given = Given {
            clock,
            tasks,
            lifeline: Some(lifeline),
            network: |tasks| Arc::new(Attachment::new(at, sockets, tasks)) as _,
            stop,
        };
        self.part.life(incarnation, given).await;
        self.life().is_over = true;
    }
}
