//! Another try, on another node, where that is safe and there is budget for it.

mod budget;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use thin_vec::ThinVec;
use tower::util::Oneshot;
use tower::{Layer, Service};

pub use self::budget::Budget;
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::{Error, Result};
use crate::host::{Clock, Entropy, Timer};
use crate::operation::Operation;
use crate::time::Instant;

/// How often and how fast to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts at a call in all, the first included; 1 never retries.
    pub attempts_max: u32,
    /// The wait before the first retry.
    pub backoff_first: Duration,
    /// By how much each wait is longer than the one before.
    pub backoff_multiplier: f64,
    /// The longest wait, before jitter.
    pub backoff_max: Duration,
    /// Each wait is made longer or shorter by up to this share, so that clients disperse.
    pub jitter: f64,
}

impl Default for RetryPolicy {
    /// Three attempts, waiting 25 ms, then 50 ms, each 20 % more or less.
    fn default() -> Self {
        Self {
            attempts_max: 3,
            backoff_first: Duration::from_millis(25),
            backoff_multiplier: 2.0,
            backoff_max: Duration::from_secs(1),
            jitter: 0.2,
        }
    }
}

impl RetryPolicy {
    /// The wait before a retry, the first being number 1.
    pub fn backoff(&self, retry: u32, entropy: &dyn Entropy) -> Duration {
        let exponent = i32::try_from(retry.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.backoff_first.as_secs_f64() * self.backoff_multiplier.powi(exponent);
        let wait = grown.min(self.backoff_max.as_secs_f64());
        let unit = (entropy.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let slow = f64::from(u8::from(trick!(entropy, "a retry waits longer")));
        let spread = 1.0 + self.jitter * (2.0 * unit - 1.0) + slow;
        Duration::try_from_secs_f64(wait * spread).unwrap_or(self.backoff_max)
    }
}

/// Makes a [`Retry`] around a service. All that one layer and its clones make share the budget.
#[derive(Clone)]
pub struct RetryLayer {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    policy: RetryPolicy,
    budget: Budget,
}

impl RetryLayer {
    /// Retries by a policy, within a budget that other layers may share.
    pub fn new(
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        policy: RetryPolicy,
        budget: Budget,
    ) -> Self {
        let shared = Arc::new(Shared {
            clock,
            entropy,
            policy,
            budget,
        });
        Self { shared }
    }
}

impl<S: Clone> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        let kept = Arc::new(Kept {
            service: inner.clone(),
            shared: Arc::clone(&self.shared),
        });
        Retry { inner, kept }
    }
}

/// What a call keeps for further attempts, counted once.
struct Kept<S> {
    service: S,
    shared: Arc<Shared>,
}

/// Tries a failed call again when it is certain that no handler saw it, or when doing it twice
/// is the same as once and another try may do. Each new try asks for a node that has not failed
/// this call, and none begins that would come too late: the last error is answered instead.
///
/// The first retry after a failure that no handler saw goes out at once, as it goes to another
/// node; every other one waits first.
#[derive(Clone)]
pub struct Retry<S> {
    inner: S,
    kept: Arc<Kept<S>>,
}

impl<S, Op> Service<Op> for Retry<S>
where
    Op: Operation,
    S: Service<Op> + Clone,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = RetryFuture<S, Op>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, operation: Op) -> Self::Future {
        let shared = &self.kept.shared;
        let begun = operation.begun();
        let now = begun.unwrap_or_else(|| shared.clock.now());
        shared.budget.count_call(now);
        let again = match shared.policy.attempts_max {
            0 | 1 => None,
            _ => operation.try_clone().map(|spare| Again {
                kept: Arc::clone(&self.kept),
                operation: spare,
                failed: ThinVec::new(),
                attempts: 1,
            }),
        };
        RetryFuture {
            attempt: Attempt::First {
                calling: self.inner.call(operation),
            },
            again,
        }
    }
}

pin_project! {
    /// A call that may be tried more than once.
    pub struct RetryFuture<S, Op>
    where
        S: Service<Op>,
    {
        #[pin]
        attempt: Attempt<S, Op>,
        // What another try needs; None when there can be none.
        again: Option<Again<S, Op>>,
    }
}

pin_project! {
    #[project = AttemptProjection]
    enum Attempt<S, Op>
    where
        S: Service<Op>,
    {
        First { #[pin] calling: S::Future },
        Waiting { timer: Box<dyn Timer> },
        // Boxed, as most calls need no other and are moved all the same.
        Later { calling: Pin<Box<Oneshot<S, Op>>> },
    }
}

struct Again<S, Op> {
    kept: Arc<Kept<S>>,
    operation: Op,
    failed: ThinVec<Arc<str>>,
    attempts: u32,
}

impl<S, Op> Future for RetryFuture<S, Op>
where
    Op: Operation,
    S: Service<Op> + Clone,
    S::Error: Into<Error>,
{
    type Output = Result<S::Response>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let answer = match this.attempt.as_mut().project() {
                AttemptProjection::First { calling } => ready!(calling.poll(context)),
                AttemptProjection::Later { calling } => ready!(calling.as_mut().poll(context)),
                AttemptProjection::Waiting { timer } => {
                    ready!(timer.poll_elapsed(context));
                    let next = next_attempt(this.again);
                    this.attempt.set(next);
                    continue;
                }
            };
            let error = match answer {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(error) => error.into(),
            };
            let Some(again) = this.again.as_mut() else {
                return Poll::Ready(Err(error));
            };
            let Some(wait_until) = again.after(&error) else {
                return Poll::Ready(Err(error));
            };
            let next = match wait_until {
                Some(at) => Attempt::Waiting {
                    timer: again.kept.shared.clock.timer(at),
                },
                None => next_attempt(this.again),
            };
            this.attempt.set(next);
        }
    }
}

impl<S, Op: Operation> Again<S, Op> {
    /// Whether to try again after an error: not at all, or at once, or at a time.
    fn after(&mut self, error: &Error) -> Option<Option<Instant>> {
        let shared = &self.kept.shared;
        let policy = &shared.policy;
        let safe = error.is_unsent() || (self.operation.is_idempotent() && error.is_retryable());
        if !safe {
            return None;
        }
        let now = shared.clock.now();
        let at_once = error.is_unsent() && self.attempts == 1;
        let wait = match at_once {
            true => Duration::ZERO,
            false => policy.backoff(self.attempts, &*shared.entropy),
        };
        let at = now + wait;
        let too_late = self.operation.deadline().is_some_and(|by| at >= by);
        // Asked last, so that a retry which is not made costs the budget nothing.
        if too_late || !shared.budget.take_retry(now) {
            return None;
        }
        self.attempts += 1;
        let node = error.node().filter(|node| !self.failed.contains(node));
        self.failed.extend(node.cloned());
        Some((!at_once).then_some(at))
    }
}

/// Begins the next attempt. The spare operation itself goes into the last one, after which there
/// is nothing left to try again with.
fn next_attempt<S, Op>(slot: &mut Option<Again<S, Op>>) -> Attempt<S, Op>
where
    Op: Operation,
    S: Service<Op> + Clone,
{
    point!(Reachable, true, "a call is tried again");
    let again = slot.take().expect("a retry was decided on");
    let last = again.attempts >= again.kept.shared.policy.attempts_max;
    let spare = (!last).then(|| again.operation.try_clone()).flatten();
    let Again {
        kept,
        mut operation,
        failed,
        attempts,
    } = again;
    for node in &failed {
        operation.avoid(node);
    }
    // As a caller would: the service that is kept was never made ready.
    let calling = Box::pin(Oneshot::new(kept.service.clone(), operation));
    *slot = spare.map(|spare| Again {
        kept,
        operation: spare,
        failed,
        attempts,
    });
    Attempt::Later { calling }
}

#[cfg(test)]
mod tests;
