//! Futures of a node under watch, so that one that never waits does not stop virtual time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nitro::host::Clock;
use nitro::time::Instant;

use super::lifeline::{Joined, Lifeline};
use crate::record::Recorder;

/// How often a task may be polled while virtual time stands still: far more than any burst of
/// messages wakes it, and a moment of this machine's time.
pub const POLLS_AT_ONE_TIME_MAX: u64 = 50_000;

/// A future of a node that ends with the node's life, that panics when it is polled without end
/// while time stands still, and stops when the run has recorded as much as it may.
///
/// A loop that never awaits is beyond its reach.
pub struct Watched<F> {
    /// None once the node's life is over.
    future: Option<F>,
    /// None where nobody cuts it.
    life: Option<Joined>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    time: Instant,
    polls: u64,
}

impl<F> Watched<F> {
    /// Puts a future of a node under watch.
    pub fn new(
        clock: Arc<dyn Clock>,
        recorder: Recorder,
        life: Option<&Lifeline>,
        future: F,
    ) -> Self {
        Self {
            future: Some(future),
            life: life.map(Lifeline::join),
            clock,
            recorder,
            time: Instant::ORIGIN,
            polls: 0,
        }
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(life) = &self.life
            && life.is_cut(context.waker())
        {
            self.future = None;
        }
        if self.recorder.is_full() {
            return Poll::Pending;
        }
        let now = self.clock.now();
        if now != self.time {
            self.time = now;
            self.polls = 0;
        }
        self.polls += 1;
        let polls = self.polls;
        assert!(
            polls <= POLLS_AT_ONE_TIME_MAX,
            "polled {polls} times while virtual time stood still: it loops without waiting for a \
             timer or a message"
        );
        let Some(future) = &mut self.future else {
            return Poll::Pending;
        };
        Pin::new(future).poll(context)
    }
}
