//! A simulated node's machine: what its `Host` is made of besides the engine's clock and sockets.

mod lifeline;
mod watch;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nitro::host::memory::MemoryDisk;
use nitro::host::tasks::{TokioTasks, panic_message};
use nitro::host::{Clock, Entropy, Host, Network, Task, Tasks};

use crate::draw::Draw;
use crate::record::Recorder;
use crate::trace::EventKind;
pub use lifeline::Lifeline;
pub use watch::{POLLS_AT_ONE_TIME_MAX, Watched};

/// The machines of a cluster: what outlives a crash, and what all share.
#[derive(Debug)]
pub struct Machines {
    seed: u64,
    recorder: Recorder,
    disks: BTreeMap<Arc<str>, MemoryDisk>,
}

impl Machines {
    /// Machines with empty disks.
    pub fn new(seed: u64, names: &[Arc<str>], recorder: Recorder) -> Self {
        let disk = |name: &Arc<str>| (Arc::clone(name), MemoryDisk::new());
        let disks = names.iter().map(disk).collect();
        Self {
            seed,
            recorder,
            disks,
        }
    }

    /// The host of a node in one of its lives. The disk is that of its earlier lives; the
    /// randomness is its own. `network` makes its network, whose own work runs on the tasks.
    pub fn host(
        &self,
        name: &Arc<str>,
        incarnation: u32,
        life: &Lifeline,
        clock: Arc<dyn Clock>,
        network: impl FnOnce(Arc<dyn Tasks>) -> Arc<dyn Network>,
    ) -> Host {
        let tasks: Arc<dyn Tasks> = Arc::new(WatchedTasks {
            name: Arc::clone(name),
            clock: Arc::clone(&clock),
            recorder: self.recorder.clone(),
            life: life.clone(),
        });
        let draw = Draw::new(self.seed, &format!("entropy/{name}/{incarnation}"));
        Host {
            clock,
            network: network(Arc::clone(&tasks)),
            entropy: Arc::new(SeededEntropy(Mutex::new(draw))),
            tasks,
            disk: Arc::new(self.disks[name].clone()),
        }
    }
}

/// Randomness of a seed.
struct SeededEntropy(Mutex<Draw>);

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut draw = self.0.lock().expect("no panic while bytes are drawn");
        draw.fill(buffer);
    }
}

/// Tasks of the node's own runtime, whose panics are recorded.
struct WatchedTasks {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    life: Lifeline,
}

impl Tasks for WatchedTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let (clock, recorder) = (Arc::clone(&self.clock), self.recorder.clone());
        let node = Arc::clone(&self.name);
        let future = Watched::new(Arc::clone(&clock), recorder.clone(), &self.life, future);
        let watched = async move {
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
        TokioTasks.spawn(name, Box::pin(watched))
    }

    /// Runs the work as a task at once: while it runs no virtual time passes, and a thread of its
    /// own would not be simulated.
    fn block(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task {
        self.spawn(name, Box::pin(async move { work() }))
    }
}
