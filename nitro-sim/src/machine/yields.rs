//! Tasks that let others go first, so that seeds explore the orders inside a node too.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use nitro::time::Instant;

use crate::draw::{Draw, Moment, Moments};
use crate::scenario::Yields;

/// Whether the tasks of a node yield, as the seed says. Each task has draws of its own, by when it
/// was spawned, so that one task more or less leaves the others as they are.
#[derive(Debug)]
pub(super) struct Chance {
    probability: f64,
    moments: Mutex<Moments>,
}

impl Chance {
    pub(super) fn new(yields: Yields, moments: Moments) -> Self {
        Self {
            probability: yields.probability(),
            moments: Mutex::new(moments),
        }
    }

    /// A task that is spawned now.
    pub(super) fn task(&self, now: Instant, future: BoxFuture<'static, ()>) -> Yielding {
        let mut moments = self.moments.lock().expect("no panic while a draw begins");
        Yielding {
            future,
            probability: self.probability,
            draw: moments.at(now.as_nanos()),
        }
    }
}

/// A task that yields now and then where it is polled, as if another had been ready before it.
pub(super) struct Yielding {
    future: BoxFuture<'static, ()>,
    probability: f64,
    draw: Draw<Moment>,
}

impl Future for Yielding {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let probability = self.probability;
        if probability > 0.0 && self.draw.chance(probability) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}
