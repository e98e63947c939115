//! The messages of a connection's streams: what comes in and what goes out, within the windows.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::bytes::Bytes;

use super::flow::{DATA_COST, cost, cost_alike};
use super::message::{self, DATA, FLAG_END, FLAG_MESSAGE, header};
use super::state::{HIGH_WATER, Shared, State, call_is_over};
use super::streams::{Lookup, Side, Stream};
use crate::error::{Error, Result};
use crate::rpc::Body;
use crate::rpc::body::{Message, Run, SHORT_BYTES_MAX, Source};
use crate::transport::{Alike, FRAME_BYTES_MAX, HEADER_BYTES, Payload};

/// A fragment shorter than this is sent only if it is the rest of its message.
const FRAGMENT_BYTES_MIN: usize = 4 * 1024;

impl Shared {
    /// Sends messages, in as many fragments as the credit asks for; what is sent is taken out of
    /// the run.
    pub(super) fn poll_send(
        &self,
        id: u32,
        run: &mut Run,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut state = self.lock();
        while let Some(message) = run.front() {
            match message {
                Message::Short(bytes) => {
                    let credit = ready!(state.poll_credit(id, bytes.len(), context))?;
                    state.send_short(id, run, credit);
                }
                Message::Long(bytes) => {
                    if ready!(state.poll_fragment(id, bytes, false, context))? {
                        run.pop();
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends one message, after which nothing follows on this stream.
    pub(super) fn poll_send_last(
        &self,
        id: u32,
        message: &mut Bytes,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut state = self.lock();
        while !ready!(state.poll_fragment(id, message, true, context))? {}
        Poll::Ready(Ok(()))
    }
}

/// Sends a run of messages, and then those of a body.
pub(super) async fn send_runs(
    shared: &Shared,
    id: u32,
    mut body: Body,
    mut run: Run,
) -> Result<()> {
    loop {
        poll_fn(|context| shared.poll_send(id, &mut run, context)).await?;
        poll_fn(|context| body.poll_run(&mut run, context)).await?;
        if run.is_empty() {
            return Ok(());
        }
    }
}

/// The messages of one stream, as they come.
pub(super) struct Arriving {
    shared: Arc<Shared>,
    id: u32,
}

impl Arriving {
    pub(super) fn new(shared: &Arc<Shared>, id: u32) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, id }
    }
}

impl Source for Arriving {
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.shared.lock().poll_lend(self.id, into, context)
    }
}

impl Drop for Arriving {
    /// Whoever called has given up what is left of the call.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.streams.side() == Side::Calling {
            state.give_up(self.id);
        }
    }
}

impl State {
    /// Takes in a DATA frame.
    pub(super) fn receive(&mut self, id: u32, flags: u8, payload: &Payload<'_>) -> Result<()> {
        let cost = cost(payload.as_slice().len());
        let (is_last, is_end) = (flags & FLAG_MESSAGE != 0, flags & FLAG_END != 0);
        let message_bytes_max = self.limits.message_bytes_max;
        let Some(stream) = self.take_in(id, cost, is_end)? else {
            return Ok(());
        };
        let inbound = &mut stream.inbound;
        let freed = inbound.push_fragment(payload, is_last, message_bytes_max);
        if let Err(error) = &freed {
            // The stream is at fault, not the connection: it alone is ended.
            inbound.end = Some(Err(error.clone()));
        }
        if is_end {
            inbound.finish("DATA", None)?;
        }
        inbound.wake();
        if is_end {
            stream.outbound.wake();
        }
        let freed = freed.unwrap_or(cost);
        if freed > 0 {
            self.free_stream(id, freed);
            self.free_connection(freed);
        }
        Ok(())
    }

    /// The longest message that may be taken in together with others.
    pub(super) fn short_max(&self) -> usize {
        SHORT_BYTES_MAX.min(self.limits.message_bytes_max as usize)
    }

    /// Takes in DATA frames of a stream, each of them a whole short message, and none the last.
    pub(super) fn receive_short(&mut self, id: u32, messages: &Alike<'_>) -> Result<()> {
        if messages.count == 0 {
            return Ok(());
        }
        if let Some(stream) = self.take_in(id, cost_alike(messages), false)? {
            stream.inbound.push_short(messages);
            stream.inbound.wake();
        }
        Ok(())
    }

    /// Counts what has arrived, and finds whose it is; `None` where nobody will take it.
    fn take_in(&mut self, id: u32, cost: u32, is_end: bool) -> Result<Option<&mut Stream>> {
        self.window.spend(cost)?;
        let is_taken = match self.lookup(id)? {
            Lookup::Late => false,
            Lookup::Open(stream) => {
                let inbound = &mut stream.inbound;
                inbound.window.spend(cost)?;
                inbound.check_more("DATA")?;
                inbound.check_head("DATA")?;
                // Where it has been broken off at this end, the other's is of note all the same.
                let is_taken = inbound.end.is_none();
                inbound.is_ended_by_peer = is_end && !is_taken;
                is_taken
            }
        };
        if !is_taken {
            self.free_connection(cost);
            return Ok(None);
        }
        Ok(self.stream(id))
    }

    /// Takes in that the other side sends nothing more on a stream.
    pub(super) fn end(&mut self, id: u32, error: Option<Error>) -> Result<()> {
        if let Lookup::Open(stream) = self.lookup(id)? {
            stream.inbound.finish("END", error)?;
            stream.inbound.wake();
            stream.outbound.wake();
        }
        Ok(())
    }

    /// Lends messages of a stream that wait, once those lent before have been looked at; when
    /// there are none any more, the run stays empty.
    fn poll_lend(
        &mut self,
        id: u32,
        into: &mut Run,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(Err(call_is_over()));
        };
        let inbound = &mut stream.inbound;
        let freed = inbound.settle();
        inbound.lend(into);
        let lent = match &inbound.end {
            _ if !into.is_empty() => Poll::Ready(Ok(())),
            Some(end) => Poll::Ready(end.clone()),
            None => {
                inbound.reader = Some(context.waker().clone());
                inbound.rest();
                into.rest();
                Poll::Pending
            }
        };
        if freed > 0 {
            self.free_stream(id, freed);
            self.free_connection(freed);
        }
        lent
    }

    fn free_stream(&mut self, id: u32, cost: u32) {
        let Some(stream) = self.live(id) else {
            return;
        };
        if stream.inbound.end.is_none()
            && let Some(bytes) = stream.inbound.window.free(cost)
        {
            message::write_credit(&mut self.outbox, id, bytes);
            self.wake_driver();
        }
    }

    pub(super) fn free_connection(&mut self, cost: u32) {
        if let Some(bytes) = self.window.free(cost)
            && self.closed.is_none()
        {
            message::write_credit(&mut self.outbox, 0, bytes);
            self.wake_driver();
        }
    }

    /// Takes in a CREDIT frame.
    pub(super) fn add_credit(&mut self, id: u32, bytes: u32) -> Result<()> {
        let overflow = || message::malformed("CREDIT", "the credit passes 4 GiB");
        if id == 0 {
            self.credit = self.credit.checked_add(bytes).ok_or_else(overflow)?;
            self.wake_waiting();
        } else if let Lookup::Open(stream) = self.lookup(id)? {
            let outbound = &mut stream.outbound;
            outbound.credit = outbound.credit.checked_add(bytes).ok_or_else(overflow)?;
            outbound.wake();
        }
        Ok(())
    }

    /// Sends the short messages that a run begins with, as many as the credit is for.
    fn send_short(&mut self, id: u32, run: &mut Run, credit: u32) {
        let limit = self.message_limit();
        let header = header(DATA, FLAG_MESSAGE, id);
        let (mut left, mut queued) = (credit, self.outbox.len());
        let fits = |bytes: usize| {
            let cost = cost(bytes);
            let fits = cost <= left && bytes <= limit && queued <= HIGH_WATER;
            if fits {
                left -= cost;
                queued += HEADER_BYTES + bytes;
            }
            fits
        };
        let outbox = &mut self.outbox;
        run.take_frames(header, fits, |frames| outbox.push_frames(frames));
        self.spend(id, credit - left);
    }

    /// Sends as much of a message as there is credit for; whether that is all of it. With
    /// `is_end`, nothing follows it on this stream.
    fn poll_fragment(
        &mut self,
        id: u32,
        message: &mut Bytes,
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool>> {
        let credit = ready!(self.poll_credit(id, message.len(), context))?;
        let room = (credit - DATA_COST) as usize;
        let length = message.len().min(FRAME_BYTES_MAX).min(room);
        let is_whole = length == message.len();
        let flags = match (is_whole, is_end) {
            (false, _) => 0,
            (true, false) => FLAG_MESSAGE,
            (true, true) => FLAG_MESSAGE | FLAG_END,
        };
        self.outbox
            .push_front(header(DATA, flags, id), message, length);
        self.spend(id, cost(length));
        Poll::Ready(Ok(is_whole))
    }

    /// The credit there is for a message: enough for all of it where it is short, and for a
    /// fragment worth sending where it is long.
    fn poll_credit(
        &mut self,
        id: u32,
        message: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<u32>> {
        if let Some(error) = &self.closed {
            return Poll::Ready(Err(error.clone()));
        }
        let is_calling = self.streams.side() == Side::Calling;
        let is_full = self.outbox.len() > HIGH_WATER;
        let (connection, limit) = (self.credit, self.message_limit());
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(Err(call_is_over()));
        };
        if is_calling && stream.inbound.end.is_some() {
            // The answer is whole, or there is none: no credit will come for a body any more.
            return Poll::Ready(Err(call_is_over()));
        }
        if message > limit {
            return Poll::Ready(Err(Error::resource_exhausted(format!(
                "a message of {message} bytes: the other side takes at most {limit}"
            ))));
        }
        let least = cost(message.min(FRAGMENT_BYTES_MIN));
        let outbound = &mut stream.outbound;
        if outbound.credit < least {
            outbound.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let credit = outbound.credit.min(connection);
        if connection < least || is_full {
            self.wait(context.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(credit))
    }

    /// The longest message that the other side takes.
    fn message_limit(&self) -> usize {
        self.peer.map_or(u32::MAX, |peer| peer.message_bytes_max) as usize
    }

    /// Counts what has been put into the outbox.
    fn spend(&mut self, id: u32, cost: u32) {
        self.credit -= cost;
        if let Some(stream) = self.stream(id) {
            stream.outbound.credit -= cost;
        }
        self.wake_driver();
    }
}
