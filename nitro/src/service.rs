//! Any tower service behind one pointer: what handles and stacks pass around.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;
use tower::Service;
use tower::util::Oneshot;

use crate::error::{Error, Result};

/// The future of a call through an [`AnyService`].
pub type Calling<R> = Pin<Box<dyn Future<Output = Result<R>> + Send>>;

/// A tower service whose type is forgotten: cheap to clone, callable from many tasks at once,
/// one allocation a call.
///
/// It is always ready; the service within is made ready as part of each call, so that a layer
/// which holds back (a concurrency limit, say) holds back that call and no other. A call begins
/// when it is made, if the service within is ready, and when it is first polled otherwise.
pub struct AnyService<Q, R>(Arc<dyn Dispatch<Q, R>>);

impl<Q: Send + 'static, R: Send + 'static> AnyService<Q, R> {
    /// Forgets the type of a service.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Q, Response = R> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send,
    {
        Self(Arc::new(service))
    }

    /// Calls it.
    ///
    /// # Errors
    ///
    /// What the service within answers.
    pub fn call(&self, request: Q) -> Calling<R> {
        self.0.dispatch(request)
    }
}

trait Dispatch<Q, R>: Send + Sync {
    fn dispatch(&self, request: Q) -> Calling<R>;
}

impl<Q, R, S> Dispatch<Q, R> for S
where
    Q: Send + 'static,
    R: Send + 'static,
    S: Service<Q, Response = R> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    fn dispatch(&self, request: Q) -> Calling<R> {
        let mut service = self.clone();
        // Nearly every service is always ready: then what is kept is its call and nothing else.
        match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                let calling = service.call(request);
                Box::pin(Dispatched { calling })
            }
            Poll::Ready(Err(error)) => Box::pin(ready(Err(error.into()))),
            Poll::Pending => {
                let calling = Oneshot::new(service, request);
                Box::pin(Dispatched { calling })
            }
        }
    }
}

pin_project! {
    /// A call within its one allocation: an async block would hold it twice.
    struct Dispatched<F> {
        #[pin]
        calling: F,
    }
}

impl<F, R, E> Future for Dispatched<F>
where
    F: Future<Output = Result<R, E>>,
    E: Into<Error>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().calling.poll(context).map_err(Into::into)
    }
}

impl<Q: Send + 'static, R: Send + 'static> Service<Q> for AnyService<Q, R> {
    type Response = R;
    type Error = Error;
    type Future = Calling<R>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Q) -> Calling<R> {
        self.0.dispatch(request)
    }
}

impl<Q, R> Clone for AnyService<Q, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q, R> fmt::Debug for AnyService<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyService").finish_non_exhaustive()
    }
}
