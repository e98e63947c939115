//! What a node leaves behind: at the end of a run every node is asked to stop, and whatever of it
//! goes on after its role has returned has leaked. On a machine that goes on it would pile up.
//!
//! A connection is a task of nitro's on either side, so one that is left shows as its task. What
//! happens while the nodes stop is no part of the trace: the run is over.

use std::time::Duration;

use nitro::time::Instant;

use super::cluster::Cluster;
use super::life::Life;
use super::turn::Machine;
use crate::trace::{EventKind, Trace};

/// How long a role has to return once it is asked to: longer than a server waits for its calls to
/// end. One that does not has its reasons, as what only waits to be killed.
const STOP_MAX: Duration = Duration::from_secs(15);

/// How long after its role has returned a node's tasks have to end: longer than a connection waits
/// for a peer that is silent.
const TASKS_MAX: Duration = Duration::from_secs(60);

/// How many turns this takes at most: far more than the farewells of a large cluster.
const TURNS_MAX: u32 = 1_000_000;

/// How far a node has come in stopping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stopping {
    /// The run goes on.
    #[default]
    No,
    /// It was asked to stop.
    Asked,
    /// Its role has returned, and tasks are left.
    Over,
    /// All of it has ended.
    Done,
}

impl Cluster<'_> {
    /// Asks every node to stop, and adds to the trace what goes on all the same.
    pub(super) fn record_leaks(&mut self, trace: &mut Trace) {
        let at_us = self.now_us();
        for node in 0..self.nodes.len() {
            let seat = &mut self.nodes[node];
            // What is paused hears nothing.
            if let (Some((_, life)), true) = (&seat.running, seat.pauses.is_empty()) {
                seat.stopping = Stopping::Asked;
                life.stop.set(true);
            }
        }
        for node in 0..self.nodes.len() {
            self.look(node);
        }
        let mut turns = 0;
        self.go_on(STOP_MAX, &mut turns, |stopping| stopping == Stopping::Asked);
        self.go_on(TASKS_MAX, &mut turns, |stopping| stopping == Stopping::Over);
        for seat in &self.nodes {
            if seat.stopping != Stopping::Over {
                continue;
            }
            let name = &seat.part.name;
            let named = self.recorder.tasks_of(name);
            let alive = |(machine, _): &(Machine, Life)| machine.others_alive() as u64;
            let others = seat.running.as_ref().map_or(0, alive);
            let of_others = (others > 0).then_some(("(not of nitro)", others));
            for (task, count) in named.into_iter().chain(of_others) {
                let task = task.to_owned();
                trace.record(at_us, Some(name), &EventKind::Leaked { task, count });
            }
        }
    }

    /// Goes on for so long at most, while any node is as `is_awaited` says.
    fn go_on(&mut self, most: Duration, turns: &mut u32, is_awaited: impl Fn(Stopping) -> bool) {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let end = self.now.saturating_add(most);
        while *turns < TURNS_MAX && self.nodes.iter().any(|seat| is_awaited(seat.stopping)) {
            *turns += 1;
            let next = self.next_event().filter(|(at, _)| *at <= end);
            let Some((at, node)) = next else { return };
            self.advance(at);
            self.net.set_now(Instant::from_nanos(at));
            if self.visit(node).is_some() {
                return;
            }
        }
    }
}
