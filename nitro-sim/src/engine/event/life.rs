//! What the lives of a node have in common, and one life: its role, from its start to its end.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use nitro::host::tasks::panic_message;
use nitro::host::{Clock, Tasks};
use nitro::latest;
use serde_json::Value;

use super::clock::EventClock;
use super::net::Net;
use super::timers::Timers;
use super::turn::NodeTasks;
use crate::engine::tricks;
use crate::machine::disk::SimulatedDisk;
use crate::machine::{Machines, Watched};
use crate::operation::PlannedOperation;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::system::{Node, NodeParts, Role, System};
use crate::trace::EventKind;

/// What all lives of a node have in common.
pub(super) struct Part {
    pub(super) name: Arc<str>,
    pub(super) number: usize,
    role_name: String,
    role: Role,
    index: usize,
    peers: Arc<BTreeMap<String, Vec<String>>>,
    parameters: BTreeMap<String, Value>,
    operations: Vec<PlannedOperation>,
    pub(super) machines: Arc<Machines>,
    pub(super) disk: SimulatedDisk,
    recorder: Recorder,
}

/// The names and addresses of a plan's nodes: 10.0.0.1 and on, by their place in the plan.
pub(super) fn addresses(plan: &Plan) -> Vec<(Arc<str>, IpAddr)> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let numbered = plan.nodes.iter().zip(first..);
    let address = |(node, ip): (&crate::plan::PlannedNode, u32)| {
        (node.name.as_str().into(), Ipv4Addr::from(ip).into())
    };
    numbered.map(address).collect()
}

/// The parts of a plan's nodes.
pub(super) fn parts(plan: &Plan, system: &System, recorder: &Recorder) -> Vec<Part> {
    let names: Vec<Arc<str>> = addresses(plan).into_iter().map(|(name, _)| name).collect();
    let machines = Arc::new(Machines::new(
        plan.seed,
        &names,
        (plan.schedule.yields, tricks(plan)),
        recorder.clone(),
    ));
    let mut peers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut operations: BTreeMap<&str, Vec<PlannedOperation>> = BTreeMap::new();
    for operation in &plan.operations {
        let of_node = operations.entry(&operation.node).or_default();
        of_node.push(operation.clone());
    }
    let mut indices = Vec::new();
    for node in &plan.nodes {
        let of_role = peers.entry(node.role.clone()).or_default();
        indices.push(of_role.len());
        of_role.push(node.name.clone());
    }
    let peers = Arc::new(peers);
    let parameters = plan.parameters.iter();
    let parameters: BTreeMap<String, Value> = parameters
        .map(|(name, value)| (name.clone(), serde_json::json!(value)))
        .collect();
    let part = |(number, node): (usize, &crate::plan::PlannedNode)| Part {
        name: Arc::clone(&names[number]),
        number,
        role_name: node.role.clone(),
        role: Arc::clone(
            system
                .find_role(&node.role)
                .expect("a plan's roles are its system's"),
        ),
        index: indices[number],
        peers: Arc::clone(&peers),
        parameters: parameters.clone(),
        operations: operations.remove(&*node.name).unwrap_or_default(),
        machines: Arc::clone(&machines),
        disk: machines.disk(&names[number]).clone(),
        recorder: recorder.clone(),
    };
    plan.nodes.iter().enumerate().map(part).collect()
}

/// What the engine holds of a life.
pub(super) struct Life {
    /// Asks the role to stop.
    pub(super) stop: latest::Sender<bool>,
    /// Whether the role has returned.
    pub(super) is_over: Arc<AtomicBool>,
    /// What its clock has been asked to tell.
    pub(super) timers: Timers,
}

impl Part {
    /// Begins a life on the runtime that is current: what the engine holds of it, and what the
    /// node does.
    pub(super) fn begin(
        &self,
        net: &Net,
        incarnation: u32,
    ) -> (Life, impl Future<Output = ()> + Send + use<>) {
        let clock = EventClock::begin();
        let life = Life {
            stop: latest::Sender::new(false),
            is_over: Arc::new(AtomicBool::new(false)),
            timers: clock.timers().clone(),
        };
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let network = |_| net.network(self.number);
        let machine = (Arc::clone(&clock), Arc::new(NodeTasks) as Arc<dyn Tasks>);
        let host = self
            .machines
            // A run's process is new, so its runtimes drop their tasks in one order.
            .host(&self.name, incarnation, None, machine, network);
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
            stop: life.stop.subscribe(),
        });
        // The role is called within the caught future: it may panic before its first await.
        let role = Arc::clone(&self.role);
        let living = async move { role(node).await }.boxed();
        let recorder = self.recorder.clone();
        let living = Watched::new(Arc::clone(&clock), recorder.clone(), None, living);
        let (name, is_over) = (Arc::clone(&self.name), Arc::clone(&life.is_over));
        let live = async move {
            let error = match AssertUnwindSafe(living).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("panicked: {}", panic_message(&*panic))),
            };
            let at_us = clock.now().as_nanos() / 1000;
            recorder.record(at_us, Some(&name), EventKind::NodeStopped { error });
            is_over.store(true, Ordering::Relaxed);
        };
        (life, live)
    }
}
