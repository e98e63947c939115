//! Typed handlers: what decodes a call for them and encodes what they answer.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::bytes::Bytes;

use super::body::{Body, Receiver, Run, Source, pipe};
use super::messages::{Incoming, Outgoing};
use super::{Request, Response};
use crate::codec::{self, Codec};
use crate::error::{Error, Result};
use crate::host::tasks::panic_message;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::service::Calling;
use crate::time::Instant;

/// What a handler knows of a call beside its messages.
///
/// When the caller gives up, or its connection is lost, the handler's future is dropped: what
/// must be undone belongs in a guard.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method that was called.
    pub path: Name,
    /// What travelled with the call.
    pub metadata: Metadata,
    /// When the caller stops waiting, on the clock of this host.
    pub deadline: Option<Instant>,
}

/// An answer of one message with metadata; a bare message becomes one by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// The message.
    pub message: T,
    /// What travels with it.
    pub metadata: Metadata,
}

impl<T> From<T> for Reply<T> {
    fn from(message: T) -> Self {
        let metadata = Metadata::new();
        Self { message, metadata }
    }
}

/// A handler whose types are forgotten.
pub(super) type Handler = Arc<dyn Fn(Request) -> Calling<Response> + Send + Sync>;

/// Encodes a message, checking its length.
///
/// # Errors
///
/// What the codec says; [`ResourceExhausted`](crate::error::Kind::ResourceExhausted) when it is
/// longer than [`codec::MESSAGE_BYTES_MAX`].
pub fn encode<T, C: Codec<T>>(codec: &C, content_type: &'static str, value: &T) -> Result<Bytes> {
    let bytes = codec.to_bytes(content_type, value)?;
    codec::check_size(bytes.len(), codec::MESSAGE_BYTES_MAX)?;
    Ok(bytes)
}

/// What a handler is given. Taken apart before its future is made, which holds no more than it
/// needs: it is moved once into its box.
fn split(request: Request) -> (Call, Body) {
    let call = Call {
        path: request.path,
        metadata: request.metadata,
        deadline: request.deadline,
    };
    (call, request.body)
}

/// One message in, one out.
pub(super) fn unary<In, Out, C, F, Fut, R>(codec: C, handler: F) -> Handler
where
    In: Send + 'static,
    Out: 'static,
    C: Codec<In> + Codec<Out>,
    F: Fn(Call, In) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send,
    R: Into<Reply<Out>>,
{
    Arc::new(move |request: Request| {
        let content_type = codec.negotiate(&request.content_type);
        let (call, body) = split(request);
        let (codec, handler) = (codec.clone(), handler.clone());
        Box::pin(async move {
            let content_type = content_type?;
            let message = match body.into_once() {
                Ok(message) => message,
                Err(body) => body.single().await?,
            };
            let input: In = codec.decode(content_type, &message)?;
            drop(message);
            let answer = handler(call, input).await.map_err(Error::seen)?;
            one_message::<Out, C>(&codec, content_type, answer.into())
        })
    })
}

/// A stream in, one message out.
pub(super) fn client_streaming<In, Out, C, F, Fut, R>(codec: C, handler: F) -> Handler
where
    In: Send + 'static,
    Out: 'static,
    C: Codec<In> + Codec<Out>,
    F: Fn(Call, Incoming<In>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send,
    R: Into<Reply<Out>>,
{
    Arc::new(move |request: Request| {
        let content_type = codec.negotiate(&request.content_type);
        let (call, body) = split(request);
        let (codec, handler) = (codec.clone(), handler.clone());
        Box::pin(async move {
            let content_type = content_type?;
            let incoming = Incoming::new(body, codec.clone(), content_type);
            let answer = handler(call, incoming).await.map_err(Error::seen)?;
            one_message::<Out, C>(&codec, content_type, answer.into())
        })
    })
}

fn one_message<Out, C: Codec<Out>>(
    codec: &C,
    content_type: &'static str,
    reply: Reply<Out>,
) -> Result<Response> {
    let message = encode(codec, content_type, &reply.message)?;
    let body = Body::once(message);
    let metadata = reply.metadata;
    Ok(Response { metadata, body })
}

/// One message in, a stream out.
pub(super) fn server_streaming<In, Out, C, F, Fut>(codec: C, handler: F) -> Handler
where
    In: Send + 'static,
    Out: 'static,
    C: Codec<In> + Codec<Out>,
    F: Fn(Call, In, Outgoing<Out>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |request: Request| {
        let content_type = codec.negotiate(&request.content_type);
        let (call, body) = split(request);
        let (codec, handler) = (codec.clone(), handler.clone());
        Box::pin(async move {
            let content_type = content_type?;
            let input: In = codec.decode(content_type, &body.single().await?)?;
            let (sender, messages) = pipe();
            let outgoing = Outgoing::new(sender, codec, content_type);
            Ok(driven(messages, handler(call, input, outgoing)))
        })
    })
}

/// A stream in, a stream out.
pub(super) fn bidirectional<In, Out, C, F, Fut>(codec: C, handler: F) -> Handler
where
    In: Send + 'static,
    Out: 'static,
    C: Codec<In> + Codec<Out>,
    F: Fn(Call, Incoming<In>, Outgoing<Out>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |request: Request| {
        let content_type = codec.negotiate(&request.content_type);
        let (call, body) = split(request);
        let (codec, handler) = (codec.clone(), handler.clone());
        Box::pin(async move {
            let content_type = content_type?;
            let incoming = Incoming::new(body, codec.clone(), content_type);
            let (sender, messages) = pipe();
            let outgoing = Outgoing::new(sender, codec, content_type);
            Ok(driven(messages, handler(call, incoming, outgoing)))
        })
    })
}

/// An answer whose handler runs as its messages are asked for: no task, and dropping the body
/// drops the handler.
fn driven(
    messages: Receiver,
    handler: impl Future<Output = Result<()>> + Send + 'static,
) -> Response {
    let driven = Driven {
        messages,
        handler: Some(Box::pin(handler)),
        outcome: Ok(()),
    };
    Response {
        metadata: Metadata::new(),
        body: Body::made_by(driven, true),
    }
}

struct Driven {
    messages: Receiver,
    handler: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    outcome: Result<()>,
}

impl Driven {
    fn run_handler(&mut self, context: &mut Context<'_>) {
        let Some(handler) = &mut self.handler else {
            return;
        };
        // The catch-panic layer sees the head of an answer only: the rest runs here.
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        let polled = polled.unwrap_or_else(|panic| {
            let message = format!("handler panicked: {}", panic_message(&*panic));
            Poll::Ready(Err(Error::internal(message)))
        });
        if let Poll::Ready(outcome) = polled {
            self.handler = None;
            self.outcome = outcome.map_err(Error::seen);
        }
    }
}

impl Source for Driven {
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        // What the handler has made already goes first: so it is run once for many messages.
        if self.messages.take(into) {
            return Poll::Ready(Ok(()));
        }
        self.run_handler(context);
        if self.messages.take(into) {
            return Poll::Ready(Ok(()));
        }
        if self.handler.is_none() {
            // It has returned and all that it sent is taken: the end is its outcome.
            return Poll::Ready(std::mem::replace(&mut self.outcome, Ok(())));
        }
        // Somebody else may send for the handler. That the sender is gone is no end: the handler
        // works on, and its outcome is still to come.
        match self.messages.poll_run(into, context) {
            Poll::Ready(Ok(())) if !into.is_empty() => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}
