//! The time limit of a call, held to the end of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{Request, Response};
use crate::error::{Error, Result};
use crate::host::Clock;
use crate::time::Instant;

/// Holds the messages of an answer to the deadline of the call: a time limit that stopped at the
/// head would let a slow body through.
#[derive(Clone)]
pub struct BodyDeadlineLayer {
    clock: Arc<dyn Clock>,
}

impl BodyDeadlineLayer {
    /// Takes the time from this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl<S> Layer<S> for BodyDeadlineLayer {
    type Service = BodyDeadline<S>;

    fn layer(&self, inner: S) -> BodyDeadline<S> {
        let clock = Arc::clone(&self.clock);
        BodyDeadline { inner, clock }
    }
}

/// See [`BodyDeadlineLayer`].
#[derive(Clone)]
pub struct BodyDeadline<S> {
    inner: S,
    clock: Arc<dyn Clock>,
}

impl<S> Service<Request> for BodyDeadline<S>
where
    S: Service<Request, Response = Response>,
    S::Error: Into<Error>,
{
    type Response = Response;
    type Error = Error;
    type Future = BodyDeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        BodyDeadlineFuture {
            deadline: request.deadline,
            clock: Arc::clone(&self.clock),
            calling: self.inner.call(request),
        }
    }
}

pin_project! {
    /// A call under [`BodyDeadline`].
    pub struct BodyDeadlineFuture<F> {
        #[pin]
        calling: F,
        deadline: Option<Instant>,
        clock: Arc<dyn Clock>,
    }
}

impl<F, E> Future for BodyDeadlineFuture<F>
where
    F: Future<Output = Result<Response, E>>,
    E: Into<Error>,
{
    type Output = Result<Response>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.calling.poll(context)).map_err(Into::into);
        let deadline = *this.deadline;
        Poll::Ready(answer.map(|mut response| {
            if let Some(deadline) = deadline.filter(|_| !response.body.is_there()) {
                response.body = response.body.until(deadline, Arc::clone(this.clock));
            }
            response
        }))
    }
}
