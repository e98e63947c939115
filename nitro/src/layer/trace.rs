//! A tracing span for every call, tied to the trace that it is part of.

mod context;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;

pub use self::context::TraceContext;
use crate::error::{Error, Kind, Result};
use crate::host::{Clock, Entropy};
use crate::metadata::Metadata;
use crate::operation::Operation;
use crate::time::Instant;

/// The target of every call's span, by which a subscriber asks for them.
pub const TARGET: &str = "nitro::call";

/// Makes a [`Trace`] around a service.
#[derive(Clone)]
pub struct TraceLayer(Arc<Shared>);

struct Shared {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    side: Side,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl TraceLayer {
    /// Spans of `kind = client`: calls that go out.
    pub fn client(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self::new(clock, entropy, Side::Client)
    }

    /// Spans of `kind = server`: calls that come in.
    pub fn server(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self::new(clock, entropy, Side::Server)
    }

    fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, side: Side) -> Self {
        Self(Arc::new(Shared {
            clock,
            entropy,
            side,
        }))
    }

    /// The context of a call's own span: part of the trace found in the metadata, or of a new
    /// one. It is written back, so that the next hop, or a call that the handler makes with the
    /// metadata it was given, is a child of this span.
    fn enter(&self, metadata: &mut Metadata, span: &Span) {
        let found = metadata.get_str("traceparent");
        let parent = found.and_then(TraceContext::parse);
        let own = match parent {
            Some(parent) => {
                span.record("parent_id", tracing::field::display(parent.span_hex()));
                parent.child(&*self.0.entropy)
            }
            None => {
                // State that belongs to no valid trace is not passed on.
                metadata.remove("tracestate");
                TraceContext::generate(&*self.0.entropy)
            }
        };
        span.record("trace_id", tracing::field::display(own.trace_hex()));
        span.record("span_id", tracing::field::display(own.span_hex()));
        // Metadata may be full: then the call goes on, and only the trace ends here.
        let _ = metadata.insert("traceparent", own.to_string());
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Trace<S> {
        let layer = self.clone();
        Trace { inner, layer }
    }
}

/// Runs each call in a span with the fields `name`, `kind`, `trace_id`, `span_id`, `parent_id`,
/// and at its end `latency_ms` and, if it failed, `error`, the kind; a call that was dropped has
/// the error `cancelled`.
///
/// The trace travels in the metadata, as [W3C Trace Context](https://www.w3.org/TR/trace-context/)
/// has it. Where no subscriber wants the span, nothing is measured and the metadata is left as it
/// is.
#[derive(Clone)]
pub struct Trace<S> {
    inner: S,
    layer: TraceLayer,
}

impl<S, Op> Service<Op> for Trace<S>
where
    Op: Operation,
    S: Service<Op>,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, mut operation: Op) -> Self::Future {
        // Asked first, as a span that nobody wants is not made for nothing.
        if !tracing::span_enabled!(target: "nitro::call", tracing::Level::INFO) {
            let inner = self.inner.call(operation);
            return TraceFuture {
                inner,
                running: None,
            };
        }
        let span = tracing::info_span!(
            target: "nitro::call",
            "call",
            name = operation.name(),
            kind = match self.layer.0.side {
                Side::Client => "client",
                Side::Server => "server",
            },
            trace_id = Empty,
            span_id = Empty,
            parent_id = Empty,
            latency_ms = Empty,
            error = Empty,
        );
        if span.is_disabled() {
            let inner = self.inner.call(operation);
            return TraceFuture {
                inner,
                running: None,
            };
        }
        self.layer.enter(operation.metadata_mut(), &span);
        let running = Box::new(Running {
            started: self.layer.0.clock.now(),
            clock: Arc::clone(&self.layer.0.clock),
            span,
        });
        let inner = {
            let _inside = running.span.enter();
            self.inner.call(operation)
        };
        TraceFuture {
            inner,
            running: Some(running),
        }
    }
}

/// A span that is told how its call ended; if nobody says, the call was dropped.
struct Running {
    span: Span,
    clock: Arc<dyn Clock>,
    started: Instant,
}

impl Running {
    fn ended(&self, error: Option<Kind>) {
        let latency = self.clock.now().since(self.started);
        self.span.record("latency_ms", latency.as_secs_f64() * 1e3);
        if let Some(kind) = error {
            self.span.record("error", kind.name());
        }
    }
}

pin_project! {
    /// A call in its span.
    pub struct TraceFuture<F> {
        #[pin]
        inner: F,
        // None when the span is disabled, and once the call has ended. Boxed, as most calls are in
        // no span and are moved all the same.
        running: Option<Box<Running>>,
    }

    impl<F> PinnedDrop for TraceFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(running) = this.project().running.take() {
                running.ended(Some(Kind::Cancelled));
            }
        }
    }
}

impl<F, R, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.project();
        let Some(running) = this.running else {
            return this.inner.poll(context).map_err(Into::into);
        };
        let answer = {
            let _inside = running.span.enter();
            ready!(this.inner.poll(context)).map_err(Into::into)
        };
        running.ended(answer.as_ref().err().map(Error::kind));
        *this.running = None;
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests;
