//! The part that a node has in a run, on any engine: what its lives have in common, and what one
//! life does, from its role's start to its end.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use nitro::host::tasks::panic_message;
use nitro::host::{Clock, Network, Tasks};
use nitro::latest;
use serde_json::Value;

use super::tricks;
use crate::machine::{Lifeline, Machines, Watched};
use crate::operation::PlannedOperation;
use crate::plan::{Plan, PlannedNode};
use crate::record::Recorder;
use crate::system::{Node, NodeParts, Role, System};
use crate::trace::{EventKind, OperationOutcome};

/// What all lives of a node have in common.
pub(super) struct Part {
    pub(super) name: Arc<str>,
    /// Its place in the plan.
    pub(super) number: usize,
    role_name: String,
    role: Role,
    index: usize,
    peers: Arc<BTreeMap<String, Vec<String>>>,
    parameters: BTreeMap<String, Value>,
    operations: Arc<[PlannedOperation]>,
    pub(super) machines: Arc<Machines>,
    recorder: Recorder,
}

/// What an engine gives to a life of a node.
pub(super) struct Given<N> {
    pub(super) clock: Arc<dyn Clock>,
    /// What runs the node's tasks.
    pub(super) tasks: Arc<dyn Tasks>,
    /// What ends them; none where the engine drops them in one order itself.
    pub(super) lifeline: Option<Lifeline>,
    /// Makes its network, whose own work runs on the tasks.
    pub(super) network: N,
    /// Tells the node that it is asked to stop.
    pub(super) stop: latest::Receiver<bool>,
}

/// The parts of a plan's nodes, none of which lives yet.
pub(super) fn parts(plan: &Plan, system: &System, recorder: &Recorder) -> Vec<Part> {
    let names: Vec<Arc<str>> = plan.nodes.iter().map(|n| n.name.as_str().into()).collect();
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
    let part = |(number, node): (usize, &PlannedNode)| Part {
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
        operations: operations.remove(&*node.name).unwrap_or_default().into(),
        machines: Arc::clone(&machines),
        recorder: recorder.clone(),
    };
    plan.nodes.iter().enumerate().map(part).collect()
}

impl Part {
    /// What the node does in a life: its host is made now; its role runs, and its end is noted, as
    /// what is returned is polled.
    pub(super) fn life<N>(
        &self,
        incarnation: u32,
        given: Given<N>,
    ) -> impl Future<Output = ()> + Send + use<N>
    where
        N: FnOnce(Arc<dyn Tasks>) -> Arc<dyn Network>,
    {
        let Given {
            clock,
            tasks,
            lifeline,
            network,
            stop,
        } = given;
        let lifeline = lifeline.as_ref();
        let machine = (Arc::clone(&clock), tasks);
        let host = self
            .machines
            .host(&self.name, incarnation, lifeline, machine, network);
        let node = Node::new(NodeParts {
            name: Arc::clone(&self.name),
            role: self.role_name.clone(),
            index: self.index,
            incarnation,
            host,
            peers: Arc::clone(&self.peers),
            parameters: self.parameters.clone(),
            operations: Arc::clone(&self.operations),
            recorder: self.recorder.clone(),
            stop,
        });
        // The role is called within the caught future: it may panic before its first await.
        let role = Arc::clone(&self.role);
        let living = async move { role(node).await }.boxed();
        let recorder = self.recorder.clone();
        let living = Watched::new(Arc::clone(&clock), recorder.clone(), lifeline, living);
        let name = Arc::clone(&self.name);
        async move {
            let error = match AssertUnwindSafe(living).catch_unwind().await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("panicked: {}", panic_message(&*panic))),
            };
            let at_us = clock.now().as_nanos() / 1000;
            recorder.record(at_us, Some(&name), EventKind::NodeStopped { error });
        }
    }
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
