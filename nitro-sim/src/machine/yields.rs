//! Tasks that let others go first, so that seeds explore the orders inside a node too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use nitro::host::entropy::Sequence;

use crate::draw::Draw;
use crate::scenario::Yields;

/// Whether a task of a node yields, as the seed says. A clone is the same sequence.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    probability: f64,
    drawn: Arc<Sequence>,
}

impl Chance {
    pub(super) fn new(yields: Yields, mut draw: Draw) -> Self {
        Self {
            probability: yields.probability(),
            drawn: Arc::new(Sequence::from_seed(draw.whole(0, u64::MAX))),
        }
    }

    fn is_hit(&self) -> bool {
        self.probability > 0.0 && self.drawn.unit() < self.probability
    }
}

/// A task that yields now and then where it is polled, as if another had been ready before it.
pub(super) struct Yielding {
    pub(super) future: BoxFuture<'static, ()>,
    pub(super) chance: Chance,
}

impl Future for Yielding {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.chance.is_hit() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.future.as_mut().poll(context)
    }
}
