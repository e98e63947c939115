//! Tasks of a node on madsim's executor.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use madsim::runtime::NodeHandle;
use madsim::task::JoinHandle;
use nitro::host::tasks::{Control, Ended, panic_message};
use nitro::host::{Task, Tasks};

use super::seat::{Seat, Seated};

/// What runs the tasks of a node.
pub(super) struct NodeTasks {
    pub(super) node: NodeHandle,
    pub(super) seat: Seat,
}

impl Tasks for NodeTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        // A panic that leaves a task would end the run.
        let caught = async move {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            ended.map_err(|panic| panic_message(&*panic))
        };
        let task = Seated {
            seat: self.seat.clone(),
            future: caught.boxed(),
        };
        Task::new(Running(self.node.spawn(task)))
    }

    fn block(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task {
        self.spawn(name, Box::pin(async move { work() }))
    }
}

struct Running(JoinHandle<Result<(), String>>);

impl Control for Running {
    fn abort(&self) {
        self.0.abort();
    }

    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    fn poll_join(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        let joined = Pin::new(&mut self.0).poll(context);
        joined.map(|joined| match joined {
            Ok(Ok(())) => Ended::Finished,
            Ok(Err(message)) => Ended::Panicked(message),
            Err(_) => Ended::Aborted,
        })
    }
}
