//! A bound on the calls in flight: the one too many is turned away at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::error::{Error, Result};
use crate::operation::Operation;

/// Makes a [`Shed`] around a service. All that one layer and its clones make share the bound.
#[derive(Clone, Debug)]
pub struct ShedLayer {
    in_flight: Arc<AtomicUsize>,
    in_flight_max: usize,
}

impl ShedLayer {
    /// At most `in_flight_max` calls at a time.
    pub fn new(in_flight_max: usize) -> Self {
        let in_flight = Arc::new(AtomicUsize::new(0));
        Self {
            in_flight,
            in_flight_max,
        }
    }

    /// Calls in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn admit(&self) -> Option<Admitted> {
        let more = |count: usize| (count < self.in_flight_max).then_some(count + 1);
        let (order, in_flight) = (Ordering::Relaxed, &self.in_flight);
        in_flight.fetch_update(order, order, more).ok()?;
        Some(Admitted(Arc::clone(in_flight)))
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        let layer = self.clone();
        Shed { inner, layer }
    }
}

/// Turns calls away at the bound: [`Unavailable`](crate::Kind::Unavailable), unsent, with the
/// detail `reason = overloaded`, so that the caller may try another node. Waiting in a queue
/// instead would spend the time in which another node could have answered.
#[derive(Clone, Debug)]
pub struct Shed<S> {
    inner: S,
    layer: ShedLayer,
}

impl<S, Op> Service<Op> for Shed<S>
where
    Op: Operation,
    S: Service<Op>,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ShedFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, operation: Op) -> Self::Future {
        let in_flight_max = self.layer.in_flight_max;
        let Some(admitted) = self.layer.admit() else {
            return ShedFuture {
                inner: None,
                admitted: None,
                in_flight_max,
            };
        };
        ShedFuture {
            inner: Some(self.inner.call(operation)),
            admitted: Some(admitted),
            in_flight_max,
        }
    }
}

/// A call's place in the count.
#[derive(Debug)]
struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A call that was let in, or not.
    pub struct ShedFuture<F> {
        // None when turned away.
        #[pin]
        inner: Option<F>,
        admitted: Option<Admitted>,
        in_flight_max: usize,
    }
}

impl<F, R, E> Future for ShedFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            let message = format!("overloaded: {} calls are in flight", this.in_flight_max);
            let error = Error::unavailable(message).with_detail("reason", "overloaded");
            return Poll::Ready(Err(error.unsent()));
        };
        let answer = ready!(inner.poll(context));
        // The place is free as soon as there is an answer, whoever still holds the future.
        *this.admitted = None;
        Poll::Ready(answer.map_err(Into::into))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::Kind;
    use crate::layer::tests::{Act, Call, Scripted};

    fn slow() -> Act {
        Act::AnswerAfter(Duration::from_secs(1), Ok(1))
    }

    #[tokio::test(start_paused = true)]
    async fn the_call_past_the_bound_is_turned_away_at_once_unsent() {
        let layer = ShedLayer::new(2);
        let inner = Scripted::new([slow(), slow(), slow()]);
        let (mut one, mut other) = (layer.layer(inner.clone()), layer.layer(inner.clone()));
        let first = one.call(Call::default());
        let second = other.call(Call::default());
        assert_eq!(layer.in_flight(), 2);
        let error = one.call(Call::default()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.detail("reason"), Some("overloaded"));
        assert!(error.is_unsent());
        assert_eq!(inner.seen().len(), 2);

        first.await.unwrap();
        assert_eq!(layer.in_flight(), 1);
        assert_eq!(one.call(Call::default()).await.unwrap(), 1);
        drop(second);
        assert_eq!(layer.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_frees_the_place_even_while_the_future_is_kept() {
        let layer = ShedLayer::new(1);
        let mut service = layer.layer(Scripted::default());
        let mut calling = Box::pin(service.call(Call::default()));
        calling.as_mut().await.unwrap();
        assert_eq!(layer.in_flight(), 0);
    }
}
