//! One life of a node: its host is made, its role runs, its end is noted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::FutureExt;
use nitro::host::Clock;
use nitro::host::tasks::panic_message;
use nitro::latest;
use serde_json::Value;

use super::clock::{Death, VirtualClock};
use super::sockets::Sockets;
use crate::machine::{Lifeline, Machines, Watched};
use crate::network::{Attached, Attachment, Links};
use crate::operation::PlannedOperation;
use crate::record::Recorder;
use crate::system::{Node, NodeParts, Role};
use crate::trace::EventKind;

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

    /// Begins a life. Called outside of the node's runtime; what it returns runs on it, and does
    /// not end by itself: the cluster ends it, so that the node's sockets close.
    pub(super) fn begin(self: &Arc<Self>) -> impl Future<Output = turmoil::Result> + use<> {
        let incarnation = self.links.start(self.number);
        *self.life() = Life::new();
        let launch = Arc::clone(self);
        async move {
            launch.live(incarnation).await;
            std::future::pending().await
        }
    }

    async fn live(&self, incarnation: u32) {
        let clock = Arc::new(VirtualClock::begin(self.life().death.clone()));
        let sockets = Sockets {
            name: Arc::clone(&self.name),
            address: self.address,
        };
        let at = Attached {
            links: self.links.clone(),
            node: self.number,
            name: Arc::clone(&self.name),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            recorder: self.recorder.clone(),
        };
        let lifeline = self.life().lifeline.clone();
        let host = self.machines.host(
            &self.name,
            incarnation,
            Some(&lifeline),
            Arc::clone(&clock) as Arc<dyn Clock>,
            |tasks| Arc::new(Attachment::new(at, Arc::new(sockets), tasks)),
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
            Arc::clone(&clock) as _,
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
