//! Concurrent work: spawned, named, aborted and joined through the host.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

/// What runs the tasks of a host.
pub trait Tasks: Send + Sync + 'static {
    /// Starts a task. The name is for reports: what it does, not who asked.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task;

    /// Runs work that blocks, where blocking hurts nobody. It cannot be aborted.
    fn block(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task;
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It returned.
    Finished,
    /// It was aborted, or its host went down.
    Aborted,
    /// It panicked, with this message.
    Panicked(String),
}

/// A running task. Dropping it lets the task run on; see [`Task::abort_on_drop`].
pub struct Task(Box<dyn Control>);

/// What an implementation of [`Tasks`] gives to control a task.
pub trait Control: Send + Sync {
    /// Drops the task's future at its next pause; nothing happens if it has ended.
    fn abort(&self);

    /// Whether it has ended.
    fn is_finished(&self) -> bool;

    /// Ready when it has ended.
    fn poll_join(&mut self, context: &mut Context<'_>) -> Poll<Ended>;
}

impl Task {
    /// Wraps an implementation's handle.
    pub fn new(control: impl Control + 'static) -> Self {
        Self(Box::new(control))
    }

    /// Drops the task's future at its next pause.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until it has ended.
    pub async fn join(mut self) -> Ended {
        poll_fn(|context| self.0.poll_join(context)).await
    }

    /// Ties the task's life to a value: when that is dropped, the task is aborted.
    pub fn abort_on_drop(self) -> TaskGuard {
        TaskGuard(self)
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finished = self.is_finished();
        f.debug_struct("Task").field("finished", &finished).finish()
    }
}

/// A task that ends with the value that holds it.
#[derive(Debug)]
pub struct TaskGuard(Task);

impl TaskGuard {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The text of a panic's payload.
pub fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

/// [`Tasks`] on the tokio runtime that calls it: the real machine's, or a simulated node's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioTasks;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that the ban points to"
)]
impl Tasks for TokioTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        Task::new(tokio::task::spawn(future))
    }

    fn block(&self, _name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task {
        Task::new(tokio::task::spawn_blocking(work))
    }
}

impl Control for tokio::task::JoinHandle<()> {
    fn abort(&self) {
        tokio::task::JoinHandle::abort(self);
    }

    fn is_finished(&self) -> bool {
        tokio::task::JoinHandle::is_finished(self)
    }

    fn poll_join(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        std::pin::Pin::new(self)
            .poll(context)
            .map(|result| match result {
                Ok(()) => Ended::Finished,
                Err(error) if error.is_cancelled() => Ended::Aborted,
                Err(error) => Ended::Panicked(panic_message(&*error.into_panic())),
            })
    }
}
