//! The calling side of a connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::task::{Context, Poll, ready};

use ::bytes::Bytes;
use tower::Service;

use super::Limits;
use super::data::{Arriving, send_runs};
use super::driver::{Driver, Role};
use super::flow::Inbound;
use super::message::{self, CallHead, FLAG_END, INLINE_BYTES_MAX, REPLY};
use super::state::{HIGH_WATER, Shared, State, call_is_over};
use super::streams::{Lookup, Side};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::rpc::body::Run;
use crate::rpc::{Body, Request, Response};
use crate::time::Instant;
use crate::transport::{Frame, Link};

/// The calling side: a tower service, cheap to clone, that carries many calls at once.
///
/// The connection closes when the last clone and the last call are gone.
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

/// Says GOAWAY when the last clone of a connection is dropped.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        let reason = Error::unavailable("the client has gone");
        self.0.lock().go_away(&reason);
    }
}

impl Connection {
    /// Opens a connection over a link, and waits until the peer has answered.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::error::Kind::Unavailable), unsent, when the peer closes, speaks
    /// something else, or does not answer within a tick of the limits.
    pub async fn open(host: &Host, link: Link, peer: String, limits: Limits) -> Result<Self> {
        let shared = Shared::new(host, link.outbox(), limits, Side::Calling, peer);
        let driver = Driver::new(link, Arc::clone(&shared), Calling::default());
        let connection = Self {
            _handle: Arc::new(Handle(Arc::clone(&shared))),
            shared,
        };
        let driving = async { drop(driver.await) };
        host.tasks.spawn("rpc client connection", Box::pin(driving));
        poll_fn(|context| connection.poll_settled(context)).await?;
        Ok(connection)
    }

    fn poll_settled(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        if let Some(error) = &state.closed {
            return Poll::Ready(Err(error.clone().unsent()));
        }
        if state.peer.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.wait(context.waker());
        Poll::Pending
    }

    /// Whether it takes further calls.
    pub fn is_open(&self) -> bool {
        let state = self.shared.lock();
        state.closed.is_none() && !state.is_draining
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.shared.lock().open_streams()
    }

    /// Asks the peer whether it is there: it answers at once, however slow its handlers are.
    pub(crate) fn ask(&self) {
        self.shared.ask();
    }

    /// Whether nothing was heard of the peer since then.
    pub(crate) fn is_asked(&self) -> bool {
        self.shared.is_asked()
    }

    /// Opens no further calls; the connection closes when those under way are done.
    pub fn drain(&self) {
        let reason = Error::unavailable("the client is done");
        self.shared.lock().go_away(&reason);
    }
}

impl Connection {
    /// Begins a call now, or leaves it where the connection takes no further ones.
    pub(crate) fn try_call(&self, request: &mut Option<Request>, now: Instant) -> Option<Calls> {
        let state = self.shared.lock();
        if state.closed.is_some() || state.is_draining {
            return None;
        }
        Calls::begin(&self.shared, state, request, Some(now))
    }
}

impl Service<Request> for Connection {
    type Response = Response;
    type Error = Error;
    type Future = Calls;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Calls {
        let now = request.deadline.map(|_| self.shared.host.clock.now());
        let begun = Calls::begin(&self.shared, self.shared.lock(), &mut Some(request), now);
        begun.expect("there is a request")
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection")
            .field(&self.shared.peer)
            .finish()
    }
}

/// A call under way. Dropping it cancels the call at the other side.
pub struct Calls {
    shared: Arc<Shared>,
    step: Step,
    answered_at: Option<Instant>,
}

enum Step {
    /// The connection has no room for it yet.
    Waiting(Box<Request>),
    /// The rest of a long message is on its way.
    Sending(Box<(u32, Bytes)>),
    /// The answer is awaited.
    Sent(u32),
    /// It could not begin.
    Failed(Error),
    Done,
}

impl Calls {
    /// When the head of the answer had arrived, once it has been taken: not when its caller came
    /// to look, which may be much later.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// Begins where the call is made: what is awaited afterwards holds no more than a number. The
    /// request is handed over where it is, as most are read and never moved; without one there is
    /// no call.
    fn begin(
        shared: &Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        request: &mut Option<Request>,
        now: Option<Instant>,
    ) -> Option<Self> {
        let begun = write_head(shared, &mut state, request.as_ref()?, now);
        // Let go before a body that is a stream is given away, or dropped.
        drop(state);
        let step = match begun {
            Ok(Some(id)) => send_body(shared, request, id),
            Ok(None) => Step::Waiting(Box::new(request.take()?)),
            Err(error) => Step::Failed(error),
        };
        let shared = Arc::clone(shared);
        Some(Self {
            shared,
            step,
            answered_at: None,
        })
    }

    /// Begins a call for which there was no room.
    fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Step::Waiting(request) = &self.step else {
            return Poll::Ready(());
        };
        let now = request.deadline.map(|_| self.shared.host.clock.now());
        let mut state = self.shared.lock();
        let begun = write_head(&self.shared, &mut state, request, now);
        if let Ok(None) = begun {
            state.wait(context.waker());
            return Poll::Pending;
        }
        drop(state);
        let Step::Waiting(request) = std::mem::replace(&mut self.step, Step::Done) else {
            return Poll::Ready(());
        };
        self.step = match begun {
            Ok(id) => send_body(&self.shared, &mut Some(*request), id.unwrap_or_default()),
            Err(error) => Step::Failed(error),
        };
        Poll::Ready(())
    }

    fn poll_answer(&mut self, id: u32, context: &mut Context<'_>) -> Poll<Result<Response>> {
        let mut state = self.shared.lock();
        let Some(stream) = state.stream(id) else {
            return Poll::Ready(Err(call_is_over()));
        };
        let inbound = &mut stream.inbound;
        if let Some(metadata) = inbound.head.take() {
            self.answered_at = inbound.head_at;
            let body = match take_whole(inbound) {
                Some((body, cost)) => {
                    state.free_connection(cost);
                    state.release(id);
                    body
                }
                // Dropping it cancels what is left of the call.
                None => Body::made_by(Arriving::new(&self.shared, id), false),
            };
            return Poll::Ready(Ok(Response { metadata, body }));
        }
        match inbound.end.take() {
            None => {
                inbound.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Some(end) => {
                // What ended it here is put back, so that the other side is told if it must be.
                inbound.end = Some(Ok(()));
                state.give_up(id);
                Poll::Ready(end.map(|()| Response::default()))
            }
        }
    }
}

/// Writes a CALL with as much of its message as it holds; answers its number, or `None` while
/// there is no room.
fn write_head(
    shared: &Shared,
    state: &mut State,
    request: &Request,
    now: Option<Instant>,
) -> Result<Option<u32>> {
    message::check_names(&request.path, &request.content_type)?;
    let remaining = request.deadline.zip(now);
    if remaining.is_some_and(|(deadline, now)| deadline <= now) {
        let message = "the time of the call was up before it was sent";
        return Err(Error::deadline_exceeded(message).unsent());
    }
    if let Some(error) = &state.closed {
        return Err(error.clone().unsent());
    }
    if state.is_draining {
        let message = format!("connection to {} takes no further calls", shared.peer);
        return Err(Error::unavailable(message).unsent());
    }
    if state.outbox.len() > HIGH_WATER {
        return Ok(None);
    }
    let id = state.open()?;
    let remaining_us =
        remaining.map(|(deadline, now)| (deadline.as_nanos() - now.as_nanos()) / 1_000);
    write_call(state, request, remaining_us, id);
    state.wake_driver();
    Ok(Some(id))
}

/// Goes on with what of the body did not go with the CALL.
fn send_body(shared: &Arc<Shared>, request: &mut Option<Request>, id: u32) -> Step {
    let body = request.as_ref().map(|request| &request.body);
    if body.is_none_or(is_inline) {
        return Step::Sent(id);
    }
    if let Some(message) = body.and_then(Body::as_once) {
        return Step::Sending(Box::new((id, message.clone())));
    }
    if let Some(request) = request.take() {
        let deadline = request.deadline;
        let sending = send_stream(Arc::clone(shared), id, request.body, deadline);
        let tasks = &shared.host.tasks;
        tasks.spawn("rpc request stream", Box::pin(sending));
    }
    Step::Sent(id)
}

/// The whole body and what it cost, when it has ended well and is one message at most.
fn take_whole(inbound: &mut Inbound) -> Option<(Body, u32)> {
    if !matches!(inbound.end, Some(Ok(()))) {
        return None;
    }
    let only = inbound.take_only()?;
    Some(only.map_or((Body::empty(), 0), |(message, cost)| {
        (Body::once(message), cost)
    }))
}

fn is_inline(body: &Body) -> bool {
    body.is_empty()
        || body
            .as_once()
            .is_some_and(|message| message.len() <= INLINE_BYTES_MAX)
}

fn write_call(state: &mut State, request: &Request, remaining_us: Option<u64>, id: u32) {
    let method = state.methods.name(&request.path, &request.content_type);
    let metadata = request.metadata.as_block();
    let head = CallHead {
        method,
        remaining_us,
        metadata,
    };
    let is_whole = is_inline(&request.body);
    let message = request.body.as_once().filter(|_| is_whole);
    head.write(
        &mut state.outbox,
        id,
        message.map(|bytes| &bytes[..]),
        is_whole,
    );
}

/// Sends a body that is a stream; ends when it does, when the call does, or when its time is up:
/// whoever sends may not look at the answer before all is sent.
async fn send_stream(shared: Arc<Shared>, id: u32, body: Body, deadline: Option<Instant>) {
    let sending = send_runs(&shared, id, body, Run::default());
    let sent = match deadline {
        None => sending.await,
        Some(deadline) => {
            let in_time = shared.host.clock.timeout_at(deadline, sending).await;
            let message = "the time of the call was up before all of it was sent";
            in_time.unwrap_or_else(|_| Err(Error::deadline_exceeded(message)))
        }
    };
    match sent {
        Ok(()) => shared.lock().half_close(id),
        Err(error) => shared.lock().fail_call(id, error),
    }
}

impl Future for Calls {
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.step {
                Step::Waiting(_) => ready!(this.poll_begin(context)),
                Step::Sending(sending) => {
                    let (id, rest) = &mut **sending;
                    let id = *id;
                    // An answer that comes before the whole message is out is an answer too.
                    match this.shared.poll_send_last(id, rest, context) {
                        Poll::Pending => {
                            let answer = this.poll_answer(id, context);
                            if answer.is_ready() {
                                this.step = Step::Done;
                            }
                            return answer;
                        }
                        Poll::Ready(Ok(())) => this.step = Step::Sent(id),
                        Poll::Ready(Err(error)) => {
                            this.shared.lock().fail_call(id, error);
                            this.step = Step::Sent(id);
                        }
                    }
                }
                Step::Sent(id) => {
                    let id = *id;
                    let answer = this.poll_answer(id, context);
                    if answer.is_ready() {
                        this.step = Step::Done;
                    }
                    return answer;
                }
                Step::Failed(_) | Step::Done => {
                    let step = std::mem::replace(&mut this.step, Step::Done);
                    return Poll::Ready(Err(match step {
                        Step::Failed(error) => error,
                        _ => call_is_over(),
                    }));
                }
            }
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let id = match &self.step {
            Step::Sent(id) => *id,
            Step::Sending(sending) => sending.0,
            _ => return,
        };
        self.shared.lock().give_up(id);
    }
}

/// The frames that only the calling side gets.
#[derive(Default)]
struct Calling {
    /// When the turn began, once an answer has come in it.
    now: Option<Instant>,
}

impl Role for Calling {
    const CLOSES_WHEN_DRAINED: bool = true;

    fn begin_turn(&mut self) {
        self.now = None;
    }

    fn frame(
        &mut self,
        shared: &Arc<Shared>,
        frame: &Frame<'_>,
        _: &mut Context<'_>,
    ) -> Result<()> {
        let header = frame.header;
        if header.kind != REPLY {
            let message = format!(
                "a frame of kind {} is not for the calling side",
                header.kind
            );
            return Err(Error::invalid_argument(message));
        }
        let (metadata, message) = message::read_reply(header.flags, &frame.payload)?;
        let mut state = shared.lock();
        let Lookup::Open(stream) = state.lookup(header.stream)? else {
            return Ok(());
        };
        let inbound = &mut stream.inbound;
        if inbound.has_head {
            let what = "it is not the first of its stream";
            return Err(message::malformed("REPLY", what));
        }
        inbound.check_more("REPLY")?;
        inbound.has_head = true;
        inbound.head = Some(metadata);
        // Answers come many at a time: one look at the clock is for all of them.
        let clock = &shared.host.clock;
        inbound.head_at = Some(*self.now.get_or_insert_with(|| clock.now()));
        if let Some(message) = message {
            inbound.push_inline(message);
        }
        if header.flags & FLAG_END != 0 {
            inbound.finish("REPLY", None)?;
            stream.outbound.wake();
        }
        stream.inbound.wake();
        Ok(())
    }
}
