//! The nodes of a run and what is done to them, tick by tick.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nitro::host::tasks::TokioTasks;
use nitro::time::Instant;

use super::clock::VirtualClock;
use super::sockets::Sockets;
use crate::engine::EPOCH_UNIX_SECONDS;
use crate::engine::launch::{Launch, Machine};
use crate::engine::part::{Part, parts, skip_unsettled};
use crate::fault::{Fault, Phase, PlannedFault};
use crate::network::Links;
use crate::operation::TOLERANCE;
use crate::plan::{Plan, PlannedNode};
use crate::record::Recorder;
use crate::system::System;
use crate::trace::{EventKind, Trace};

/// One step of virtual time: what tokio's timers can tell apart.
const TICK: Duration = Duration::from_millis(1);

/// How many segments of a stream, and how many streams to be accepted, may wait. Turmoil panics
/// above the latter.
const TCP_CAPACITY: usize = 1024;

/// How many datagrams may wait at a socket.
const UDP_CAPACITY: usize = 1024;

/// How long the run goes on after its planned end, so that an operation that is late by more than
/// the tolerance is seen to be.
const AFTERMATH: Duration = TOLERANCE.saturating_add(Duration::from_millis(5));

/// A cluster on turmoil.
pub(super) struct Cluster<'p> {
    sim: turmoil::Sim<'static>,
    plan: &'p Plan,
    launches: Vec<Arc<Launch>>,
    links: Links,
    recorder: Recorder,
    next_fault: usize,
    /// Nodes whose life is cut, and whose runtime goes once their tasks have seen it.
    dying: Vec<Arc<Launch>>,
    /// Nodes to be started after that.
    starting: Vec<Arc<Launch>>,
}

impl<'p> Cluster<'p> {
    /// The cluster of a plan, with its nodes about to start.
    pub(super) fn new(plan: &'p Plan, system: &System, recorder: Recorder) -> Self {
        let sim = builder(plan).build();
        let address = |node: &PlannedNode| (node.name.as_str().into(), sim.lookup(&*node.name));
        let nodes: Vec<(Arc<str>, IpAddr)> = plan.nodes.iter().map(address).collect();
        let latency_min = Duration::from_micros(bounds_us(plan)[0]).max(TICK);
        let links = Links::new(
            plan.seed,
            &nodes,
            plan.network.loss,
            latency_min,
            recorder.clone(),
        );
        let launch = |part: Part| {
            let address = nodes[part.number].1;
            Arc::new(Launch::new(part, address, &links, &recorder))
        };
        let parts = parts(plan, system, &recorder).into_iter();
        let mut cluster = Self {
            sim,
            plan,
            launches: parts.map(launch).collect(),
            links,
            recorder,
            next_fault: 0,
            dying: Vec::new(),
            starting: Vec::new(),
        };
        for launch in cluster.launches.clone() {
            let begun = Arc::clone(&launch);
            cluster.sim.host(&*launch.part.name, move || begin(&begun));
            cluster.record_start(&launch);
        }
        cluster
    }

    /// The virtual time in microseconds.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.sim.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn now(&self) -> Instant {
        Instant::ORIGIN + self.sim.elapsed()
    }

    /// Whether the planned end has come.
    pub(super) fn is_over(&self) -> bool {
        self.sim.elapsed() >= Duration::from_millis(self.plan.duration_ms) + AFTERMATH
    }

    /// Does what is due, then lets every node run for a tick.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        while let Some(due) = self.plan.faults.get(self.next_fault)
            && due.at_ms * 1000 <= self.now_us()
        {
            self.next_fault += 1;
            self.apply(due);
        }
        self.sim.step().map_err(|error| error.to_string())?;
        self.bury();
        for launch in self.launches.clone() {
            if std::mem::take(&mut launch.life().is_over) {
                // The process has ended: its sockets close, and its machine answers that nobody
                // listens.
                self.links.stop(launch.part.number);
                self.cut(&launch, self.now());
            }
        }
        Ok(())
    }

    /// Ends the run.
    pub(super) fn finish(self) -> Trace {
        let at_us = self.now_us();
        skip_unsettled(self.plan, &self.recorder, at_us);
        let ids = self.plan.fault_ids();
        let trace = self.recorder.finish(at_us, ids.into_iter());
        // What the nodes do while they are dropped is after the end: the trace is a copy.
        for launch in &self.launches {
            launch.life().death.set(self.now());
        }
        trace
    }

    fn apply(&mut self, planned: &PlannedFault) {
        let (id, phase) = (planned.id.as_str(), planned.phase);
        let kind = EventKind::Fault {
            fault: id.to_owned(),
            phase,
            what: planned.fault.to_string(),
        };
        self.recorder.record(self.now_us(), None, kind);
        let node = planned.fault.node();
        let node = node.and_then(|name| self.launches.iter().find(|node| &*node.part.name == name));
        let node = node.map(Arc::clone);
        match (&planned.fault, phase, node) {
            (Fault::Crash { .. }, Phase::Begin, Some(node)) => self.crash(&node, id),
            (Fault::Crash { .. }, Phase::End, Some(node)) => self.start(&node),
            (Fault::Stop { .. }, Phase::Begin, Some(node)) => {
                let is_up = self.links.is_up(node.part.number);
                let was_asked = node.life().stop.set(true);
                self.touch_if(id, is_up && !was_asked);
            }
            (Fault::Stop { .. }, Phase::End, Some(node)) => {
                // One that has not ended by then is killed, as a supervisor would.
                self.crash(&node, id);
                self.start(&node);
            }
            (Fault::Restart { .. }, _, Some(node)) => {
                self.crash(&node, id);
                self.start(&node);
                self.recorder.touch(id);
            }
            (Fault::Heal, ..) => self.touch_if(id, self.links.heal()),
            (Fault::Release, ..) => self.touch_if(id, self.links.release()),
            (fault, Phase::Begin, node) => {
                self.links.begin(id, fault);
                if let Some(node) = node {
                    node.part.machines.begin_fault(id, fault);
                }
            }
            (fault, Phase::End, node) => {
                self.links.end(id);
                if let Some(node) = node {
                    node.part.machines.end_fault(id, fault);
                }
            }
        }
    }

    fn touch_if(&self, fault: &str, is_touched: bool) {
        if is_touched {
            self.recorder.touch(fault);
        }
    }

    /// Cuts the power of a node that runs. It is dead to its peers and the recorder first, so
    /// that nothing that its sockets do while they are dropped is seen.
    fn crash(&mut self, node: &Arc<Launch>, fault: &str) {
        if !self.links.is_up(node.part.number) {
            return;
        }
        let (at, at_us) = (self.now(), self.now_us());
        self.recorder
            .record(at_us, Some(&node.part.name), EventKind::NodeCrashed);
        self.recorder.silence(at_us, &node.part.name);
        self.recorder.touch(fault);
        self.links.crash(node.part.number, at, fault);
        node.part.machines.cut_power(&node.part.name);
        self.cut(node, at);
    }

    /// Has the tasks of a node drop what they do, at their next turn.
    fn cut(&mut self, node: &Arc<Launch>, at: Instant) {
        let life = node.life();
        life.death.set(at);
        life.lifeline.cut();
        self.dying.push(Arc::clone(node));
    }

    /// Takes away the runtimes whose tasks have dropped what they did.
    fn bury(&mut self) {
        for node in std::mem::take(&mut self.dying) {
            self.sim.crash(&*node.part.name);
        }
        for node in std::mem::take(&mut self.starting) {
            self.start(&node);
        }
    }

    fn start(&mut self, node: &Arc<Launch>) {
        if self.links.is_up(node.part.number) {
            return;
        }
        if self.dying.iter().any(|dying| Arc::ptr_eq(dying, node)) {
            self.starting.push(Arc::clone(node));
            return;
        }
        self.recorder.unsilence(&node.part.name);
        self.sim.bounce(&*node.part.name);
        self.record_start(node);
    }

    fn record_start(&self, node: &Launch) {
        let incarnation = self.links.incarnation(node.part.number);
        let kind = EventKind::NodeStarted { incarnation };
        self.recorder
            .record(self.now_us(), Some(&node.part.name), kind);
    }
}

/// Begins a life of a node. Called outside of its runtime; what it returns runs on it, and does not
/// end by itself: the cluster ends it, so that the node's sockets close.
fn begin(launch: &Arc<Launch>) -> impl Future<Output = turmoil::Result> + use<> {
    let incarnation = launch.begin();
    let launch = Arc::clone(launch);
    async move {
        let sockets = Sockets {
            name: Arc::clone(&launch.part.name),
            address: launch.address,
        };
        let machine = Machine {
            clock: Arc::new(VirtualClock::begin(launch.life().death.clone())),
            sockets: Arc::new(sockets),
            tasks: Arc::new(TokioTasks),
        };
        launch.live(incarnation, machine).await;
        std::future::pending().await
    }
}

/// How long a message takes: at least and at most.
fn bounds_us(plan: &Plan) -> [u64; 2] {
    let bounds = plan.network.latency.bounds_us();
    bounds.expect("the engine refuses other distributions")
}

fn builder(plan: &Plan) -> turmoil::Builder {
    let mut builder = turmoil::Builder::new();
    let [least, most] = bounds_us(plan);
    builder
        .rng_seed(plan.seed)
        .epoch(UNIX_EPOCH + Duration::from_secs(EPOCH_UNIX_SECONDS))
        .tick_duration(TICK)
        .simulation_duration(Duration::from_millis(plan.duration_ms) + AFTERMATH)
        .min_message_latency(Duration::from_micros(least))
        .max_message_latency(Duration::from_micros(most))
        .fail_rate(0.0)
        .repair_rate(1.0)
        .ip_version(turmoil::IpVersion::V4)
        .ephemeral_ports(49152..=65535)
        .tcp_capacity(TCP_CAPACITY)
        .udp_capacity(UDP_CAPACITY);
    builder
}
