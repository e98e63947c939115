//! The nodes of a run and what is done to them, event by event: time is what the next one says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use nitro::host::Tasks;
use nitro::time::Instant;

use super::clock::NodeClock;
use super::leaks::Stopping;
use super::life::{Life, addresses};
use super::net::{Net, NetSettings};
use super::ready::Ready;
use super::turn::{Machine, NodeTasks, Ran};
use crate::draw::{Draw, Moments};
use crate::engine::Ended;
use crate::engine::apart::watch::{self, Page};
use crate::engine::part::{Part, parts, skip_unsettled};
use crate::machine::disk::SimulatedDisk;
use crate::operation::TOLERANCE;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::scenario::Yields;
use crate::system::System;
use crate::trace::{EventKind, Trace};

/// How long the run goes on after its planned end, so that an operation that is late by more than
/// the tolerance is seen to be.
const AFTERMATH: Duration = TOLERANCE.saturating_add(Duration::from_millis(5));

/// How many turns nodes may take at one time. Each is a message or a timer, so it is far more
/// than any moment holds, unless nodes answer one another over links without latency. Tests have
/// small clusters, and no time.
const TURNS_AT_ONE_TIME_MAX: u64 = if cfg!(test) { 20_000 } else { 1_000_000 };

/// How many tasks of tokio's own a node polls before it looks for timers, at most: tokio's number.
/// Where tasks yield it is less, as the seed says, so that timers come between tasks that node code
/// gives to tokio itself.
const TASKS_MOST: u32 = 61;

/// How long a turn takes on a node that was slowed down, times its factor.
pub(super) const TURN_COST: Duration = Duration::from_micros(100);

/// A cluster on the event engine.
pub(super) struct Cluster<'p> {
    pub(super) plan: &'p Plan,
    pub(super) nodes: Vec<Seat>,
    pub(super) net: Net,
    pub(super) recorder: Recorder,
    pub(super) now: u64,
    pub(super) next_fault: usize,
    ready: Ready,
    time_us: Arc<AtomicU64>,
    page: &'static Page,
    turns_now: u64,
}

/// A node, running or not.
pub(super) struct Seat {
    pub(super) part: Part,
    disk: SimulatedDisk,
    /// By which it goes before or after others at one time.
    ties: Moments,
    pub(super) clock: NodeClock,
    pub(super) running: Option<(Machine, Life)>,
    /// How far it has come in stopping, after the end of the run.
    pub(super) stopping: Stopping,
    /// The faults that pause it.
    pub(super) pauses: Vec<String>,
    /// The faults that slow it down, and how many times.
    pub(super) slows: Vec<(String, f64)>,
    /// The faults of its clocks, which are touched when it looks at them.
    pub(super) clock_faults: Vec<(String, bool)>,
    /// Until when it is busy with what it was last given, where it is slow.
    busy_until: u64,
    /// Until when its one thread waits for the disk, which its last turn called without a thread
    /// to block.
    blocked_until: u64,
}

impl<'p> Cluster<'p> {
    /// The cluster of a plan, with its nodes started.
    pub(super) fn new(
        plan: &'p Plan,
        system: &System,
        recorder: Recorder,
        time_us: Arc<AtomicU64>,
        page: &'static Page,
    ) -> Self {
        let settings = NetSettings::of(&plan.network);
        let addresses = addresses(plan);
        let net = Net::new(plan.seed, &addresses, settings, recorder.clone());
        let seat = |part: Part| Seat {
            ties: Moments::new(plan.seed, &format!("ties/{}", part.name)),
            disk: part.machines.disk(&part.name).clone(),
            part,
            clock: NodeClock::default(),
            running: None,
            stopping: Stopping::No,
            pauses: Vec::new(),
            slows: Vec::new(),
            clock_faults: Vec::new(),
            busy_until: 0,
            blocked_until: 0,
        };
        let parts = parts(plan, system, &recorder);
        let mut cluster = Self {
            plan,
            ready: Ready::default(),
            nodes: parts.into_iter().map(seat).collect(),
            net,
            recorder,
            now: 0,
            next_fault: 0,
            time_us,
            page,
            turns_now: 0,
        };
        for node in 0..cluster.nodes.len() {
            cluster.start(node);
        }
        cluster
    }

    /// Goes on until the planned end: how it ended.
    pub(super) fn run(&mut self) -> Ended {
        let end = Duration::from_millis(self.plan.duration_ms) + AFTERMATH;
        let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        loop {
            let fault = self.plan.faults.get(self.next_fault);
            let fault_at = fault.map(|fault| fault.at_ms * 1_000_000);
            let event = self.next_event();
            let event_at = event.map(|(at, _)| at);
            if event_at.is_none() && fault_at.is_none() && !self.recorder.open().is_empty() {
                return self.deadlocked();
            }
            // Faults come first, so that a moment has one state of the network.
            if let Some(at) = fault_at.filter(|at| event_at.is_none_or(|event| *at <= event)) {
                if at > end {
                    break;
                }
                self.advance(at);
                self.net.set_now(Instant::from_nanos(at));
                self.apply_next_fault();
                continue;
            }
            let Some((at, node)) = event.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.advance(at);
            if let Some(ended) = self.visit(node) {
                return ended;
            }
        }
        self.advance(end);
        self.net.set_now(Instant::from_nanos(end));
        Ended::Finished
    }

    /// The earliest of what nodes wait for and what the network brings them.
    pub(super) fn next_event(&self) -> Option<(u64, usize)> {
        let own = self.ready.first();
        let brought = self.net.next_due();
        let brought = brought.map(|(at, node)| (at.as_nanos().max(self.now), node));
        match (own, brought) {
            (Some(own), Some(brought)) if own.0 == brought.0 => {
                let is_first = self.tie(own) <= self.tie(brought).rotate_left(32);
                Some(if is_first { own } else { brought })
            }
            (Some(own), Some(brought)) => Some(own.min(brought)),
            (own, brought) => own.or(brought),
        }
    }

    /// What decides the order at one time: the seed, the time and the node alone, so that leaving
    /// something out turns no order round elsewhere.
    fn tie(&self, (at, node): (u64, usize)) -> u64 {
        self.nodes[node].ties.tie(at)
    }

    pub(super) fn advance(&mut self, at: u64) {
        if at > self.now {
            self.turns_now = 0;
            self.now = at;
            self.time_us.store(at / 1000, Ordering::Relaxed);
        }
    }

    pub(super) fn now_us(&self) -> u64 {
        self.now / 1000
    }

    /// Lets a node do what is due, if it can: how the run ended, if it did.
    pub(super) fn visit(&mut self, node: usize) -> Option<Ended> {
        let now = self.now;
        let seat = &mut self.nodes[node];
        if seat.running.is_none() || !seat.pauses.is_empty() {
            for fault in &seat.pauses {
                self.recorder.touch(fault);
            }
            // The machine takes in what comes, though nothing of the node runs.
            self.deliver(node);
            self.ready.remove(node);
            return None;
        }
        let blocked = (seat.blocked_until > now).then_some(seat.blocked_until);
        if let Some(free) = blocked.or_else(|| seat.slowed(now, &self.recorder)) {
            self.deliver(node);
            self.schedule(node, Some(free));
            return None;
        }
        self.turns_now += 1;
        if self.turns_now > TURNS_AT_ONE_TIME_MAX {
            return Some(self.spinning(node));
        }
        let is_own = self.ready.at(node).is_some_and(|at| at <= now);
        self.enter(node, is_own, |net| {
            net.deliver(node, Instant::from_nanos(now))
        });
        let at_us = self.now_us();
        self.recorder.is_full().then_some(Ended::TooMuch { at_us })
    }

    /// Hands a node what has come for it, without a turn.
    fn deliver(&mut self, node: usize) {
        if self.net.deliver(node, Instant::from_nanos(self.now))
            && let Some((machine, _)) = &mut self.nodes[node].running
        {
            machine.wake();
        }
    }

    /// Enters a node, with `arrive` first among its tasks. If that says that it woke nobody, and
    /// nothing of the node's own is due, nothing of it runs.
    pub(super) fn enter(&mut self, node: usize, is_due: bool, arrive: impl FnOnce(&Net) -> bool) {
        let (now, net) = (self.now, &self.net);
        let seat = &mut self.nodes[node];
        let Some((machine, life)) = &mut seat.running else {
            return;
        };
        let view = seat.clock.view(now, machine.random());
        let local = Instant::from_nanos(seat.clock.local(now));
        self.page.enter(node, now / 1000);
        let ran = machine.turn(view, || {
            life.timers.fire(local);
            arrive(net) || is_due
        });
        let Some(Ran { wakes, turned }) = ran else {
            return;
        };
        for (fault, is_of_wall) in &seat.clock_faults {
            let has_read = match is_of_wall {
                true => turned.has_read_wall,
                false => turned.has_read_monotonic,
            };
            if has_read {
                self.recorder.touch(fault);
            }
        }
        let is_over = life.is_over.load(Ordering::Relaxed);
        let is_left = || {
            let of_host = self.recorder.tasks_of(&seat.part.name);
            machine.others_alive() > 0 || !of_host.is_empty()
        };
        if is_over && seat.stopping != Stopping::No && is_left() {
            seat.stopping = Stopping::Over;
        } else if is_over {
            seat.stopping = Stopping::Done;
            // The process has ended: its sockets close, and its machine answers that nobody
            // listens.
            self.net.stop(node);
            self.drop_machine(node);
            return;
        }
        let cost = seat.disk.take_cost();
        if !cost.is_zero() {
            seat.blocked_until = now + u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX / 2);
        }
        let free = seat.blocked_until.max(now + 1);
        let of_runtime = wakes.map(|local| seat.clock.wakes(local));
        let of_timers = life.timers.next();
        let of_timers = of_timers.map(|local| seat.clock.cluster(local.as_nanos()));
        let wakes = of_runtime.into_iter().chain(of_timers).min();
        self.schedule(node, wakes.map(|at| at.max(free)));
    }

    /// Has a node entered at a time, and not before; none for when something comes.
    fn schedule(&mut self, node: usize, at: Option<u64>) {
        if at == self.ready.at(node) {
            return;
        }
        match at {
            Some(at) => self.ready.set(node, at, self.tie((at, node))),
            None => self.ready.remove(node),
        }
    }

    /// Lets a node look at what a fault has changed. A paused or busy one does so later.
    pub(super) fn look(&mut self, node: usize) {
        let seat = &self.nodes[node];
        let is_free = seat.busy_until == 0 && seat.blocked_until <= self.now;
        if seat.pauses.is_empty() && is_free {
            self.enter(node, true, |_| true);
        }
    }

    /// Starts a node that does not run.
    pub(super) fn start(&mut self, node: usize) {
        if self.net.is_up(node) {
            return;
        }
        let incarnation = self.net.start(node);
        let tasks_least = match self.plan.schedule.yields {
            Yields::Off => TASKS_MOST,
            Yields::Default => 8,
            Yields::Aggressive => 1,
        };
        let seat = &mut self.nodes[node];
        let name = Arc::clone(&seat.part.name);
        self.recorder.unsilence(&name);
        let kind = EventKind::NodeStarted { incarnation };
        self.recorder.record(self.now / 1000, Some(&name), kind);
        let purpose = format!("process/{name}/{incarnation}");
        let mut draw = Draw::new(self.plan.seed, &purpose);
        let random = draw.whole(0, u64::MAX);
        let tasks_between_events = draw.whole(u64::from(tasks_least), u64::from(TASKS_MOST));
        let view = seat.clock.view(self.now, random);
        let machine = Machine::new(view, tasks_between_events as u32)
            .expect("a runtime is made of a few file descriptors, one of them to be woken by");
        let (life, live) = Life::begin(&seat.part, &self.net, incarnation);
        seat.running = Some((machine, life));
        seat.busy_until = 0;
        seat.blocked_until = 0;
        self.enter(node, true, |_| {
            NodeTasks.spawn("live", live.boxed());
            true
        });
    }

    /// Cuts the power of a node that runs. It is dead to its peers and the recorder first, so
    /// that nothing that is done while it is dropped is seen.
    pub(super) fn crash(&mut self, node: usize, fault: &str) {
        if !self.net.is_up(node) {
            return;
        }
        let name = Arc::clone(&self.nodes[node].part.name);
        let at_us = self.now_us();
        self.recorder
            .record(at_us, Some(&name), EventKind::NodeCrashed);
        self.recorder.silence(at_us, &name);
        self.recorder.touch(fault);
        self.net.crash(node, fault);
        self.nodes[node].part.machines.cut_power(&name);
        self.drop_machine(node);
    }

    fn drop_machine(&mut self, node: usize) {
        self.ready.remove(node);
        watch::leave();
        let now = self.now;
        let seat = &mut self.nodes[node];
        if let Some((machine, _)) = seat.running.take() {
            let view = seat.clock.view(now, machine.random());
            machine.end(view);
        }
    }

    /// Ends the run, as it `ended`: its trace.
    pub(super) fn finish(mut self, ended: &Ended) -> Trace {
        let at_us = self.now_us();
        skip_unsettled(self.plan, &self.recorder, at_us);
        let ids = self.plan.fault_ids();
        let mut trace = self.recorder.finish(at_us, ids.into_iter());
        if *ended == Ended::Finished {
            self.record_leaks(&mut trace);
        }
        // What the nodes do while they are dropped is after the end.
        for node in 0..self.nodes.len() {
            self.drop_machine(node);
        }
        trace
    }

    fn deadlocked(&self) -> Ended {
        let waiting = self.recorder.open().into_iter();
        let waiting = waiting.map(|(operation, node)| format!("{node} for operation {operation}"));
        Ended::Deadlocked {
            at_us: self.now_us(),
            waiting: waiting.collect(),
        }
    }

    fn spinning(&self, node: usize) -> Ended {
        Ended::Spun {
            at_us: self.now_us(),
            node: self.nodes[node].part.name.to_string(),
            turns: self.turns_now,
        }
    }
}

impl Seat {
    /// When a slow node gets round to what has come for it; none where it may go on now.
    fn slowed(&mut self, now: u64, recorder: &Recorder) -> Option<u64> {
        if self.slows.is_empty() {
            return None;
        }
        if self.busy_until != 0 && now >= self.busy_until {
            self.busy_until = 0;
            return None;
        }
        if self.busy_until == 0 {
            let factor: f64 = self.slows.iter().map(|(_, factor)| factor).product();
            let cost = TURN_COST.mul_f64(factor);
            self.busy_until = now + u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX / 2);
            for (fault, _) in &self.slows {
                recorder.touch(fault);
            }
        }
        Some(self.busy_until)
    }
}
