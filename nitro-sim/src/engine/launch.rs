//! A node behind the links, on any engine: its host is made, its role runs, its end is noted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use nitro::host::tasks::panic_message;
use nitro::host::{Clock, Tasks};
use nitro::latest;
use nitro::time::{Instant, WallTime};
use serde_json::Value;

use crate::fault::Fault;
use crate::machine::{Lifeline, Machines, Watched};
use crate::network::{Attached, Attachment, Links, Opens};
use crate::operation::PlannedOperation;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::scenario::Network;
use crate::system::{Node, NodeParts, Role, System};
use crate::trace::{EventKind, OperationOutcome};

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

/// The civil time at which every run begins: 2026-01-01T00:00:00Z.
pub(super) const EPOCH_UNIX_SECONDS: u64 = 1_767_225_600;

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

/// What all lives of a node have in common.
pub(super) struct Launch {
    pub(super) name: Arc<str>,
    pub(super) number: usize,
    pub(super) address: IpAddr,
    pub(super) role_name: String,
    pub(super) role: Role,
    pub(super) index: usize,
    pub(super) peers: Arc<BTreeMap<String, Vec<String>>>,
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) operations: Vec<PlannedOperation>,
    pub(super) machines: Arc<Machines>,
    pub(super) links: Links,
    pub(super) recorder: Recorder,
    pub(super) life: Mutex<Life>,
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
    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("no panic while a life is held")
    }

    /// Begins a life, the number of which is returned.
    pub(super) fn begin(&self) -> u32 {
        *self.life() = Life::new();
        self.links.start(self.number)
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
            node: self.number,
            name: Arc::clone(&self.name),
            clock: Arc::clone(&clock),
            recorder: self.recorder.clone(),
        };
        let lifeline = self.life().lifeline.clone();
        let host = self.machines.host(
            &self.name,
            incarnation,
            Some(&lifeline),
            (Arc::clone(&clock), tasks),
            |tasks| Arc::new(Attachment::new(at, sockets, tasks)),
        );
        let node = Node::new(NodeParts {
            name: Arc::clone(&self.name),
            role: self.role_name.clone(),
            index: self.index,
            incarnation,
            host,
            peers: Arc::clone(&self.peers),
            parameters: self.parameters.clone(),
            operations: self.operations.clone(),
            recorder: self.recorder.clone(),
            stop: self.life().stop.subscribe(),
        });
        // The role is called within the caught future: it may panic before its first await.
        let role = Arc::clone(&self.role);
        let living = async move { role(node).await }.boxed();
        let living = Watched::new(
            Arc::clone(&clock),
            self.recorder.clone(),
            Some(&lifeline),
            living,
        );
        let error = match AssertUnwindSafe(living).catch_unwind().await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(format!("panicked: {}", panic_message(&*panic))),
        };
        let at_us = clock.now().as_nanos() / 1000;
        let kind = EventKind::NodeStopped { error };
        self.recorder.record(at_us, Some(&self.name), kind);
        self.life().is_over = true;
    }
}

/// The nodes of a plan, none of which lives yet.
pub(super) fn launches(
    plan: &Plan,
    system: &System,
    nodes: &[(Arc<str>, IpAddr)],
    machines: &Arc<Machines>,
    links: &Links,
    recorder: &Recorder,
) -> Vec<Arc<Launch>> {
    let mut peers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let parameters: BTreeMap<String, Value> = plan
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), serde_json::json!(value)))
        .collect();
    for node in &plan.nodes {
        let names = peers.entry(node.role.clone()).or_default();
        names.push(node.name.clone());
    }
    let peers = Arc::new(peers);
    let launch = |(number, (name, address)): (usize, &(Arc<str>, IpAddr))| {
        let role_name = plan.nodes[number].role.clone();
        let role = system.find_role(&role_name);
        let is_own = |other: &&crate::operation::PlannedOperation| other.node == **name;
        Arc::new(Launch {
            name: Arc::clone(name),
            number,
            address: *address,
            role: Arc::clone(role.expect("a plan's roles are its system's")),
            index: peers[&role_name]
                .iter()
                .position(|n| *n == **name)
                .unwrap_or(0),
            role_name,
            peers: Arc::clone(&peers),
            parameters: parameters.clone(),
            operations: plan.operations.iter().filter(is_own).cloned().collect(),
            machines: Arc::clone(machines),
            links: links.clone(),
            recorder: recorder.clone(),
            life: Mutex::new(Life::new()),
        })
    };
    nodes.iter().enumerate().map(launch).collect()
}

/// Notes which operations of a plan nobody came to begin.
pub(super) fn skip_unsettled(plan: &Plan, recorder: &Recorder, at_us: u64) {
    for operation in &plan.operations {
        if !recorder.is_settled(operation.id) {
            let kind = EventKind::Outcome {
                operation: operation.id,
                outcome: OperationOutcome::Skipped,
            };
            recorder.unsilence(&operation.node);
            recorder.record(at_us, Some(&operation.node), kind);
        }
    }
}
