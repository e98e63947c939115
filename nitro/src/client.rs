//! Calls services: typed methods over anything that answers calls.

pub mod balance;
pub mod builder;
pub mod ejection;
mod endpoint;
pub mod stack;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::oneshot;

pub use builder::Builder;
pub use ejection::EjectionPolicy;

use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::tasks::TaskGuard;
use crate::metadata::Metadata;
use crate::rpc::body::{Run, Source};
use crate::rpc::messages::Scratch;
use crate::rpc::method::{Bidirectional, ClientStreaming, Method, ServerStreaming, Unary};
use crate::rpc::{Body, Incoming, Outgoing, Reply, Request, Response, Rpc};
use crate::selector::hash_key;
use crate::service::Calling;

/// Calls methods of a service, in the codec it was made with. Cheap to clone.
///
/// ```
/// use nitro::client::Client;
/// use nitro::codec::Text;
/// use nitro::host;
/// use nitro::rpc::{Call, Method, Router, Rpc};
///
/// const SHOUT: Method<String, String> = Method::unary("text/shout");
///
/// async fn shout(_call: Call, text: String) -> nitro::Result<String> {
///     Ok(text.to_uppercase())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// // A server is a service and so is a connection: here no wire is between them.
/// let router = Router::new().unary(&SHOUT, Text, shout);
/// let client = Client::new(&host::tokio::host(), Rpc::new(router), Text);
/// assert_eq!(client.call(&SHOUT, "hello".to_owned()).await?, "HELLO");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client<C> {
    rpc: Rpc,
    codec: C,
    host: Host,
    timeout: Option<Duration>,
    metadata: Metadata,
    key: Option<u64>,
    scratch: Scratch,
}

impl<C> Client<C> {
    /// Calls over `rpc`: a balanced cluster, one connection, or a server itself.
    pub fn new(host: &Host, rpc: Rpc, codec: C) -> Self {
        Self {
            rpc,
            codec,
            host: host.clone(),
            timeout: None,
            metadata: Metadata::new(),
            key: None,
            scratch: Scratch::default(),
        }
    }

    /// The same client in another codec.
    pub fn with_codec<D>(self, codec: D) -> Client<D> {
        Client {
            rpc: self.rpc,
            codec,
            host: self.host,
            timeout: self.timeout,
            metadata: self.metadata,
            key: self.key,
            scratch: self.scratch,
        }
    }

    /// The same client, waiting this long at most for each call and all of its messages.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same client, sending these pairs along with each call.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The same client, whose calls are about this key: a selector by key sends them all to one
    /// node.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(hash_key(key.as_bytes()));
        self
    }

    fn request<In, Out, Kind>(
        &self,
        method: &Method<In, Out, Kind>,
        content_type: &'static str,
        body: Body,
    ) -> Request {
        Request {
            metadata: self.metadata.clone(),
            deadline: self.timeout.map(|timeout| self.host.clock.now() + timeout),
            is_idempotent: method.is_idempotent(),
            key: self.key,
            ..Request::new(method.path(), content_type, body)
        }
    }

    /// Calls a method with one message each way.
    ///
    /// # Errors
    ///
    /// What the handler answers, or what kept it from answering.
    ///
    /// # Cancellation
    ///
    /// Dropping the future cancels the call: its handler is dropped as well.
    pub async fn call<In, Out>(
        &self,
        method: &Method<In, Out, Unary>,
        input: impl std::borrow::Borrow<In>,
    ) -> Result<Out>
    where
        C: Codec<In> + Codec<Out>,
    {
        let reply = self.call_for_reply(method, input).await?;
        Ok(reply.message)
    }

    /// Calls a method with one message each way, and answers the metadata of its reply as well.
    ///
    /// # Errors
    ///
    /// As [`Client::call`].
    pub async fn call_for_reply<In, Out>(
        &self,
        method: &Method<In, Out, Unary>,
        input: impl std::borrow::Borrow<In>,
    ) -> Result<Reply<Out>>
    where
        C: Codec<In> + Codec<Out>,
    {
        let content_type = self.codec.preferred();
        let message = self
            .scratch
            .encode(&self.codec, content_type, input.borrow())?;
        let mut request = self.request(method, content_type, Body::once(message));
        request.is_unary = true;
        self.one_reply(self.rpc.call(request), content_type).await
    }

    async fn one_reply<Out>(
        &self,
        calling: Calling<Response>,
        content_type: &'static str,
    ) -> Result<Reply<Out>>
    where
        C: Codec<Out>,
    {
        let Response { metadata, body } = calling.await?;
        // Mostly it is there. Only the rare await makes this future hold more, and cost more to move.
        let bytes = match body.into_once() {
            Ok(bytes) => bytes,
            Err(body) => body.single().await?,
        };
        let decoded = self.codec.decode(content_type, &bytes);
        let message = decoded.map_err(|error| {
            let message = format!("the reply does not decode: {}", error.message());
            Error::internal(message).with_source(error)
        })?;
        Ok(Reply { message, metadata })
    }

    /// Calls a method that answers one message with a stream.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; later ones end the stream.
    pub async fn server_streaming<In, Out>(
        &self,
        method: &Method<In, Out, ServerStreaming>,
        input: impl std::borrow::Borrow<In>,
    ) -> Result<Incoming<Out>>
    where
        C: Codec<In> + Codec<Out>,
    {
        let content_type = self.codec.preferred();
        let message = self
            .scratch
            .encode(&self.codec, content_type, input.borrow())?;
        let request = self.request(method, content_type, Body::once(message));
        let response = self.rpc.call(request).await?;
        Ok(Incoming::new(
            response.body,
            self.codec.clone(),
            content_type,
        ))
    }

    /// Calls a method that answers a stream with one message. The stream ends well by
    /// [`Outgoing::finish`]; then the reply is awaited.
    ///
    /// # Errors
    ///
    /// None here; those of the call come with its reply.
    pub fn client_streaming<In, Out>(
        &self,
        method: &Method<In, Out, ClientStreaming>,
    ) -> (
        Outgoing<In>,
        impl Future<Output = Result<Out>> + Send + use<In, Out, C>,
    )
    where
        C: Codec<In> + Codec<Out>,
        Out: Send,
    {
        let content_type = self.codec.preferred();
        let (sender, body) = Body::channel();
        let opened = self.open(self.request(method, content_type, body));
        let outgoing = Outgoing::new(sender, self.codec.clone(), content_type);
        let client = self.clone();
        let reply = async move {
            let calling = Box::pin(opened.response());
            let reply = client.one_reply(calling, content_type).await?;
            Ok(reply.message)
        };
        (outgoing, reply)
    }

    /// Calls a method with a stream each way. The stream out ends well by [`Outgoing::finish`].
    ///
    /// # Errors
    ///
    /// None here; those of the call end the stream in.
    pub fn bidirectional<In, Out>(
        &self,
        method: &Method<In, Out, Bidirectional>,
    ) -> (Outgoing<In>, Incoming<Out>)
    where
        C: Codec<In> + Codec<Out>,
    {
        let content_type = self.codec.preferred();
        let (sender, body) = Body::channel();
        let opened = self.open(self.request(method, content_type, body));
        let answer = Body::made_by(opened, false);
        let outgoing = Outgoing::new(sender, self.codec.clone(), content_type);
        let incoming = Incoming::new(answer, self.codec.clone(), content_type);
        (outgoing, incoming)
    }
}

impl<C> Client<C> {
    /// Begins a call whose body is sent piece by piece, in a task of its own: it must go on while
    /// its caller sends and does not yet look at the answer.
    fn open(&self, request: Request) -> Opened {
        let calling = self.rpc.call(request);
        let (sender, answered) = oneshot::channel();
        let task = async move {
            let answer = calling.await;
            match answer {
                Ok(mut response) if response.body.must_be_driven() => {
                    let (pipe, body) = Body::channel();
                    let body = std::mem::replace(&mut response.body, body);
                    // Nobody waits any more: then nobody reads the body either.
                    let _ = sender.send(Ok(response));
                    pipe.forward(body).await;
                }
                answer => drop(sender.send(answer)),
            }
        };
        let task = self.host.tasks.spawn("rpc client stream", Box::pin(task));
        let _task = task.abort_on_drop();
        let state = Opening::Calling(answered);
        Opened { state, _task }
    }
}

/// The answer to a call that runs in a task: a stream of its messages. Dropping it cancels the
/// call.
struct Opened {
    state: Opening,
    _task: TaskGuard,
}

enum Opening {
    Calling(oneshot::Receiver<Result<Response>>),
    Answered(Body),
}

impl Opened {
    async fn response(self) -> Result<Response> {
        let Opening::Calling(answered) = self.state else {
            unreachable!("nobody has polled it as a stream");
        };
        answered.await.unwrap_or_else(|_| Err(task_is_gone()))
    }
}

fn task_is_gone() -> Error {
    Error::cancelled("the task of the call has been stopped")
}

impl Source for Opened {
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Opening::Calling(answered) = &mut self.state {
            let answer = ready!(Pin::new(answered).poll(context));
            self.state = Opening::Answered(Body::empty());
            let answer = answer.unwrap_or_else(|_| Err(task_is_gone()));
            self.state = Opening::Answered(answer?.body);
        }
        match &mut self.state {
            Opening::Answered(body) => body.poll_run(into, context),
            Opening::Calling(_) => Poll::Pending,
        }
    }
}

impl<C> std::fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
