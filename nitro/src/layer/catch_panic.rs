//! A handler that panics answers with an error; the service stays usable.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::error::{Error, Result};
use crate::host::tasks::panic_message;
use crate::operation::Operation;

/// Makes a [`CatchPanic`] around a service.
#[derive(Clone, Copy, Debug, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> CatchPanic<S> {
        CatchPanic { inner }
    }
}

/// Turns a panic into [`Internal`](crate::Kind::Internal) with the panic's message. The call that
/// panicked is dropped; the service is called again as if nothing had happened, so what it shares
/// between calls must stay whole when one of them stops half-way.
///
/// It has nothing to catch where the program is built with `panic = "abort"`.
#[derive(Clone, Copy, Debug)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S, Op> Service<Op> for CatchPanic<S>
where
    Op: Operation,
    S: Service<Op>,
    S::Error: Into<Error>,
{
    type Response = S::Response;
    type Error = Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match caught(|| self.inner.poll_ready(context)) {
            Ok(ready) => ready.map_err(Into::into),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    #[inline]
    fn call(&mut self, operation: Op) -> Self::Future {
        // In and out by reference: what is handed through a catch by value is moved five times.
        let mut operation = Some(operation);
        let mut future = CatchPanicFuture {
            inner: None,
            panicked: None,
        };
        let caught = caught(|| {
            future.inner = operation.take().map(|operation| self.inner.call(operation));
        });
        future.panicked = caught.err();
        future
    }
}

pin_project! {
    /// A call that may panic.
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: Option<F>,
        // What became of a call that panicked before there was a future.
        panicked: Option<Error>,
    }
}

impl<F, R, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let mut this = self.project();
        if let Some(error) = this.panicked.take() {
            return Poll::Ready(Err(error));
        }
        let inner = this.inner.as_mut().as_pin_mut();
        let inner = inner.expect("polled again after it had answered");
        match caught(|| inner.poll(context)) {
            Ok(answer) => answer.map_err(Into::into),
            Err(error) => {
                // What the call holds is let go at once; a panic in that adds nothing to tell.
                let _ = caught(|| this.inner.set(None));
                Poll::Ready(Err(error))
            }
        }
    }
}

fn caught<R>(run: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = panic_message(&*payload);
        Error::internal(format!("handler panicked: {message}"))
    })
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::error::Kind;
    use crate::layer::tests::{Act, Call, Scripted};

    #[tokio::test]
    async fn a_panic_in_call_or_in_poll_is_an_internal_error_and_the_next_call_works() {
        let acts = [Act::PanicInCall, Act::PanicInPoll, Act::Answer(Ok(3))];
        let inner = Scripted::new(acts);
        let service = CatchPanicLayer.layer(inner.clone());
        for expected in ["the call went wrong", "the poll went wrong"] {
            let error = service.clone().oneshot(Call::default()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Internal);
            assert_eq!(error.message(), format!("handler panicked: {expected}"));
        }
        assert_eq!(service.oneshot(Call::default()).await.unwrap(), 3);
    }
}
