//! The answering side of a connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::bytes::Bytes;

use super::Limits;
use super::data::{Arriving, send_runs};
use super::driver::{Driver, Role};
use super::message::{
    self, CALL, CANCEL, CallHead, FLAG_END, FLAG_MESSAGE, INLINE_BYTES_MAX, METHOD_UNNUMBERED,
    METHODS_MAX, MethodName,
};
use super::state::Shared;
use super::streams::{Lookup, Side};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::rpc::body::{Message, Run};
use crate::rpc::{Body, Request, Response, Rpc};
use crate::service::Calling;
use crate::time::Instant;
use crate::transport::{Frame, Link};

/// Content types that nearly every call has: not counted who holds them.
const CONTENT_TYPES: [&str; 2] = ["application/protobuf", "application/json"];

/// The server's hold on one connection. Cheap to clone.
#[derive(Clone)]
pub struct ServedConnection(Arc<Shared>);

impl ServedConnection {
    /// Tells the peer to call no more here; calls under way go on, and the peer closes the
    /// connection when they are done.
    pub fn drain(&self) {
        let reason = Error::unavailable("the server is stopping");
        self.0.lock().go_away(&reason);
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.0.lock().open_streams()
    }
}

impl std::fmt::Debug for ServedConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ServedConnection")
            .field(&self.0.peer)
            .finish()
    }
}

/// Answers the calls that come over a link with a service.
///
/// The future is the connection: it ends when that does, with the reason; dropping it cuts the
/// connection. The service must answer panics and deadlines itself, as
/// [`crate::server`]'s stack does: a panic that escapes it cuts the connection.
pub fn serve(
    host: &Host,
    link: Link,
    peer: String,
    service: Rpc,
    limits: Limits,
) -> (ServedConnection, impl Future<Output = Error> + Send + use<>) {
    let shared = Shared::new(host, link.outbox(), limits, Side::Answering, peer);
    let answering = Answering {
        service,
        methods: Vec::new(),
        now: None,
    };
    let driver = Driver::new(link, Arc::clone(&shared), answering);
    (ServedConnection(shared), driver)
}

/// The frames that only the answering side gets.
struct Answering {
    service: Rpc,
    /// The path and content type that each number stands for.
    methods: Vec<(Name, Name)>,
    /// When the turn began, once a call has asked: its time runs from when it had arrived, even if
    /// handlers of calls before it took long.
    now: Option<Instant>,
}

impl Role for Answering {
    const CLOSES_WHEN_DRAINED: bool = false;

    fn begin_turn(&mut self) {
        self.now = None;
    }

    fn frame(
        &mut self,
        shared: &Arc<Shared>,
        frame: &Frame<'_>,
        context: &mut Context<'_>,
    ) -> Result<()> {
        match frame.header.kind {
            CALL => self.call(shared, frame, context),
            CANCEL => {
                let mut state = shared.lock();
                if let Lookup::Open(stream) = state.lookup(frame.header.stream)? {
                    let task = stream.task.take();
                    state.release(frame.header.stream);
                    drop(state);
                    if let Some(task) = task {
                        task.abort();
                    }
                }
                Ok(())
            }
            kind => {
                let message = format!("a frame of kind {kind} is not for the answering side");
                Err(Error::invalid_argument(message))
            }
        }
    }
}

impl Answering {
    fn call(
        &mut self,
        shared: &Arc<Shared>,
        frame: &Frame<'_>,
        context: &mut Context<'_>,
    ) -> Result<()> {
        let (id, flags) = (frame.header.stream, frame.header.flags);
        let (head, at) = CallHead::read(flags, frame.payload.as_slice())?;
        let (path, content_type) = self.names(&head.method)?;
        let metadata = Metadata::from_block(head.metadata)?;
        let message = (flags & FLAG_MESSAGE != 0).then(|| frame.payload.keep_from(at));
        let mut state = shared.lock();
        let is_draining = state.is_draining;
        let inbound = &mut state.accept(id)?.inbound;
        if is_draining {
            let message = "the server is stopping and takes no further calls";
            let refusal = Error::unavailable(message).unsent();
            state.finish(id, Some(&refusal));
            return Ok(());
        }
        let body = if flags & FLAG_END != 0 {
            inbound.is_ended_by_peer = true;
            inbound.end = Some(Ok(()));
            message.map_or_else(Body::empty, Body::once)
        } else {
            message
                .into_iter()
                .for_each(|message| inbound.push_inline(message));
            Body::made_by(Arriving::new(shared, id), false)
        };
        drop(state);
        let deadline = head.remaining_us.map(|us| {
            let now = self.now.get_or_insert_with(|| shared.host.clock.now());
            *now + Duration::from_micros(us)
        });
        let request = Request {
            metadata,
            deadline,
            ..Request::new(path, content_type, body)
        };
        self.answer(shared, id, request, context);
        Ok(())
    }

    /// Polls the handler once, here; one that waits goes on in a task.
    fn answer(&self, shared: &Arc<Shared>, id: u32, request: Request, context: &mut Context<'_>) {
        let deadline = request.deadline;
        let mut calling = self.service.call(request);
        let first = match calling.as_mut().poll(context) {
            Poll::Ready(Ok(response)) => match answer_at_once(shared, id, response) {
                None => return,
                Some(response) => First::Response(response),
            },
            Poll::Ready(Err(error)) => return shared.lock().finish(id, Some(&error)),
            Poll::Pending => First::Calling(calling),
        };
        let answering = answer_in_time(Arc::clone(shared), id, deadline, first);
        let task = shared.host.tasks.spawn("rpc handler", Box::pin(answering));
        match shared.lock().stream(id) {
            Some(stream) => stream.task = Some(task),
            None => task.abort(),
        }
    }

    fn names(&mut self, method: &MethodName<'_>) -> Result<(Name, Name)> {
        match *method {
            MethodName::Known(number) => {
                let known = self.methods.get(usize::from(number)).cloned();
                known.ok_or_else(|| {
                    message::malformed("CALL", &format!("method {number} was never named"))
                })
            }
            MethodName::New {
                number,
                path,
                content_type,
            } => {
                message::check_names(path, content_type)?;
                let known = CONTENT_TYPES.iter().find(|known| **known == content_type);
                let content_type = known.map_or_else(
                    || Name::from(content_type.to_owned()),
                    |known| Name::from(*known),
                );
                let names = (Name::from(path.to_owned()), content_type);
                if number == METHOD_UNNUMBERED {
                    return Ok(names);
                }
                if usize::from(number) != self.methods.len() || number >= METHODS_MAX {
                    let what = format!("method {number} is named out of order");
                    return Err(message::malformed("CALL", &what));
                }
                self.methods.push(names.clone());
                Ok(names)
            }
        }
    }
}

/// Sends an answer that is there already and short; gives back one that is not.
fn answer_at_once(shared: &Arc<Shared>, id: u32, response: Response) -> Option<Response> {
    let is_short = |message: &Bytes| message.len() <= INLINE_BYTES_MAX;
    let message = response.body.as_once().filter(|message| is_short(message));
    if message.is_none() && !response.body.is_empty() {
        return Some(response);
    }
    let message = message.map(|message| &message[..]);
    shared.lock().reply(id, &response.metadata, message, true);
    None
}

enum First {
    Calling(Calling<Response>),
    Response(Response),
}

async fn answer_in_time(shared: Arc<Shared>, id: u32, deadline: Option<Instant>, first: First) {
    let unanswered = Unanswered { shared, id };
    let answered = answer(&unanswered.shared, id, deadline, first).await;
    unanswered.shared.lock().finish(id, answered.as_ref().err());
}

/// Tells the caller that nothing more will come, should the handler's task end without doing so.
struct Unanswered {
    shared: Arc<Shared>,
    id: u32,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let error = Error::internal("the handler ended without an answer");
        self.shared.lock().finish(self.id, Some(&error));
    }
}

async fn answer(
    shared: &Arc<Shared>,
    id: u32,
    deadline: Option<Instant>,
    first: First,
) -> Result<()> {
    let response = match first {
        First::Calling(calling) => calling.await?,
        First::Response(response) => response,
    };
    let Some(response) = answer_at_once(shared, id, response) else {
        return Ok(());
    };
    // The service may have set a limit of its own, as its stack does for calls without one.
    let limits = [deadline, response.body.deadline()];
    let deadline = limits.into_iter().flatten().min();
    // Apart, as most answers have gone by now, and every handler that waits is moved with this.
    let sending = Box::pin(send_body(shared, id, response));
    let Some(deadline) = deadline else {
        return sending.await;
    };
    // A time limit that stopped at the head would let a slow body through, and one that was held
    // to the messages alone a peer that gives no credit for them.
    let in_time = shared.host.clock.timeout_at(deadline, sending).await;
    in_time.unwrap_or_else(|_| {
        let message = "the time of the call was up before its answer was whole";
        Err(Error::deadline_exceeded(message))
    })
}

async fn send_body(shared: &Shared, id: u32, response: Response) -> Result<()> {
    let Response { metadata, mut body } = response;
    let mut run = Run::default();
    poll_fn(|context| body.poll_run(&mut run, context)).await?;
    // The head goes with the first message, so that a failure before it is a plain error.
    let first = match run.front() {
        Some(Message::Short(bytes)) => Some(bytes),
        Some(Message::Long(bytes)) if bytes.len() <= INLINE_BYTES_MAX => Some(&bytes[..]),
        _ => None,
    };
    shared.lock().reply(id, &metadata, first, false);
    if first.is_some() {
        run.pop();
    }
    send_runs(shared, id, body, run).await
}
