//! A simulated node's machine: what its `Host` is made of besides the engine's clock and sockets.

pub mod disk;
mod lifeline;
mod tricks;
mod watch;
mod yields;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nitro::host::tasks::panic_message;
use nitro::host::{Clock, Entropy, Host, Network, Task, Tasks};
use nitro::time::Instant;

use crate::draw::Moments;
use crate::fault::Fault;
use crate::record::Recorder;
use crate::scenario::{CAPACITY_BYTES, Yields};
use crate::trace::EventKind;
use disk::SimulatedDisk;
pub use lifeline::Lifeline;
use tricks::NodeTricks;
pub use tricks::Tricks;
pub use watch::{POLLS_AT_ONE_TIME_MAX, Watched};
use yields::Chance;

/// The machines of a cluster: what outlives a crash, and what all share.
#[derive(Debug)]
pub struct Machines {
    seed: u64,
    yields: Yields,
    tricks: Tricks,
    recorder: Recorder,
    disks: BTreeMap<Arc<str>, SimulatedDisk>,
}

impl Machines {
    /// Machines with empty disks.
    pub fn new(
        seed: u64,
        names: &[Arc<str>],
        (yields, tricks): (Yields, Tricks),
        recorder: Recorder,
    ) -> Self {
        let disk = |name: &Arc<str>| {
            let disk = SimulatedDisk::new(seed, name, CAPACITY_BYTES, recorder.clone());
            (Arc::clone(name), disk)
        };
        let disks = names.iter().map(disk).collect();
        Self {
            seed,
            yields,
            tricks,
            recorder,
            disks,
        }
    }

    /// Cuts the power of a node's machine: its disk loses what was not synced.
    pub fn cut_power(&self, name: &str) {
        if let Some(disk) = self.disks.get(name) {
            disk.cut_power();
        }
    }

    /// Puts a fault of a disk in force; others change nothing here.
    pub fn begin_fault(&self, id: &str, fault: &Fault) {
        if let Some(disk) = fault.node().and_then(|node| self.disks.get(node)) {
            disk.begin_fault(id, fault);
        }
    }

    /// Ends a fault of a disk.
    pub fn end_fault(&self, id: &str, fault: &Fault) {
        if let Some(disk) = fault.node().and_then(|node| self.disks.get(node)) {
            disk.end_fault(id);
        }
    }

    /// The disk of a node. What its calls would have taken is to be charged to the node; calls
    /// within blocking work are not in it, because that takes as long.
    pub fn disk(&self, name: &str) -> &SimulatedDisk {
        &self.disks[name]
    }

    /// The host of a node in one of its lives. The disk is that of its earlier lives; the
    /// randomness is its own. `clock` and `spawner`, which runs its tasks, are the engine's. `network`
    /// makes its network, whose own work runs on the tasks. `life` ends the tasks where the engine
    /// cannot drop them in one order itself.
    pub fn host(
        &self,
        name: &Arc<str>,
        incarnation: u32,
        life: Option<&Lifeline>,
        (clock, spawner): (Arc<dyn Clock>, Arc<dyn Tasks>),
        network: impl FnOnce(Arc<dyn Tasks>) -> Arc<dyn Network>,
    ) -> Host {
        let moments =
            |purpose: &str| Moments::new(self.seed, &format!("{purpose}/{name}/{incarnation}"));
        let tasks: Arc<dyn Tasks> = Arc::new(WatchedTasks {
            chance: Chance::new(self.yields, moments("yields")),
            name: Arc::clone(name),
            clock: Arc::clone(&clock),
            recorder: self.recorder.clone(),
            life: life.cloned(),
            disk: self.disks[name].clone(),
            disk_busy_until: Arc::new(Mutex::new(Instant::ORIGIN)),
            spawner,
        });
        let life = format!("{name}/{incarnation}");
        let entropy = SeededEntropy {
            moments: Mutex::new(moments("entropy")),
            tricks: NodeTricks::new(self.tricks.clone(), self.seed, life),
            name: Arc::clone(name),
            recorder: self.recorder.clone(),
            clock: Arc::clone(&clock),
        };
        Host {
            clock,
            network: network(Arc::clone(&tasks)),
            entropy: Arc::new(entropy),
            tasks,
            disk: self.disks[name].attach(),
        }
    }
}

/// Randomness of a seed, by when it is drawn.
struct SeededEntropy {
    moments: Mutex<Moments>,
    tricks: NodeTricks,
    name: Arc<str>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let now = self.clock.now().as_nanos();
        let mut moments = self.moments.lock().expect("no panic while a draw begins");
        moments.at(now).fill(buffer);
    }

    fn buggify(&self, site: &'static str) -> bool {
        let now = self.clock.now();
        let is_played = self.tricks.is_played(site, now);
        if is_played {
            let kind = EventKind::Trick {
                site: site.to_owned(),
            };
            let at_us = now.as_nanos() / 1000;
            self.recorder.record(at_us, Some(&self.name), kind);
        }
        is_played
    }
}

/// Tasks of the engine, whose panics are recorded.
struct WatchedTasks {
    chance: Chance,
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    life: Option<Lifeline>,
    disk: SimulatedDisk,
    /// When the disk has done what blocking work has asked of it so far.
    disk_busy_until: Arc<Mutex<Instant>>,
    spawner: Arc<dyn Tasks>,
}

impl Tasks for WatchedTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let (clock, recorder) = (Arc::clone(&self.clock), self.recorder.clone());
        let node = Arc::clone(&self.name);
        let future = self.chance.task(clock.now(), future);
        let future = Watched::new(
            Arc::clone(&clock),
            recorder.clone(),
            self.life.as_ref(),
            future,
        );
        let under_way = recorder.task_begins(&node, name);
        let watched = async move {
            let _under_way = under_way;
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                let at_us = clock.now().as_nanos() / 1000;
                let kind = EventKind::TaskPanicked {
                    task: name.to_owned(),
                    message: panic_message(&*panic),
                };
                recorder.record(at_us, Some(&node), kind);
                resume_unwind(panic);
            }
        };
        self.spawner.spawn(name, Box::pin(watched))
    }

    /// Runs the work in one go in a task, because a thread of its own would not be simulated, once
    /// the disk has done what earlier work has asked of it. The task ends when what the work asked
    /// of the disk would be done; what the work has told others meanwhile, they know by then.
    fn block(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task {
        let (disk, clock) = (self.disk.clone(), Arc::clone(&self.clock));
        let busy_until = Arc::clone(&self.disk_busy_until);
        let timed = async move {
            loop {
                let free_at = *busy_until.lock().expect("no panic while a time is held");
                if clock.now() >= free_at {
                    break;
                }
                clock.sleep_until(free_at).await;
            }
            let done_at = clock.now() + disk.cost_of(work);
            *busy_until.lock().expect("no panic while a time is held") = done_at;
            if done_at > clock.now() {
                clock.sleep_until(done_at).await;
            }
        };
        self.spawn(name, Box::pin(timed))
    }
}
