//! A node as its role sees it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use nitro::error::{Error, Result};
use nitro::host::Host;
use nitro::latest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::operation::PlannedOperation;
use crate::record::Recorder;
use crate::trace::EventKind;

/// The name under which [`Node::asks`] notes what an operation asks.
pub const ASKS: &str = "asks";

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<NodeParts>);

/// What an engine makes a node of.
pub struct NodeParts {
    /// Its name.
    pub name: Arc<str>,
    /// Its role.
    pub role: String,
    /// Its place among the nodes of its role, from 0.
    pub index: usize,
    /// How many times it has started, this one included.
    pub incarnation: u32,
    /// Its machine.
    pub host: Host,
    /// The names of all nodes by role.
    pub peers: Arc<BTreeMap<String, Vec<String>>>,
    /// What the system is told.
    pub parameters: BTreeMap<String, Value>,
    /// The operations planned for it, by time.
    pub operations: Arc<[PlannedOperation]>,
    /// What is recorded goes here.
    pub recorder: Recorder,
    /// Turns true when the node is asked to stop.
    pub stop: latest::Receiver<bool>,
}

impl Node {
    /// The node of its parts.
    pub fn new(parts: NodeParts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn parts(&self) -> &NodeParts {
        &self.0
    }

    /// Its name, such as `server-1`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its role.
    pub fn role(&self) -> &str {
        &self.0.role
    }

    /// Its place among the nodes of its role, from 0.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// How many times it has started, this one included.
    pub fn incarnation(&self) -> u32 {
        self.0.incarnation
    }

    /// Its machine: all of time, sockets, randomness, tasks and files. The disk survives crashes.
    pub fn host(&self) -> &Host {
        &self.0.host
    }

    /// The names of the nodes of a role, itself included, which `host().network` looks up; none
    /// for a role the scenario does not have.
    pub fn peers(&self, role: &str) -> &[String] {
        self.0.peers.get(role).map_or(&[], Vec::as_slice)
    }

    /// A parameter of the scenario.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when there is none of this name or it is of another type.
    pub fn parameter<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let found = self.0.parameters.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.parameters.keys().map(String::as_str).collect();
            let known = known.join(", ");
            Error::invalid_argument(format!("no parameter {name:?}; the scenario has: {known}"))
        })?;
        serde_json::from_value(found.clone())
            .map_err(|error| Error::invalid_argument(format!("parameter {name:?}: {error}")))
    }

    /// A parameter of the scenario, or `default` where it has none of this name.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` when it is of another type.
    pub fn parameter_or<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T> {
        match self.0.parameters.contains_key(name) {
            true => self.parameter(name),
            false => Ok(default),
        }
    }

    /// Waits until the node is asked to stop, as by SIGTERM: the role then ends in its own order.
    pub async fn stop_requested(&self) {
        let mut stop = self.0.stop.clone();
        if stop.wait_for(|is_asked| *is_asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending().await
        }
    }

    /// Records a fact, for the system's invariants and for whoever reads the trace.
    pub fn note(&self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        self.record(EventKind::Note { name, value });
    }

    /// Records what an operation asks besides its key and value, such as what a compare-and-swap
    /// expects, for the models that its history is held against.
    pub fn asks(&self, operation: u64, asks: impl Into<Value>) {
        let asks: Value = asks.into();
        self.note(ASKS, json!({ "operation": operation, "asks": asks }));
    }

    pub(crate) fn record(&self, kind: EventKind) {
        let at_us = self.0.host.clock.now().as_nanos() / 1000;
        self.0.recorder.record(at_us, Some(self.name()), kind);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.0.name)
            .field("incarnation", &self.0.incarnation)
            .finish_non_exhaustive()
    }
}
