//! Time: monotonic for measuring and waiting, wall for telling people.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::time::{Instant, WallTime};

/// The clock of a host.
pub trait Clock: Send + Sync + 'static {
    /// Now, on a clock that never goes back.
    fn now(&self) -> Instant;

    /// Now, as civil time; it may jump either way.
    fn wall(&self) -> WallTime;

    /// A timer that fires at `at`, at once if that has passed. Granularity: about 1 ms.
    fn timer(&self, at: Instant) -> Box<dyn Timer>;
}

/// A timer that can be set again, so that one allocation serves a connection's whole life.
pub trait Timer: Send + Sync {
    /// Moves the time at which it fires.
    fn reset(&mut self, at: Instant);

    /// Ready once the time has come, and from then on until it is reset.
    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// What [`timeout`](Clock#method.timeout) answers when the time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl dyn Clock {
    /// Waits until `at`.
    pub async fn sleep_until(&self, at: Instant) {
        let mut timer = self.timer(at);
        poll_fn(|context| timer.poll_elapsed(context)).await;
    }

    /// Waits for `time`.
    pub async fn sleep(&self, time: Duration) {
        self.sleep_until(self.now() + time).await;
    }

    /// Runs `future` until `at` at the latest, then drops it. The future is polled first, so
    /// that one which is ready wins even when the time is up.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the time came first.
    pub async fn timeout_at<F: Future>(
        &self,
        at: Instant,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut timer: Option<Box<dyn Timer>> = None;
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            let timer = timer.get_or_insert_with(|| self.timer(at));
            timer.poll_elapsed(context).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Runs `future` for `time` at the most, then drops it.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when the time is up.
    pub async fn timeout<F: Future>(
        &self,
        time: Duration,
        future: F,
    ) -> Result<F::Output, Elapsed> {
        self.timeout_at(self.now() + time, future).await
    }
}
