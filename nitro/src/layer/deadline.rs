//! A time limit for every call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::error::{Error, Result};
use crate::host::{Clock, SharedTimer, SharedTimers, Timer};
use crate::name::Name;
use crate::operation::Operation;
use crate::time::Instant;

/// Holds an answer that goes on after its head, as a stream does, to the time limit of its call.
pub trait Limit<R>: Clone {
    /// Sees to it that the answer ends by `deadline`.
    fn limit(&self, answer: &mut R, deadline: Instant, timers: &SharedTimers);
}

/// Nothing to do: the answer is whole when it is there.
impl<R> Limit<R> for () {
    fn limit(&self, _answer: &mut R, _deadline: Instant, _timers: &SharedTimers) {}
}

/// Makes a [`Deadline`] around a service.
#[derive(Clone)]
pub struct DeadlineLayer<L = ()> {
    timers: SharedTimers,
    timeout: Duration,
    limit: L,
    hands_on: bool,
}

impl DeadlineLayer {
    /// Every call ends within `timeout`, or by its own deadline if that comes first.
    pub fn new(timers: SharedTimers, timeout: Duration) -> Self {
        Self {
            timers,
            timeout,
            limit: (),
            hands_on: false,
        }
    }

    /// The same, for what goes on after the head of an answer as well.
    pub fn holding<L>(self, limit: L) -> DeadlineLayer<L> {
        DeadlineLayer {
            timers: self.timers,
            timeout: self.timeout,
            limit,
            hands_on: self.hands_on,
        }
    }
}

impl<L> DeadlineLayer<L> {
    /// The same, which tells those below when the call began. They must begin it there and then: a
    /// time that is handed on is the wrong one after a wait.
    pub fn handing_on(self) -> Self {
        let hands_on = true;
        Self { hands_on, ..self }
    }
}

impl<S, L: Clone> Layer<S> for DeadlineLayer<L> {
    type Service = Deadline<S, L>;

    fn layer(&self, inner: S) -> Deadline<S, L> {
        let layer = self.clone();
        Deadline { inner, layer }
    }
}

/// Ends calls whose time is up: a call that comes too late is refused unsent, one that takes too
/// long is dropped. Both answer [`DeadlineExceeded`](crate::Kind::DeadlineExceeded).
///
/// The deadline is written into the operation, so that whoever carries it further can pass it on.
#[derive(Clone)]
pub struct Deadline<S, L = ()> {
    inner: S,
    layer: DeadlineLayer<L>,
}

impl<S, L, Op> Service<Op> for Deadline<S, L>
where
    Op: Operation,
    S: Service<Op>,
    S::Error: Into<Error>,
    L: Limit<S::Response>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = DeadlineFuture<S::Future, L>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut operation: Op) -> Self::Future {
        let layer = &self.layer;
        let started = layer.timers.now();
        let limit = started + layer.timeout;
        let deadline = operation.deadline().map_or(limit, |own| own.min(limit));
        let name = operation.kept_name();
        let timer = layer.timers.at(deadline);
        let inner = (deadline > started).then(|| {
            operation.set_begun(layer.hands_on.then_some(started));
            operation.set_deadline(deadline);
            self.inner.call(operation)
        });
        DeadlineFuture {
            inner,
            timer,
            started,
            name,
            limit: layer.limit.clone(),
        }
    }
}

pin_project! {
    /// A call with a time limit.
    pub struct DeadlineFuture<F, L = ()> {
        // None when refused from the start, and once the time is up.
        #[pin]
        inner: Option<F>,
        // Set when the call first has to wait: most calls in a process never do.
        timer: SharedTimer,
        started: Instant,
        name: Name,
        limit: L,
    }
}

impl<F, L, R, E> Future for DeadlineFuture<F, L>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
    L: Limit<R>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            let message = format!("{}: the deadline had passed before the call", this.name);
            return Poll::Ready(Err(Error::deadline_exceeded(message).unsent()));
        };
        if let Poll::Ready(mut answer) = inner.poll(context) {
            if let Ok(answer) = &mut answer {
                let timer = &*this.timer;
                this.limit.limit(answer, timer.time(), timer.timers());
            }
            return Poll::Ready(answer.map_err(Into::into));
        }
        ready!(this.timer.poll_elapsed(context));
        this.inner.set(None);
        let limit = this.timer.time().since(*this.started);
        let message = format!("{}: no answer within {limit:?}", this.name);
        Poll::Ready(Err(Error::deadline_exceeded(message)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tower::ServiceExt;

    use super::*;
    use crate::error::Kind;
    use crate::layer::tests::{Act, Call, Scripted, clock, timers, timers_over};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_own_deadline_or_the_limit_whichever_is_first() {
        for (own, expected) in [(None, 1_000), (Some(400), 400), (Some(5_000), 1_000)] {
            let (timers, service) = (timers(), [Act::AnswerAfter(SECOND * 60, Ok(1))]);
            let (clock, service) = (timers.clone(), Scripted::new(service));
            let deadline = own.map(|millis| clock.now() + Duration::from_millis(millis));
            let call = Call {
                deadline,
                ..Call::default()
            };
            let started = clock.now();
            let layer = DeadlineLayer::new(timers, SECOND);
            let error = layer
                .layer(service.clone())
                .oneshot(call)
                .await
                .unwrap_err();
            let took = clock.now().since(started).as_millis();
            // Timers have a granularity of a millisecond.
            assert!((expected..=expected + 2).contains(&took), "{took} ms");
            assert_eq!(error.kind(), Kind::DeadlineExceeded);
            assert!(!error.is_unsent());
            let limit = Duration::from_millis(u64::try_from(expected).unwrap());
            let text = format!("greeter/hello: no answer within {limit:?}");
            assert_eq!(error.message(), text);
            assert_eq!(service.seen()[0].deadline, Some(started + limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_a_call_began_is_handed_on_where_it_is_wanted_and_nowhere_else() {
        let timers = timers();
        let begun = Some(timers.now());
        tokio::time::advance(SECOND).await;
        for (hands_on, handed_on) in [(false, None), (true, Some(timers.now()))] {
            let service = Scripted::default();
            let mut layer = DeadlineLayer::new(timers.clone(), 2 * SECOND);
            if hands_on {
                layer = layer.handing_on();
            }
            let call = Call {
                begun,
                ..Call::default()
            };
            layer.layer(service.clone()).oneshot(call).await.unwrap();
            let seen = &service.seen()[0];
            assert_eq!(seen.begun, handed_on);
            assert_eq!(seen.deadline, Some(timers.now() + 2 * SECOND));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_comes_too_late_is_refused_unsent() {
        let timers = timers();
        let service = Scripted::default();
        let call = Call {
            deadline: Some(timers.now()),
            ..Call::default()
        };
        let layer = DeadlineLayer::new(timers, SECOND);
        let error = layer
            .layer(service.clone())
            .oneshot(call)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::DeadlineExceeded);
        assert!(error.is_unsent());
        assert!(service.seen().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_time_is_up_is_dropped_with_what_it_holds() {
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let waits = tower::service_fn(move |_: Call| {
            let holder = Arc::clone(&holder);
            async move {
                let _held = holder;
                std::future::pending::<Result<u32>>().await
            }
        });
        let layer = DeadlineLayer::new(timers(), SECOND);
        let mut calling = Box::pin(layer.layer(waits.clone()).oneshot(Call::default()));
        // One here, one in the closure, one in its clone.
        assert_eq!(Arc::strong_count(&held), 3);
        calling.as_mut().await.unwrap_err();
        assert_eq!(
            Arc::strong_count(&held),
            2,
            "Oneshot dropped the service, we the call"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_timer_is_made_for_a_call_that_does_not_wait() {
        struct NoTimers(Arc<dyn Clock>);
        impl Clock for NoTimers {
            fn now(&self) -> Instant {
                self.0.now()
            }
            fn wall(&self) -> crate::time::WallTime {
                self.0.wall()
            }
            fn timer(&self, _at: Instant) -> Box<dyn Timer> {
                panic!("a timer was made")
            }
        }
        let clock: Arc<dyn Clock> = Arc::new(NoTimers(clock()));
        let layer = DeadlineLayer::new(timers_over(&clock), SECOND);
        let service = layer.layer(Scripted::new([Act::Answer(Ok(3))]));
        assert_eq!(service.oneshot(Call::default()).await.unwrap(), 3);
    }
}
