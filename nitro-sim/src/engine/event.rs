//! The event engine: unmodified tokio on a virtual clock, one runtime a node, event by event.
//!
//! A node's runtime has its drivers enabled and its clock runs; but what it asks of the operating
//! system is answered by the run ([`shim`]): the time, randomness, and how long to wait. A runtime
//! with nothing to do says by that until when ([`turn`]), and the cluster ([`cluster`]) sets the
//! time to whatever comes first and enters just that node. Nothing ticks: idle time is free.
//!
//! Each run has a process of its own ([`apart`](super::apart)), forked, and a fresh thread in it, so
//! that what a run leaves behind in statics and thread-locals reaches no other. What leaves the
//! simulation ends the run with its name ([`escape`]). A test's runs come from a process that has
//! done nothing before ([`Worker`](super::Worker)).

mod clock;
mod cluster;
mod escape;
mod faults;
pub(in crate::engine) mod here;
mod leaks;
mod life;
pub mod net;
mod one_thread;
mod open_files;
mod ready;
mod shim;
mod timers;
mod turn;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nitro::host::Clock;
use nitro::host::tasks::panic_message;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;

use super::apart::process::{self, End, Limits};
use super::apart::watch::{self, Page};
use super::apart::{TURN_WALL_MAX, logs, outcome};
use super::{Ended, Engine, Outcome, Tell, WALL_MAX};
use crate::draw::Draw;
use crate::fault::Fault;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::system::System;
use crate::trace::{Difference, Trace};
use cluster::Cluster;
use escape::Escape;

/// How many files a node's runtime has open: one to wait on, one to be woken by, and two by which
/// it would hear of signals.
const FILES_OF_A_NODE: u64 = 4;

/// How many files a process has open besides, at most.
const FILES_BESIDES: u64 = 64;

/// The event engine.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The longest a run may take of this machine's time; it is shorter in tests only.
    pub(crate) wall_max: Duration,
    /// The longest a turn of a node may take of this machine's time.
    pub turn_wall_max: Duration,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            wall_max: WALL_MAX,
            turn_wall_max: TURN_WALL_MAX,
        }
    }
}

impl Engine for Event {
    fn name(&self) -> &'static str {
        "event"
    }

    fn supports(&self, _fault: &Fault) -> Result<(), String> {
        Ok(())
    }

    fn supports_nodes(&self, count: usize) -> Result<(), String> {
        fits(count as u64, open_files::raise_open_files())
    }

    fn run(&self, plan: &Plan, system: &System) -> Outcome {
        let wall = MachineClock::new();
        let told = self.tell(plan, system, outcome::whole);
        let wall = wall.now().since(Instant::ORIGIN);
        outcome::received(told, plan, self.name(), wall)
    }

    /// What is told is written by the run's process, which knows all of it: only that comes back.
    fn tell(&self, plan: &Plan, system: &System, tell: Tell) -> Result<Vec<u8>, Ended> {
        let started = Trace::new(plan.digest(), self.name());
        let finished = process::in_child(self.limits(system), |page, mut out: File| {
            let outcome = live(plan, system, started, page, tell, out.try_clone());
            page.end();
            // Nobody is left to hear of an error: the reader has gone.
            let _ = out.write_all(&tell(plan, system, outcome));
        });
        outcome::told(finished, plan)
    }

    /// The first trace is compared in the run's process, which has a copy: only what differs
    /// comes back.
    fn again(&self, plan: &Plan, system: &System, first: &Trace) -> Option<Difference> {
        let header = first.header();
        let started = Trace::new(header.plan.clone(), header.engine.clone());
        let finished = process::in_child(self.limits(system), |page, out: File| {
            // An escape ends the process with a trace in place of a difference, which is one.
            let again = live(plan, system, started, page, outcome::whole, out.try_clone());
            // Nobody is left to hear of an error: the reader has gone.
            let _ = serde_json::to_writer(out, &first.first_difference(&again.trace));
        });
        let said = finished
            .ok()
            .filter(|finished| finished.end == End::Exited(0));
        let said = said.and_then(|finished| serde_json::from_slice(&finished.bytes).ok());
        said.unwrap_or_else(|| {
            Some(Difference {
                index: 0,
                left: first.events().first().cloned(),
                right: None,
            })
        })
    }
}

impl Event {
    fn limits(&self, system: &System) -> Limits {
        Limits {
            wall_max: self.wall_max,
            turn_max: system.longest_turn().unwrap_or(self.turn_wall_max),
        }
    }
}

/// Whether so many nodes fit a process that may open so many files.
fn fits(nodes: u64, allowed: u64) -> Result<(), String> {
    let needed = nodes * FILES_OF_A_NODE + FILES_BESIDES;
    if needed <= allowed {
        return Ok(());
    }
    let most = allowed.saturating_sub(FILES_BESIDES) / FILES_OF_A_NODE;
    Err(format!(
        "{nodes} nodes need {needed} open files, and this process may open {allowed}: raise its \
         hard limit (`ulimit -Hn {needed}`, LimitNOFILE= of a service), or take at most {most} nodes"
    ))
}

type OnEscape = Box<dyn FnOnce(Escape)>;

thread_local! {
    /// What ends the run that is on this thread, after an escape.
    static ON_ESCAPE: RefCell<Option<OnEscape>> = const { RefCell::new(None) };
}

/// Runs a plan on this thread, which is nobody else's. After an escape, what is told of it is
/// written to `out`, and the process ends.
fn live(
    plan: &Plan,
    system: &System,
    trace: Trace,
    page: &'static Page,
    tell: Tell,
    out: io::Result<File>,
) -> Outcome {
    open_files::raise_open_files();
    let time_us = Arc::new(AtomicU64::new(0));
    let recorder = Recorder::new(trace)
        .with_time(Arc::clone(&time_us))
        .with_tasks(plan.checks.tasks_max.is_some())
        .with_held(plan.checks.subscriptions_max.is_some());
    let names: Vec<Arc<str>> = plan.nodes.iter().map(|n| n.name.as_str().into()).collect();
    let ids: Vec<String> = plan.fault_ids().into_iter().map(str::to_owned).collect();
    if let Ok(mut out) = out {
        let (recorder, names, time_us) = (recorder.clone(), names.clone(), Arc::clone(&time_us));
        let (plan, system) = (plan.clone(), system.clone());
        let on_escape = Box::new(move |escape: Escape| {
            let at_us = time_us.load(Ordering::Relaxed);
            let node = watch::node().map_or_else(String::new, |node| names[node].to_string());
            let trace = recorder.finish(at_us, ids.iter().map(String::as_str));
            let what = escape.to_string();
            let ended = Ended::Escaped { at_us, node, what };
            let outcome = Outcome::of(ended, trace);
            page.end();
            // Nobody is left to hear of an error: the reader has gone.
            let _ = out.write_all(&tell(&plan, &system, outcome));
        });
        ON_ESCAPE.set(Some(on_escape));
    }
    let random = Draw::new(plan.seed, "process").whole(0, u64::MAX);
    clock::begin(random);
    shim::begin(clock::NodeClock::default().view(0, random), escaped);
    let ran = logs::recorded(&recorder, names, || {
        catch_unwind(AssertUnwindSafe(|| {
            let mut cluster = Cluster::new(plan, system, recorder.clone(), time_us.clone(), page);
            let ended = cluster.run();
            let trace = cluster.finish(&ended);
            Outcome::of(ended, trace)
        }))
    });
    shim::end();
    ran.unwrap_or_else(|panic| {
        let at_us = time_us.load(Ordering::Relaxed);
        let message = panic_message(&*panic);
        let ids = plan.fault_ids();
        let trace = recorder.finish(at_us, ids.into_iter());
        Outcome::of(Ended::Panicked { at_us, message }, trace)
    })
}

/// Ends the run, and its process with it: node code that has left the simulation must not go on.
fn escaped(escape: Escape) -> ! {
    if let Some(end) = ON_ESCAPE.take() {
        end(escape);
    }
    process::leave(0)
}

#[cfg(test)]
mod tests;
