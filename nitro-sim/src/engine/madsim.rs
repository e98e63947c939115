//! The engine on madsim: one queue for the tasks of all nodes, from which the seed draws the next.
//!
//! It is there under `--cfg madsim` only, in a program of its own: what it puts in the C library's
//! place (time, randomness) is what the event engine puts there, too. Of madsim it uses time and
//! tasks. Its network is not used: a reader there takes one message a millisecond at most, nobody
//! closes half a stream, and a port that is free again goes to the next who asks. In its place are
//! the pipes of [`nitro::host::memory`], and the links ([`network`](crate::network)) make latency,
//! partitions, holds and loss; disks and randomness are the machine's
//! ([`machine`](crate::machine)).
//!
//! Only nodes that reach the world by their host run on it: what is tokio's own (`tokio::spawn`,
//! `tokio::time`, `tokio::net`) has no runtime here, and panics. Each run has a process of its own,
//! so that `select!` and hash maps are the seed's. Not so are crates that ask the kernel itself for
//! randomness (getrandom 0.2, rand 0.8). No timer is shorter than 1 ms.

mod clock;
mod cluster;
pub(in crate::engine) mod here;
mod seat;
mod tasks;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use madsim::Config;
use madsim::runtime::Runtime;
use nitro::host::Clock;
use nitro::host::tasks::panic_message;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;

use super::apart::watch::Page;
use super::apart::{logs, outcome, told_apart};
use super::{Ended, Engine, Outcome, Tell, launch};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::scenario::Network;
use crate::system::System;
use crate::trace::Trace;
use cluster::Cluster;

/// The madsim engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Madsim;

/// A run calls itself one of madsim only where madsim stands in the C library's place.
const _: () = assert!(cfg!(madsim), "the engine madsim takes --cfg madsim");

impl Engine for Madsim {
    fn name(&self) -> &'static str {
        "madsim"
    }

    fn supports(&self, fault: &Fault) -> Result<(), String> {
        launch::supports(self.name(), fault)
    }

    fn supports_network(&self, network: &Network) -> Result<(), String> {
        launch::supports_network(self.name(), network)
    }

    fn run(&self, plan: &Plan, system: &System) -> Outcome {
        let wall = MachineClock::new();
        let told = self.tell(plan, system, outcome::whole);
        let wall = wall.now().since(Instant::ORIGIN);
        outcome::received(told, plan, self.name(), wall)
    }

    fn tell(&self, plan: &Plan, system: &System, tell: Tell) -> Result<Vec<u8>, Ended> {
        told_apart(plan, system, tell, |page| live(plan, system, page))
    }
}

/// Runs a plan on this thread, which is nobody else's.
fn live(plan: &Plan, system: &System, page: &'static Page) -> Outcome {
    let time_us = Arc::new(AtomicU64::new(0));
    let recorder = Recorder::new(Trace::new(plan.digest(), Madsim.name()))
        .with_time(Arc::clone(&time_us))
        .with_tasks(plan.checks.tasks_max.is_some())
        .with_held(plan.checks.subscriptions_max.is_some());
    let names: Vec<Arc<str>> = plan.nodes.iter().map(|n| n.name.as_str().into()).collect();
    let runtime = Runtime::with_seed_and_config(plan.seed, Config::default());
    let ran = logs::recorded(&recorder, names, || {
        catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut cluster = Cluster::new(plan, system, (&recorder, &time_us), page);
                let ended = cluster.run().await;
                Outcome::of(ended, cluster.finish())
            })
        }))
    });
    // The process ends with the run: nobody needs to drop what the nodes leave.
    std::mem::forget(runtime);
    ran.unwrap_or_else(|panic| {
        let at_us = time_us.load(Ordering::Relaxed);
        let message = panic_message(&*panic);
        let trace = recorder.finish(at_us, plan.fault_ids().into_iter());
        Outcome::of(Ended::Panicked { at_us, message }, trace)
    })
}

#[cfg(test)]
mod tests;
