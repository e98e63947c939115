//! The engine on turmoil: unmodified tokio, one paused runtime a node, time in ticks of 1 ms.
//!
//! Of turmoil it uses time, scheduling, TCP and UDP with latency, crash and bounce. Partitions,
//! holds and loss are the links' ([`network`](crate::network)), because turmoil's own end streams
//! where real ones wait. Not deterministic under it: `std::time`, threads, hash maps with random
//! state, and `select!` without `biased`.

mod clock;
mod cluster;
mod logs;
mod sockets;

use std::panic::{AssertUnwindSafe, catch_unwind};

use nitro::host::Clock;
use nitro::host::tasks::panic_message;
use nitro::host::tokio::MachineClock;

use nitro::time::Instant;

use super::{Ended, Engine, Outcome, WALL_MAX, launch};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::scenario::Network;
use crate::system::System;
use crate::trace::Trace;
use cluster::Cluster;

/// The turmoil engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turmoil;

/// How many ticks pass between looks at this machine's clock, which costs a system call.
const TICKS_PER_LOOK: u64 = 64;

impl Engine for Turmoil {
    fn name(&self) -> &'static str {
        "turmoil"
    }

    fn supports(&self, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::Pause { .. } | Fault::Resume { .. } => {
                Err(launch::refused(self.name(), "cannot pause a node", fault))
            }
            _ => launch::supports(self.name(), fault),
        }
    }

    fn supports_network(&self, network: &Network) -> Result<(), String> {
        launch::supports_network(self.name(), network)
    }

    fn run(&self, plan: &Plan, system: &System) -> Outcome {
        let wall = MachineClock::new();
        let recorder = Recorder::new(Trace::new(plan.digest(), self.name()))
            .with_tasks(plan.checks.tasks_max.is_some())
            .with_held(plan.checks.subscriptions_max.is_some());
        let (ended, trace) = logs::recorded(&recorder, || {
            let mut cluster = Cluster::new(plan, system, recorder.clone());
            let ended = drive(&mut cluster, &recorder, &wall);
            (ended, cluster.finish())
        });
        let wall = wall.now().since(Instant::ORIGIN);
        Outcome { trace, ended, wall }
    }

    /// The run has a process of its own where there are such: there, whatever it does is a result.
    fn tell(&self, plan: &Plan, system: &System, tell: super::Tell) -> Result<Vec<u8>, Ended> {
        super::apart::told_apart(plan, system, tell, |_| self.run(plan, system))
    }
}

fn drive(cluster: &mut Cluster<'_>, recorder: &Recorder, wall: &MachineClock) -> Ended {
    let mut ticks: u64 = 0;
    while !cluster.is_over() {
        let at_us = cluster.now_us();
        let tick = catch_unwind(AssertUnwindSafe(|| cluster.tick()));
        let message = match tick {
            Ok(Ok(())) => None,
            Ok(Err(message)) => Some(message),
            Err(panic) => Some(panic_message(&*panic)),
        };
        if let Some(message) = message {
            return Ended::Panicked { at_us, message };
        }
        if recorder.is_full() {
            return Ended::TooMuch { at_us };
        }
        ticks += 1;
        let is_look = ticks.is_multiple_of(TICKS_PER_LOOK);
        if is_look && wall.now().since(Instant::ORIGIN) > WALL_MAX {
            return Ended::TooSlow { at_us };
        }
    }
    Ended::Finished
}

#[cfg(test)]
pub(super) mod tests;
