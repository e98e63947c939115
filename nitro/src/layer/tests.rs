//! What the tests of the layers share: an operation, a service, a stranger's layer; and the test
//! that ours and a stranger's compose.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::error::{BoxError, Error, Result};
use crate::host::{Clock, Host, SharedTimers, tokio::MachineClock};
use crate::metadata::Metadata;
use crate::operation::Operation;
use crate::time::Instant;

/// A call whose every part a test can set.
#[derive(Clone, Debug, Default)]
pub(super) struct Call {
    pub(super) once_only: bool,
    pub(super) stream: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) begun: Option<Instant>,
    pub(super) metadata: Metadata,
    pub(super) avoided: Vec<Arc<str>>,
}

impl Operation for Call {
    fn name(&self) -> &str {
        "greeter/hello"
    }

    fn is_idempotent(&self) -> bool {
        !self.once_only
    }

    fn try_clone(&self) -> Option<Self> {
        (!self.stream).then(|| self.clone())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    fn begun(&self) -> Option<Instant> {
        self.begun
    }

    fn set_begun(&mut self, begun: Option<Instant>) {
        self.begun = begun;
    }

    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    fn avoid(&mut self, node: &Arc<str>) {
        self.avoided.push(Arc::clone(node));
    }
}

/// What the scripted service does with a call.
pub(super) enum Act {
    Answer(Result<u32>),
    AnswerAfter(Duration, Result<u32>),
    PanicInCall,
    PanicInPoll,
}

/// A service that acts by a script, and keeps the calls it saw.
#[derive(Clone, Default)]
pub(super) struct Scripted(Arc<Mutex<(VecDeque<Act>, Vec<Call>)>>);

impl Scripted {
    pub(super) fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let acts = acts.into_iter().collect();
        Self(Arc::new(Mutex::new((acts, Vec::new()))))
    }

    pub(super) fn seen(&self) -> Vec<Call> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Service<Call> for Scripted {
    type Response = u32;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<u32>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let act = {
            let mut inner = self.0.lock().unwrap();
            inner.1.push(call);
            inner.0.pop_front()
        };
        match act.unwrap_or(Act::Answer(Ok(0))) {
            Act::Answer(answer) => Box::pin(async { answer }),
            Act::AnswerAfter(after, answer) => Box::pin(async move {
                clock().sleep(after).await;
                answer
            }),
            Act::PanicInCall => panic!("the call went wrong"),
            Act::PanicInPoll => Box::pin(async { panic!("the {} went wrong", "poll") }),
        }
    }
}

pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(MachineClock::new())
}

pub(super) fn timers() -> SharedTimers {
    timers_over(&clock())
}

/// Timers that tell the time as a clock does.
pub(super) fn timers_over(clock: &Arc<dyn Clock>) -> SharedTimers {
    SharedTimers::new(&Host {
        clock: Arc::clone(clock),
        ..crate::host::tokio::host()
    })
}

/// A layer as strangers write them: it knows nothing of operations, and boxes every error.
#[derive(Clone)]
struct Foreign<S>(S);

impl<S, Q> Service<Q> for Foreign<S>
where
    S: Service<Q>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let calling = self.0.call(request);
        Box::pin(async move { calling.await.map_err(Into::into) })
    }
}

/// The whole stack, with a stranger's layer between every two of ours.
fn stack(
    service: Scripted,
) -> impl Service<Call, Response = u32, Error = BoxError, Future: Send> + Clone + Sync {
    let entropy = Arc::new(crate::host::entropy::Sequence::from_seed(1));
    let budget = Budget::new(clock().now());
    let retry = RetryLayer::new(clock(), entropy.clone(), RetryPolicy::default(), budget);
    let deadline = DeadlineLayer::new(timers(), Duration::from_secs(1));
    let inner = Foreign(ShedLayer::new(1).layer(Foreign(service)));
    let inner = Foreign(retry.layer(Foreign(deadline.layer(inner))));
    Foreign(TraceLayer::client(clock(), entropy).layer(Foreign(CatchPanicLayer.layer(inner))))
}

#[tokio::test(start_paused = true)]
async fn layers_of_ours_and_of_strangers_compose_at_any_depth() {
    let unavailable = || Act::Answer(Err(Error::unavailable("draining")));
    let service = Scripted::new([unavailable(), Act::Answer(Ok(7))]);
    let answer = stack(service.clone()).oneshot(Call::default()).await;
    assert_eq!(answer.unwrap(), 7);
    assert_eq!(service.seen().len(), 2, "retried through strangers");
    assert!(service.seen()[1].deadline.is_some());

    let never = Act::AnswerAfter(Duration::from_secs(60), Ok(1));
    let boxed = stack(Scripted::new([never])).oneshot(Call::default()).await;
    let error = Error::from(boxed.unwrap_err());
    assert_eq!(error.kind(), crate::Kind::DeadlineExceeded);

    let panics = crate::AnyService::new(stack(Scripted::new([Act::PanicInPoll])));
    let error = panics.call(Call::default()).await.unwrap_err();
    assert_eq!(error.kind(), crate::Kind::Internal);
}
