//! What the driver of a connection and its callers share: the outbox and the streams.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ::bytes::{Buf, Bytes};

use super::Limits;
use super::flow::{DATA_COST, WINDOW_MIN, Window, cost};
use super::message::{self, CANCEL, DATA, END, FLAG_END, FLAG_MESSAGE, GOAWAY, Settings, header};
use super::streams::{Lookup, Side, Stream, Streams};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::metadata::Metadata;
use crate::name::Name;
use crate::transport::{FRAME_BYTES_MAX, Outbox, Payload};

/// Bytes in the outbox past which senders wait and a server reads no more calls.
pub(super) const HIGH_WATER: usize = 512 * 1024;
/// A fragment shorter than this is sent only if it is the rest of its message.
const FRAGMENT_BYTES_MIN: usize = 4 * 1024;

/// The state of one connection, behind one lock that is never held across a wait.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Who is at the other end, for errors.
    pub(super) peer: String,
    pub(super) host: Host,
}

impl Shared {
    pub(super) fn new(
        host: &Host,
        outbox: Outbox,
        limits: Limits,
        side: Side,
        peer: String,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(outbox, limits, side)),
            peer,
            host: host.clone(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is held")
    }

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

enum Sent {
    Whole,
    Part,
    Nothing,
}

pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) limits: Limits,
    /// What the other side accepts, once its SETTINGS have come.
    pub(super) peer: Option<Settings>,
    pub(super) is_draining: bool,
    pub(super) closed: Option<Error>,
    /// What the other side has said in its last GOAWAY.
    pub(super) farewell: Option<Error>,
    /// Methods that have a number, on the calling side.
    pub(super) methods: BTreeMap<(Name, Name), u16>,
    /// Tasks that wait for the connection rather than for their stream.
    waiting: Vec<Waker>,
    driver: Option<Waker>,
    swapped: u64,
    streams: Streams,
    credit: u32,
    window: Window,
}

pub(super) fn call_is_over() -> Error {
    Error::cancelled("the call is over")
}

impl State {
    fn new(outbox: Outbox, limits: Limits, side: Side) -> Self {
        Self {
            outbox,
            limits,
            peer: None,
            is_draining: false,
            closed: None,
            farewell: None,
            methods: BTreeMap::new(),
            waiting: Vec::new(),
            driver: None,
            swapped: 0,
            streams: Streams::new(side, limits.stream_window),
            credit: 0,
            window: Window::new(limits.connection_window),
        }
    }

    // --- the driver ---

    /// Wakes the driver, unless it is awake already.
    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Lets the driver sleep, unless there is something to send.
    pub(super) fn sleep_driver(&mut self, waker: &Waker) -> bool {
        if !self.outbox.is_empty() {
            return false;
        }
        self.driver = Some(waker.clone());
        true
    }

    /// Counts what the driver is about to take out of the outbox.
    pub(super) fn count_swap(&mut self) {
        self.swapped += self.outbox.len() as u64;
    }

    /// Has a task woken when the connection has room or credit, or is lost.
    pub(super) fn wait(&mut self, waker: &Waker) {
        let is_last = |last: &Waker| last.will_wake(waker);
        if !self.waiting.last().is_some_and(is_last) {
            self.waiting.push(waker.clone());
        }
    }

    pub(super) fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    pub(super) fn open_streams(&self) -> usize {
        self.streams.open_count()
    }

    /// Takes the SETTINGS of the other side.
    pub(super) fn settle(&mut self, settings: Settings) -> Result<()> {
        if self.peer.is_some() {
            return Err(message::malformed("SETTINGS", "it comes a second time"));
        }
        if settings.stream_window.min(settings.connection_window) < WINDOW_MIN {
            let what = format!("a window below {WINDOW_MIN} bytes");
            return Err(message::malformed("SETTINGS", &what));
        }
        self.credit = settings.connection_window;
        self.peer = Some(settings);
        self.wake_waiting();
        Ok(())
    }

    /// Tells the other side to open no more streams.
    pub(super) fn go_away(&mut self, reason: &Error) {
        if !self.is_draining && self.closed.is_none() {
            self.is_draining = true;
            message::write_status(&mut self.outbox, GOAWAY, 0, Some(reason));
            self.wake_driver();
        }
    }

    /// Ends every stream, and leaves only a last word to be sent: what was in the outbox must
    /// never leave, as its calls are told to be safe to repeat.
    pub(super) fn break_off(&mut self, reason: &Error, lost: Error) {
        self.outbox.clear();
        message::write_status(&mut self.outbox, GOAWAY, 0, Some(reason));
        self.close(lost);
    }

    /// Ends every stream: the connection is lost, and nothing is put into the outbox any more.
    pub(super) fn close(&mut self, error: Error) {
        let sent = self.swapped;
        for stream in self.streams.each_open() {
            let error = error.clone();
            let is_unsent = stream.called_at >= sent;
            let ended = if is_unsent { error.unsent() } else { error };
            stream.inbound.end.get_or_insert(Err(ended));
            stream.inbound.wake();
            stream.outbound.wake();
            if let Some(task) = stream.task.take() {
                task.abort();
            }
        }
        self.closed.get_or_insert(error);
        self.wake_waiting();
    }

    // --- streams ---

    /// Opens a stream at the calling side.
    pub(super) fn open(&mut self) -> Result<u32> {
        let peer = self
            .peer
            .expect("a connection is handed out once it is settled");
        let called_at = self.swapped + self.outbox.len() as u64;
        let under_way = self.streams.open_count();
        let (id, stream) = self.streams.open(peer.streams_max).ok_or_else(|| {
            let message = format!("{under_way} calls are under way on one connection");
            Error::unavailable(message).unsent()
        })?;
        stream.called_at = called_at;
        stream.outbound.credit = peer.stream_window;
        Ok(id)
    }

    /// Opens a stream at the answering side, under the number that the caller chose.
    pub(super) fn accept(&mut self, id: u32) -> Result<()> {
        let stream = self.streams.accept(id, self.limits.streams_max)?;
        stream.outbound.credit = self.peer.map_or(0, |peer| peer.stream_window);
        // The CALL itself is the head.
        stream.inbound.has_head = true;
        Ok(())
    }

    /// The stream of a number that a frame bears.
    pub(super) fn lookup(&mut self, id: u32) -> Result<Lookup<'_>> {
        self.streams.lookup(id)
    }

    /// The stream of a number that this side holds, unless it has been closed.
    pub(super) fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get(id)
    }

    /// The same, unless the connection is lost: what is still to be sent has somewhere to go.
    fn live(&mut self, id: u32) -> Option<&mut Stream> {
        if self.closed.is_some() {
            return None;
        }
        self.stream(id)
    }

    /// Closes a stream at this side and gives back the credit of what nobody will take.
    pub(super) fn release(&mut self, id: u32) {
        let Some(held) = self.streams.close(id) else {
            return;
        };
        self.free_connection(held);
        if self.is_draining && self.streams.open_count() == 0 {
            self.wake_driver();
        }
    }

    /// Closes a stream whose caller has given up, telling the other side.
    pub(super) fn give_up(&mut self, id: u32) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        if !stream.inbound.is_ended_by_peer && self.closed.is_none() {
            self.outbox.push(header(CANCEL, 0, id), |_| {});
            self.wake_driver();
        }
        self.release(id);
    }

    /// Ends a call because its own body broke off.
    pub(super) fn fail_call(&mut self, id: u32, error: Error) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        // Whatever its body was told elsewhere, this call has left.
        stream.inbound.end.get_or_insert(Err(error.seen()));
        stream.inbound.wake();
    }

    /// Ends the calling side's half of a stream.
    pub(super) fn half_close(&mut self, id: u32) {
        if self.live(id).is_some() {
            message::write_status(&mut self.outbox, END, id, None);
            self.wake_driver();
        }
    }

    /// Closes a stream from the answering side: well, or with an error.
    pub(super) fn finish(&mut self, id: u32, error: Option<&Error>) {
        if self.live(id).is_some() {
            message::write_status(&mut self.outbox, END, id, error);
            self.wake_driver();
        }
        self.release(id);
    }

    /// Begins the answer; with `is_end` that is all of it.
    pub(super) fn reply(
        &mut self,
        id: u32,
        metadata: &Metadata,
        message: Option<&[u8]>,
        is_end: bool,
    ) {
        if self.live(id).is_some() {
            message::write_reply(&mut self.outbox, id, metadata, message, is_end);
            self.wake_driver();
        }
        if is_end {
            self.release(id);
        }
    }

    // --- data ---

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
        self.free_stream(id, freed);
        self.free_connection(freed);
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
            self.free_stream(id, cost);
            self.free_connection(cost);
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
        let fragment = message.slice(..length);
        message.advance(length);
        self.outbox.push_bytes(header(DATA, flags, id), fragment);
        self.wake_driver();
        Ok(if is_whole { Sent::Whole } else { Sent::Part })
    }
}
