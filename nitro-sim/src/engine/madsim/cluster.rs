//! The nodes of a run and what is done to them, in a task of its own beside theirs.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use madsim::runtime::{Handle, NodeHandle};
use madsim::time::TimeHandle;
use nitro::address::Address;
use nitro::host::Stream;
use nitro::host::memory::MemoryNetwork;
use nitro::host::memory::network::Attached;
use nitro::time::Instant;

use super::clock::{VirtualClock, now};
use super::seat::{Pauses, Seat, Seated, Watch};
use super::tasks::NodeTasks;
use crate::engine::Ended;
use crate::engine::apart::watch::Page;
use crate::engine::launch::{Launch, Machine};
use crate::engine::part::{Part, parts, skip_unsettled};
use crate::fault::{Fault, Phase, PlannedFault};
use crate::network::{Links, Opens};
use crate::operation::TOLERANCE;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::system::System;
use crate::trace::{EventKind, Trace};

/// How long the run goes on after its planned end, so that an operation that is late by more than
/// the tolerance is seen to be.
const AFTERMATH: Duration = TOLERANCE.saturating_add(Duration::from_millis(5));

/// How long the cluster waits at most before it looks at its nodes again.
const LOOK: Duration = Duration::from_millis(10);

/// How long the tasks of a node whose life was cut have to drop what they did: timers come when
/// nothing is ready any more, so that the least time is enough.
const SETTLE: Duration = Duration::from_millis(1);

/// A cluster on madsim.
pub(super) struct Cluster<'p> {
    plan: &'p Plan,
    nodes: Vec<Place>,
    links: Links,
    recorder: Recorder,
    watch: Watch,
    next_fault: usize,
    /// When the tasks of the nodes that were cut last have seen it.
    settled_at: Instant,
    /// Nodes to be started then.
    starting: Vec<usize>,
}

/// A node's place in the cluster, whatever lives there.
struct Place {
    launch: Arc<Launch>,
    node: NodeHandle,
    wires: Arc<Attached>,
    pauses: Pauses,
}

impl<'p> Cluster<'p> {
    /// The cluster of a plan, with its nodes about to start. Called on the run's runtime.
    pub(super) fn new(
        plan: &'p Plan,
        system: &System,
        (recorder, time_us): (&Recorder, &Arc<AtomicU64>),
        page: &'static Page,
    ) -> Self {
        let handle = Handle::current();
        let names: Vec<Arc<str>> = plan.nodes.iter().map(|n| n.name.as_str().into()).collect();
        let network = MemoryNetwork::default();
        let attach = |name: &Arc<str>| Arc::new(network.attach(name));
        let wires: Vec<Arc<Attached>> = names.iter().map(attach).collect();
        let addressed = names.iter().zip(&wires);
        let addressed = addressed.map(|(name, wires)| (Arc::clone(name), wires.address()));
        let nodes: Vec<(Arc<str>, IpAddr)> = addressed.collect();
        let bounds = plan.network.latency.bounds_us();
        let bounds = bounds.expect("the engine refuses other distributions");
        let links = Links::new(
            plan.seed,
            &nodes,
            plan.network.loss,
            Duration::from_micros(bounds[0]),
            recorder.clone(),
        )
        .with_latency(bounds);
        let place = |(part, wires): (Part, Arc<Attached>)| Place {
            node: handle.create_node().name(&*part.name).build(),
            launch: Arc::new(Launch::new(part, wires.address(), &links, recorder)),
            wires,
            pauses: Pauses::new(recorder.clone()),
        };
        let parts = parts(plan, system, recorder).into_iter();
        Self {
            plan,
            nodes: parts.zip(wires).map(place).collect(),
            links,
            recorder: recorder.clone(),
            watch: Watch {
                page,
                time: TimeHandle::current(),
                time_us: Arc::clone(time_us),
                polls: Arc::default(),
                spun: Arc::default(),
            },
            next_fault: 0,
            settled_at: Instant::ORIGIN,
            starting: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        now(&self.watch.time)
    }

    /// Runs the cluster to its planned end, or to what ends it before.
    pub(super) async fn run(&mut self) -> Ended {
        let end = Instant::ORIGIN + Duration::from_millis(self.plan.duration_ms) + AFTERMATH;
        for node in 0..self.nodes.len() {
            self.start(node);
        }
        loop {
            let (at_us, spun) = self.watch.look();
            if let Some((node, turns)) = spun {
                let node = self.nodes[node].launch.part.name.to_string();
                return Ended::Spun { at_us, node, turns };
            }
            if self.recorder.is_full() {
                return Ended::TooMuch { at_us };
            }
            if self.now() >= end {
                return Ended::Finished;
            }
            self.bury();
            while let Some(due) = self.plan.faults.get(self.next_fault)
                && due.at_ms * 1000 <= at_us
            {
                self.next_fault += 1;
                self.apply(due);
            }
            let fault = self.plan.faults.get(self.next_fault);
            let fault = fault.map(|due| Instant::ORIGIN + Duration::from_millis(due.at_ms));
            let settled = (!self.starting.is_empty()).then_some(self.settled_at);
            let next = [fault, settled].into_iter().flatten().min();
            let next = next.unwrap_or(end).min(end).min(self.now() + LOOK);
            self.watch.time.sleep(next.since(self.now())).await;
        }
    }

    /// Ends what has returned, and starts what waits for its last life to be gone.
    fn bury(&mut self) {
        for node in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[node].launch.life().is_over) {
                // The process has ended: its sockets close, and its machine answers that nobody
                // listens.
                self.links.stop(node);
                self.cut(node);
            }
        }
        if self.now() >= self.settled_at {
            for node in std::mem::take(&mut self.starting) {
                self.start(node);
            }
        }
    }

    /// Ends the run.
    pub(super) fn finish(self) -> Trace {
        let at_us = self.watch.now_us();
        skip_unsettled(self.plan, &self.recorder, at_us);
        let trace = self
            .recorder
            .finish(at_us, self.plan.fault_ids().into_iter());
        // What the nodes do while they are dropped is after the end: the trace is a copy.
        for place in &self.nodes {
            place.launch.life().death.set(self.now());
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
        self.recorder.record(self.watch.now_us(), None, kind);
        let node = planned.fault.node();
        let node = node.and_then(|name| self.links.node(name));
        match (&planned.fault, phase, node) {
            (Fault::Crash { .. }, Phase::Begin, Some(node)) => self.crash(node, id),
            (Fault::Crash { .. }, Phase::End, Some(node)) => self.start(node),
            (Fault::Stop { .. }, Phase::Begin, Some(node)) => {
                let is_up = self.links.is_up(node);
                let was_asked = self.nodes[node].launch.life().stop.set(true);
                self.touch_if(id, is_up && !was_asked);
            }
            (Fault::Stop { .. }, Phase::End, Some(node)) => {
                // One that has not ended by then is killed, as a supervisor would.
                self.crash(node, id);
                self.start(node);
            }
            (Fault::Restart { .. }, _, Some(node)) => {
                self.crash(node, id);
                self.start(node);
                self.recorder.touch(id);
            }
            (Fault::Pause { .. }, Phase::Begin, Some(node)) => self.nodes[node].pauses.begin(id),
            (Fault::Pause { .. }, Phase::End, Some(node)) => self.nodes[node].pauses.end(id),
            (Fault::Resume { .. }, _, Some(node)) => {
                self.touch_if(id, self.nodes[node].pauses.end_all());
            }
            (Fault::Heal, ..) => self.touch_if(id, self.links.heal()),
            (Fault::Release, ..) => self.touch_if(id, self.links.release()),
            (fault, Phase::Begin, node) => {
                self.links.begin(id, fault);
                if let Some(node) = node {
                    self.nodes[node].launch.part.machines.begin_fault(id, fault);
                }
            }
            (fault, Phase::End, node) => {
                self.links.end(id);
                if let Some(node) = node {
                    self.nodes[node].launch.part.machines.end_fault(id, fault);
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
    fn crash(&mut self, node: usize, fault: &str) {
        if !self.links.is_up(node) {
            return;
        }
        let (at, at_us) = (self.now(), self.watch.now_us());
        let launch = Arc::clone(&self.nodes[node].launch);
        self.recorder
            .record(at_us, Some(&launch.part.name), EventKind::NodeCrashed);
        self.recorder.silence(at_us, &launch.part.name);
        self.recorder.touch(fault);
        self.links.crash(node, at, fault);
        launch.part.machines.cut_power(&launch.part.name);
        self.cut(node);
    }

    /// Has the tasks of a node drop what they do, at their next turn, which they take even if the
    /// node stood still.
    fn cut(&mut self, node: usize) {
        let place = &self.nodes[node];
        place.pauses.end_all();
        let life = place.launch.life();
        life.death.set(now(&self.watch.time));
        life.lifeline.cut();
        drop(life);
        self.settled_at = self.now() + SETTLE;
    }

    fn start(&mut self, node: usize) {
        if self.links.is_up(node) {
            return;
        }
        if self.now() < self.settled_at {
            self.starting.push(node);
            return;
        }
        let place = &self.nodes[node];
        let launch = Arc::clone(&place.launch);
        self.recorder.unsilence(&launch.part.name);
        let incarnation = launch.begin();
        let seat = Seat {
            node,
            run: self.watch.clone(),
            pauses: place.pauses.clone(),
        };
        let death = launch.life().death.clone();
        let machine = Machine {
            clock: Arc::new(VirtualClock::new(self.watch.time.clone(), death)),
            sockets: Arc::clone(&place.wires) as _,
            tasks: Arc::new(NodeTasks {
                node: place.node.clone(),
                seat: seat.clone(),
            }),
        };
        let name = Arc::clone(&launch.part.name);
        let living = async move { launch.live(incarnation, machine).await };
        let future = living.boxed();
        drop(place.node.spawn(Seated { seat, future }));
        let kind = EventKind::NodeStarted { incarnation };
        self.recorder.record(self.watch.now_us(), Some(&name), kind);
    }
}

impl Opens for Attached {
    fn open<'a>(
        &'a self,
        to: &'a Address,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, Address)>> {
        Box::pin(async move { self.open(to) })
    }
}
