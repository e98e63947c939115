//! Any tower service behind one pointer: what handles and stacks pass around.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
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
        let at_hand = Mutex::new(service.clone());
        Self(Arc::new(Kept { at_hand, service }))
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

/// A service and a clone of it that most calls are made through: to clone a whole stack counts
/// once more, and once less, who holds each thing that its layers share.
struct Kept<S> {
    at_hand: Mutex<S>,
    service: S,
}

impl<S: Clone> Kept<S> {
    /// The clone at hand, unless a call is being made through it: by another thread, or around
    /// this one.
    fn at_hand(&self) -> Option<MutexGuard<'_, S>> {
        match self.at_hand.try_lock() {
            Ok(at_hand) => Some(at_hand),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(poisoned)) => {
                // It panicked, and may not be whole.
                let mut at_hand = poisoned.into_inner();
                *at_hand = self.service.clone();
                self.at_hand.clear_poison();
                Some(at_hand)
            }
        }
    }
}

impl<Q, R, S> Dispatch<Q, R> for Kept<S>
where
    Q: Send + 'static,
    R: Send + 'static,
    S: Service<Q, Response = R> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    fn dispatch(&self, request: Q) -> Calling<R> {
        // Nothing waits for the lock: whoever does not get it makes a clone.
        let (mut at_hand, mut fresh) = (self.at_hand(), None);
        let service = match &mut at_hand {
            Some(at_hand) => &mut **at_hand,
            None => fresh.insert(self.service.clone()),
        };
        // Nearly every service is always ready: then what is kept is its call and nothing else.
        let not_ready = match service.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                // Made where it stays: that of a whole stack is long, and would be moved there.
                let room = Box::new_uninit();
                let calling = service.call(request);
                let calling = Box::write(room, Dispatched { calling });
                drop(at_hand);
                return Box::into_pin(calling);
            }
            Poll::Ready(Err(error)) => Some(error),
            Poll::Pending => None,
        };
        // One that waits may hold a place in a queue, and one that failed is of no further use.
        let service = std::mem::replace(service, self.service.clone());
        drop(at_hand);
        match not_ready {
            Some(error) => Box::pin(ready(Err(error.into()))),
            None => {
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::OnceLock;

    use futures_util::FutureExt;

    use super::*;

    /// Calls itself as often as it is asked to; at the bottom it answers how many calls have been
    /// made through this very clone.
    #[derive(Clone, Default)]
    struct Around {
        itself: Arc<OnceLock<AnyService<u32, u32>>>,
        calls: u32,
    }

    impl Service<u32> for Around {
        type Response = u32;
        type Error = Error;
        type Future = Calling<u32>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, times: u32) -> Calling<u32> {
            self.calls += 1;
            assert!(times < 10, "too often");
            match times {
                0 => Box::pin(ready(Ok(self.calls))),
                _ => self.itself.get().unwrap().call(times - 1),
            }
        }
    }

    fn around() -> (AnyService<u32, u32>, impl Fn(u32) -> u32) {
        let around = Around::default();
        let service = AnyService::new(around.clone());
        around.itself.set(service.clone()).unwrap();
        let called = service.clone();
        let call = move |times| called.call(times).now_or_never().unwrap().unwrap();
        (service, call)
    }

    #[test]
    fn calls_share_a_clone_and_one_that_is_made_within_another_has_its_own() {
        let (_service, call) = around();
        assert_eq!([call(0), call(0), call(0)], [1, 2, 3]);
        assert_eq!(call(3), 1, "made within another");
        assert_eq!(call(0), 5, "which was made through the clone at hand");
    }

    #[test]
    fn a_clone_that_panicked_is_not_called_again() {
        let (service, call) = around();
        assert_eq!([call(0), call(0)], [1, 2]);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(10)))).is_err());
        assert_eq!([call(0), call(0)], [1, 2], "a fresh one, kept at hand");
    }
}
