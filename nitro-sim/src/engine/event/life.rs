//! A life of a node on the event engine, and where a node is found.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nitro::latest;

use super::clock::EventClock;
use super::net::Net;
use super::timers::Timers;
use super::turn::NodeTasks;
use crate::engine::part::{Given, Part};
use crate::plan::{Plan, PlannedNode};

/// The names and addresses of a plan's nodes: 10.0.0.1 and on, by their place in the plan.
pub(super) fn addresses(plan: &Plan) -> Vec<(Arc<str>, IpAddr)> {
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let numbered = plan.nodes.iter().zip(first..);
    let address =
        |(node, ip): (&PlannedNode, u32)| (node.name.as_str().into(), Ipv4Addr::from(ip).into());
    numbered.map(address).collect()
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

impl Life {
    /// Begins a life on the runtime that is current: what the engine holds of it, and what the
    /// node does.
    pub(super) fn begin(
        part: &Part,
        net: &Net,
        incarnation: u32,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let clock = EventClock::begin();
        let life = Self {
            stop: latest::Sender::new(false),
            is_over: Arc::new(AtomicBool::new(false)),
            timers: clock.timers().clone(),
        };
        let network = net.network(part.number);
        let given = Given {
            clock: Arc::new(clock),
            tasks: Arc::new(NodeTasks),
            // A run's process is new, so its runtimes drop their tasks in one order.
            lifeline: None,
            network: |_| network,
            stop: life.stop.subscribe(),
        };
        let living = part.life(incarnation, given);
        let is_over = Arc::clone(&life.is_over);
        let live = async move {
            living.await;
            is_over.store(true, Ordering::Relaxed);
        };
        (life, live)
    }
}
