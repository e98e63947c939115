//! Finds the handler of a path.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::handler::{self, Call, Handler, Reply};
use super::messages::{Incoming, Outgoing};
use super::method::{Bidirectional, ClientStreaming, Method, ServerStreaming, Unary};
use super::{Request, Response};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::service::Calling;

/// The methods that a node serves. Itself a tower service; a clone serves the same methods.
///
/// ```
/// use nitro::codec::Text;
/// use nitro::rpc::{Call, Method, Router};
///
/// const SHOUT: Method<String, String> = Method::unary("text/shout");
///
/// async fn shout(_call: Call, text: String) -> nitro::Result<String> {
///     Ok(text.to_uppercase())
/// }
///
/// let router = Router::new().unary(&SHOUT, Text, shout);
/// # assert_eq!(router.paths().collect::<Vec<_>>(), ["text/shout"]);
/// ```
#[derive(Clone, Default)]
pub struct Router {
    handlers: Arc<BTreeMap<&'static str, Handler>>,
}

impl Router {
    /// A router that serves nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The paths that are served, in order.
    pub fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.keys().copied()
    }

    /// Serves a method with one message each way.
    ///
    /// # Panics
    ///
    /// When the path is served already: two handlers for one path are a bug.
    pub fn unary<In, Out, C, F, Fut, R>(
        self,
        method: &Method<In, Out, Unary>,
        codec: C,
        handler: F,
    ) -> Self
    where
        In: Send + 'static,
        Out: 'static,
        C: Codec<In> + Codec<Out>,
        F: Fn(Call, In) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send,
        R: Into<Reply<Out>>,
    {
        self.serve(method.path(), handler::unary(codec, handler))
    }

    /// Serves a method that answers one message with a stream, which ends with the handler.
    ///
    /// # Panics
    ///
    /// As for [`Router::unary`].
    pub fn server_streaming<In, Out, C, F, Fut>(
        self,
        method: &Method<In, Out, ServerStreaming>,
        codec: C,
        handler: F,
    ) -> Self
    where
        In: Send + 'static,
        Out: 'static,
        C: Codec<In> + Codec<Out>,
        F: Fn(Call, In, Outgoing<Out>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.serve(method.path(), handler::server_streaming(codec, handler))
    }

    /// Serves a method that answers a stream with one message.
    ///
    /// # Panics
    ///
    /// As for [`Router::unary`].
    pub fn client_streaming<In, Out, C, F, Fut, R>(
        self,
        method: &Method<In, Out, ClientStreaming>,
        codec: C,
        handler: F,
    ) -> Self
    where
        In: Send + 'static,
        Out: 'static,
        C: Codec<In> + Codec<Out>,
        F: Fn(Call, Incoming<In>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send,
        R: Into<Reply<Out>>,
    {
        self.serve(method.path(), handler::client_streaming(codec, handler))
    }

    /// Serves a method with a stream each way; the stream out ends with the handler.
    ///
    /// # Panics
    ///
    /// As for [`Router::unary`].
    pub fn bidirectional<In, Out, C, F, Fut>(
        self,
        method: &Method<In, Out, Bidirectional>,
        codec: C,
        handler: F,
    ) -> Self
    where
        In: Send + 'static,
        Out: 'static,
        C: Codec<In> + Codec<Out>,
        F: Fn(Call, Incoming<In>, Outgoing<Out>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.serve(method.path(), handler::bidirectional(codec, handler))
    }

    fn serve(mut self, path: &'static str, handler: Handler) -> Self {
        let replaced = Arc::make_mut(&mut self.handlers).insert(path, handler);
        assert!(replaced.is_none(), "the path {path:?} is served twice");
        self
    }
}

impl Service<Request> for Router {
    type Response = Response;
    type Error = Error;
    type Future = Calling<Response>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match self.handlers.get(request.path.as_str()) {
            Some(handler) => handler(request),
            None => {
                let message = format!("no method {:?} is served here", request.path);
                Box::pin(ready(Err(Error::unimplemented(message))))
            }
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.paths()).finish()
    }
}
