//! A bound on the calls in flight that learns: what would not be answered in time is turned away.
//!
//! A server that is asked for more than it can do queues calls, somewhere inside its handlers. Once
//! the queue is longer than callers wait, each call has its turn just before its caller gives up:
//! all work is done for nobody, and stays so when the rush is over, because retries keep the queue
//! long (Bronson et al., "Metastable failures in distributed systems", HotOS 2021). A fixed bound
//! does not help: the right one is what the server does in the time that its callers leave it.
//!
//! So each method has a bound that goes by that time. Of every sixteen calls that have ended it
//! looks at how many were *late*: not answered by their deadline. Where half were, the bound falls
//! to half of the number that the last of them found in flight, and those that were let in before
//! say no more. For a while answers are *slow* that took more than half of the time that was there
//! to wait: where half were, it falls by a fifth. So the queue settles at half of the callers'
//! patience, and answers reach them. Where fewer were late or slow, and the last found at least half
//! of the bound in use, it grows by two. A call that was late before it came says nothing.
//!
//! **Where few are kept waiting in vain, nothing happens:** while deadlines are kept the bound does
//! not fall, whatever the latency. Long polls, slow methods and streams are left alone, which a
//! bound by latency alone would turn away; and a few callers in too much of a hurry do not have the
//! others turned away.
//!
//! **Source.** Additive increase and multiplicative decrease, once a round trip: Jacobson,
//! "Congestion avoidance and control", SIGCOMM 1988. On calls in flight, with timeouts as the loss
//! and growth only while half is in use: `AIMDLimit` of Netflix's concurrency-limits. That time
//! spent waiting tells of overload, and not the length of a queue: Nichols and Jacobson,
//! "Controlling queue delay", ACM Queue 2012. What others go by instead, the gradient of latency or
//! the processor's load (Netflix's `Gradient2Limit`, Kratos's BBR), knows nothing of callers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower::{Layer, Service};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Kind, Result};
use crate::host::Clock;
use crate::operation::Operation;
use crate::time::Instant;

/// Bounds that a server has; methods whose names fall on the same one share it.
const BOUNDS: usize = 64;
/// The least bound: with fewer calls in flight there is no queue worth the name.
const LIMIT_MIN: u32 = 2;
/// Calls that have ended between two looks.
const WINDOW: u32 = 16;
/// What is left of the bound where calls were late: they had found twice the queue that is wanted.
const LEFT_BY_LATE: (u64, u64) = (1, 2);
/// What is left of it where calls were slow: the queue is a little longer than is wanted.
const LEFT_BY_SLOW: (u64, u64) = (4, 5);
/// By how much it grows: an eighth in a round, far from the doubling that overshoots.
const GROWTH: u32 = WINDOW / 8;
/// How long after deadlines were missed slow answers count as well. When it is over the bound grows
/// until deadlines are missed again, if they still are: some seconds of poor service in a minute.
const ALERT: Duration = Duration::from_secs(60);

/// Makes an [`Adaptive`] around a service. All that one layer and its clones make share the bounds.
#[derive(Clone)]
pub struct AdaptiveLayer(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    bounds: [Bound; BOUNDS],
}

impl Shared {
    fn bound(&self, place: u8) -> &Bound {
        &self.bounds[usize::from(place)]
    }
}

impl AdaptiveLayer {
    /// Bounds that begin at `in_flight_max` calls of a method, and never exceed it.
    pub fn new(clock: Arc<dyn Clock>, in_flight_max: usize) -> Self {
        let most = u32::try_from(in_flight_max).unwrap_or(u32::MAX);
        let bounds = std::array::from_fn(|_| Bound::new(most));
        Self(Arc::new(Shared { clock, bounds }))
    }

    /// How many calls of a method may be in flight now.
    pub fn limit(&self, method: &str) -> usize {
        let bound = self.0.bound(place(method));
        bound.limit.load(Ordering::Relaxed) as usize
    }
}

fn place(method: &str) -> u8 {
    (xxh3_64(method.as_bytes()) % BOUNDS as u64) as u8
}

impl<S> Layer<S> for AdaptiveLayer {
    type Service = Adaptive<S>;

    fn layer(&self, inner: S) -> Adaptive<S> {
        let layer = self.clone();
        Adaptive { inner, layer }
    }
}

/// Turns away the calls that would not be answered in time: [`Unavailable`](Kind::Unavailable),
/// unsent, with the detail `reason = overloaded`, as [`Shed`](super::Shed) does.
#[derive(Clone)]
pub struct Adaptive<S> {
    inner: S,
    layer: AdaptiveLayer,
}

impl<S, Op> Service<Op> for Adaptive<S>
where
    Op: Operation,
    S: Service<Op>,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = AdaptiveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, operation: Op) -> Self::Future {
        let place = place(operation.name());
        let Some(admitted) = Admitted::new(&self.layer.0, place, operation.deadline()) else {
            return AdaptiveFuture {
                inner: None,
                admitted: None,
            };
        };
        AdaptiveFuture {
            inner: Some(self.inner.call(operation)),
            admitted: Some(admitted),
        }
    }
}

/// How many calls of a method may be in flight, and what that is learned from.
#[repr(align(64))]
struct Bound {
    in_flight: AtomicU32,
    limit: AtomicU32,
    limit_max: u32,
    /// How often it has fallen.
    falls: AtomicU32,
    /// Calls that have ended since the last look; those that were late or slow in the upper half.
    ended: AtomicU32,
    /// Until when slow answers count as late, in nanoseconds; 0 while they do not.
    alert_until: AtomicU64,
    /// The quickest answer of this alert, in nanoseconds.
    quickest: AtomicU64,
}

/// How a call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    InTime,
    Slow,
    Late,
}

/// One late or slow call, in the upper half of the count of those that have ended.
const WASTED: u32 = 1 << 16;

impl Bound {
    fn new(limit_max: u32) -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(limit_max),
            limit_max,
            falls: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            alert_until: AtomicU64::new(0),
            quickest: AtomicU64::new(u64::MAX),
        }
    }

    /// How many were in flight already, if one more may be.
    fn admit(&self) -> Option<u32> {
        let ahead = self.in_flight.fetch_add(1, Ordering::Relaxed);
        if ahead < self.limit.load(Ordering::Relaxed) {
            return Some(ahead);
        }
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        None
    }

    fn is_alert(&self) -> bool {
        self.alert_until.load(Ordering::Relaxed) != 0
    }

    /// How an answer came, while slow ones count.
    #[cold]
    fn how(&self, now: Instant, started: Instant, deadline: Instant) -> How {
        let order = Ordering::Relaxed;
        if now.as_nanos() >= self.alert_until.load(order) {
            self.alert_until.store(0, order);
            return How::InTime;
        }
        let took = now.as_nanos().saturating_sub(started.as_nanos());
        let patience = deadline.as_nanos().saturating_sub(started.as_nanos());
        // What the work itself takes is no waiting.
        let quickest = self.quickest.fetch_min(took, order).min(took);
        match took - quickest > patience.saturating_sub(quickest) / 2 {
            true => How::Slow,
            false => How::InTime,
        }
    }

    /// Counts a call that has ended, and looks whether the bound is right.
    fn count(&self, admitted: &Admitted, how: How) {
        let order = Ordering::Relaxed;
        // Those that were let in before it fell say nothing of the bound as it is.
        if admitted.falls != self.falls.load(order) {
            return;
        }
        let more = if how == How::InTime { 1 } else { 1 + WASTED };
        let ended = self.ended.fetch_add(more, order).wrapping_add(more);
        if ended % WASTED == WINDOW {
            self.ended.store(0, order);
            self.adjust(admitted, ended / WASTED, how);
        }
    }

    #[cold]
    fn adjust(&self, admitted: &Admitted, wasted: u32, last: How) {
        let order = Ordering::Relaxed;
        let limit = self.limit.load(order);
        if wasted * 2 >= WINDOW {
            if !self.is_alert() {
                tracing::warn!(
                    wasted,
                    of = WINDOW,
                    limit,
                    "callers wait in vain: fewer are let in"
                );
                let until = admitted.shared.clock.now() + ALERT;
                self.quickest.store(u64::MAX, order);
                self.alert_until.store(until.as_nanos(), order);
            }
            let too_many = limit.min(admitted.ahead.saturating_add(1));
            let (share, whole) = match last {
                How::Late => LEFT_BY_LATE,
                How::Slow | How::InTime => LEFT_BY_SLOW,
            };
            let lower = u64::from(too_many) * share / whole;
            let lower = u32::try_from(lower).expect("a share is below the whole");
            let lower = lower.max(LIMIT_MIN).min(self.limit_max);
            self.limit.store(lower, order);
            self.falls.fetch_add(1, order);
        } else if admitted.ahead.saturating_add(1) >= limit / 2 {
            // What it found, not what is left now: of calls that come in bursts the last to end
            // is alone.
            let higher = limit.saturating_add(GROWTH).min(self.limit_max);
            self.limit.store(higher, order);
        }
    }
}

/// A call's place among those in flight.
struct Admitted {
    shared: Arc<Shared>,
    place: u8,
    /// How many were in flight already.
    ahead: u32,
    /// How often the bound had fallen.
    falls: u32,
    deadline: Option<Instant>,
    /// When it began; only while slow answers count, so that most calls do not look at the clock.
    started: Option<Instant>,
    has_ended: bool,
}

impl Admitted {
    fn new(shared: &Arc<Shared>, place: u8, deadline: Option<Instant>) -> Option<Self> {
        let bound = shared.bound(place);
        let ahead = bound.admit()?;
        Some(Self {
            place,
            ahead,
            falls: bound.falls.load(Ordering::Relaxed),
            deadline,
            started: bound.is_alert().then(|| shared.clock.now()),
            has_ended: false,
            shared: Arc::clone(shared),
        })
    }

    fn end<T>(&mut self, answer: &Result<T>) {
        let bound = self.shared.bound(self.place);
        let is_late = matches!(answer, Err(error) if error.kind() == Kind::DeadlineExceeded);
        self.has_ended = true;
        if matches!(answer, Err(error) if error.is_unsent()) {
            // It came too late, or was turned away further on: it says nothing of a queue here.
            return;
        }
        let how = match (self.started, self.deadline) {
            _ if is_late && self.is_overdue() => How::Late,
            (Some(started), Some(deadline)) if answer.is_ok() => {
                bound.how(self.shared.clock.now(), started, deadline)
            }
            _ => How::InTime,
        };
        bound.count(self, how);
    }

    #[cold]
    fn is_overdue(&self) -> bool {
        let is_past = |deadline| self.shared.clock.now() >= deadline;
        self.deadline.is_some_and(is_past)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let bound = self.shared.bound(self.place);
        // A caller who gave up for a reason of its own says nothing.
        if !self.has_ended && self.is_overdue() {
            bound.count(self, How::Late);
        }
        bound.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A call that was let in, or not.
    pub struct AdaptiveFuture<F> {
        // None when turned away.
        #[pin]
        inner: Option<F>,
        admitted: Option<Admitted>,
    }
}

impl<F, R, E> Future for AdaptiveFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            let message = "overloaded: an answer would come too late";
            let error = Error::unavailable(message).with_detail("reason", "overloaded");
            return Poll::Ready(Err(error.unsent()));
        };
        let answer = ready!(inner.poll(context)).map_err(Into::into);
        // The place is free as soon as there is an answer, whoever still holds the future.
        if let Some(mut admitted) = this.admitted.take() {
            admitted.end(&answer);
        }
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests;
