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
use crate::network::{Attached, Attachment, Links};
use crate::record::Recorder;
use crate::trace::EventKind;
pub use lifeline::Lifeline;
pub use watch::{POLLS_AT_ONE_TIME_MAX, Watched};

/// The machines of a cluster: what outlives a crash, and what all share.
#[derive(Debug)]
pub struct Machines {
    seed: u64,
    links: Links,
    recorder: Recorder,
    disks: BTreeMap<Arc<str>, MemoryDisk>,
}

impl Machines {
    /// Machines with empty disks.
    pub fn new(seed: u64, names: &[Arc<str>], links: Links, recorder: Recorder) -> Self {
        let disk = |name: &Arc<str>| (Arc::clone(name), MemoryDisk::new());
        let disks = names.iter().map(disk).collect();
        Self {
            seed,
            links,
            recorder,
            disks,
        }
    }

    /// Who a node is to the links and the recorder, in a life with this clock.
    pub fn attach(&self, name: &Arc<str>, clock: Arc<dyn Clock>) -> Attached {
        Attached {
            node: self.links.node(name).expect("the links know every node"),
            links: self.links.clone(),
            name: Arc::clone(name),
            clock,
            recorder: self.recorder.clone(),
        }
    }

    /// The host of a node in one of its lives. The disk is that of its earlier lives; the
    /// randomness is its own.
    pub fn host(
        &self,
        name: &Arc<str>,
        incarnation: u32,
        life: &Lifeline,
        clock: Arc<dyn Clock>,
        sockets: Arc<dyn Network>,
    ) -> Host {
        let at = self.attach(name, Arc::clone(&clock));
        let tasks: Arc<dyn Tasks> = Arc::new(WatchedTasks {
            at: at.clone(),
            life: life.clone(),
        });
        let draw = Draw::new(self.seed, &format!("entropy/{name}/{incarnation}"));
        Host {
            clock,
            network: Arc::new(Attachment::new(at, sockets, Arc::clone(&tasks))),
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
    at: Attached,
    life: Lifeline,
}

impl Tasks for WatchedTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let at = self.at.clone();
        let future = Watched::new(at.clone(), &self.life, future);
        let watched = async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                at.record(EventKind::TaskPanicked {
                    task: name.to_owned(),
                    message: panic_message(&*panic),
                });
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
