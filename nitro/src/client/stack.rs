//! The whole client stack on one screen, the outermost layer first.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower::{Layer, Service, ServiceBuilder};

use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::layer::{Budget, DeadlineLayer, RetryLayer, RetryPolicy, TraceLayer};
use crate::rpc::{Request, Response, Rpc};
use crate::time::Instant;

/// What of the stack can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientSettings {
    /// How long a call may take in all, retries included, unless it says less.
    pub timeout: Duration,
    /// How often and how fast to try again.
    pub retry: RetryPolicy,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
        }
    }
}

/// Puts the layers of a client around what picks a node and calls it.
pub fn stack<S>(host: &Host, settings: &ClientSettings, balance: S) -> Rpc
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    let clock = || Arc::clone(&host.clock);
    let entropy = || Arc::clone(&host.entropy);
    let budget = Budget::new(clock());
    let stack = ServiceBuilder::new()
        // Outermost, so that one span holds every attempt and the waits between.
        .layer(TraceLayer::client(clock(), entropy()))
        // One time limit for all attempts together: a caller waits once.
        .layer(DeadlineLayer::new(clock(), settings.timeout))
        // Inside the limit, which it must know: its messages are under it as well.
        .layer(BodyDeadlineLayer { clock: clock() })
        // Below the limit and above the choice of a node, so that each attempt chooses anew.
        .layer(RetryLayer::new(clock(), entropy(), settings.retry, budget))
        .service(balance);
    Rpc::new(stack)
}

/// Holds the messages of an answer to the deadline of the call: a time limit that stopped at the
/// head would let a slow body through.
#[derive(Clone)]
struct BodyDeadlineLayer {
    clock: Arc<dyn Clock>,
}

impl<S> Layer<S> for BodyDeadlineLayer {
    type Service = BodyDeadline<S>;

    fn layer(&self, inner: S) -> BodyDeadline<S> {
        let clock = Arc::clone(&self.clock);
        BodyDeadline { inner, clock }
    }
}

#[derive(Clone)]
struct BodyDeadline<S> {
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

    fn call(&mut self, request: Request) -> Self::Future {
        BodyDeadlineFuture {
            deadline: request.deadline,
            clock: Arc::clone(&self.clock),
            calling: self.inner.call(request),
        }
    }
}

pin_project! {
    struct BodyDeadlineFuture<F> {
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

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.calling.poll(context)).map_err(Into::into);
        let deadline = *this.deadline;
        Poll::Ready(answer.map(|mut response| {
            if let Some(deadline) = deadline {
                response.body = response.body.until(deadline, Arc::clone(this.clock));
            }
            response
        }))
    }
}
