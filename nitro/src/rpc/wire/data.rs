//! The messages of a connection's streams: what comes in and what goes out, within the windows.

use std::task::{Context, Poll};

use ::bytes::Bytes;

use super::flow::{DATA_COST, cost};
use super::message::{self, DATA, FLAG_END, FLAG_MESSAGE, header};
use super::state::{HIGH_WATER, Shared, State, call_is_over};
use super::streams::{Lookup, Side};
use crate::error::{Error, Result};
use crate::transport::{FRAME_BYTES_MAX, Payload};

/// A fragment shorter than this is sent only if it is the rest of its message.
const FRAGMENT_BYTES_MIN: usize = 4 * 1024;

enum Sent {
    Whole,
    Part,
    Nothing,
}

impl Shared {
    /// Sends one message, in as many fragments as the credit asks for; what is sent is taken off
    /// `message`. With `is_end`, nothing follows on this stream.
    pub(super) fn poll_send(
        &self,
        id: u32,
        message: &mut Bytes,
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut state = self.lock();
        loop {
            match state.send_fragment(id, message, is_end, context) {
                Ok(Sent::Whole) => return Poll::Ready(Ok(())),
                Ok(Sent::Part) => {}
                Ok(Sent::Nothing) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl State {
    /// Takes in a DATA frame.
    pub(super) fn receive(&mut self, id: u32, flags: u8, payload: &Payload<'_>) -> Result<()> {
        let cost = cost(payload.as_slice().len());
        self.window.spend(cost)?;
        let message_bytes_max = self.limits.message_bytes_max;
        let stream = match self.lookup(id)? {
            Lookup::Open(stream) => stream,
            Lookup::Late => {
                self.free_connection(cost);
                return Ok(());
            }
        };
        let inbound = &mut stream.inbound;
        inbound.window.spend(cost)?;
        inbound.check_more("DATA")?;
        inbound.check_head("DATA")?;
        let (is_last, is_end) = (flags & FLAG_MESSAGE != 0, flags & FLAG_END != 0);
        if inbound.end.is_some() {
            // It has been broken off at this end: nobody will take what comes.
            inbound.is_ended_by_peer = is_end;
            self.free_connection(cost);
            return Ok(());
        }
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

    /// Takes in that the other side sends nothing more on a stream.
    pub(super) fn end(&mut self, id: u32, error: Option<Error>) -> Result<()> {
        if let Lookup::Open(stream) = self.lookup(id)? {
            stream.inbound.finish("END", error)?;
            stream.inbound.wake();
            stream.outbound.wake();
        }
        Ok(())
    }

    /// Takes the next message of a stream; `None` in `Ready` is its end.
    pub(super) fn poll_take(
        &mut self,
        id: u32,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes>>> {
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(Some(Err(call_is_over())));
        };
        if let Some((message, cost)) = stream.inbound.take() {
            if cost > 0 {
                self.free_stream(id, cost);
                self.free_connection(cost);
            }
            return Poll::Ready(Some(Ok(message)));
        }
        match &stream.inbound.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error.clone()))),
            None => {
                stream.inbound.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
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

    fn send_fragment(
        &mut self,
        id: u32,
        message: &mut Bytes,
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Result<Sent> {
        if let Some(error) = &self.closed {
            return Err(error.clone());
        }
        let is_calling = self.streams.side() == Side::Calling;
        let connection_room = self.credit.saturating_sub(DATA_COST) as usize;
        let must_wait = self.credit < DATA_COST || self.outbox.len() > HIGH_WATER;
        let limit = self.peer.map_or(u32::MAX, |peer| peer.message_bytes_max) as usize;
        let stream = self.stream(id).ok_or_else(call_is_over)?;
        if is_calling && stream.inbound.end.is_some() {
            // The answer is whole, or there is none: no credit will come for a body any more.
            return Err(call_is_over());
        }
        if message.len() > limit {
            return Err(Error::resource_exhausted(format!(
                "a message of {} bytes: the other side takes at most {limit}",
                message.len()
            )));
        }
        let wanted = message.len().min(FRAME_BYTES_MAX);
        let least = wanted.min(FRAGMENT_BYTES_MIN);
        let outbound = &mut stream.outbound;
        let stream_room = outbound.credit.saturating_sub(DATA_COST) as usize;
        if stream_room < least || outbound.credit < DATA_COST {
            outbound.writer = Some(context.waker().clone());
            return Ok(Sent::Nothing);
        }
        if connection_room < least || must_wait {
            self.wait(context.waker());
            return Ok(Sent::Nothing);
        }
        let length = wanted.min(stream_room).min(connection_room);
        let spent = cost(length);
        outbound.credit -= spent;
        self.credit -= spent;
        let is_whole = length == message.len();
        let flags = match (is_whole, is_end) {
            (false, _) => 0,
            (true, false) => FLAG_MESSAGE,
            (true, true) => FLAG_MESSAGE | FLAG_END,
        };
        let fragment = match is_whole {
            true => std::mem::take(message),
            false => message.split_to(length),
        };
        self.outbox.push_bytes(header(DATA, flags, id), fragment);
        self.wake_driver();
        Ok(if is_whole { Sent::Whole } else { Sent::Part })
    }
}
