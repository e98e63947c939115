//! What the driver of a connection and its callers share: the outbox and the streams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;

use super::Limits;
use super::flow::{WINDOW_MIN, Window};
use super::message::{self, CANCEL, END, GOAWAY, PING, Settings, header};
use super::methods::Methods;
use super::streams::{Lookup, Side, Stream, Streams};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::metadata::Metadata;
use crate::transport::Outbox;

/// Bytes in the outbox past which senders wait and a server reads no more calls.
pub(super) const HIGH_WATER: usize = 512 * 1024;

/// The state of one connection, behind one lock that is never held across a wait.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Who is at the other end, for errors.
    pub(super) peer: String,
    pub(super) host: Host,
    /// The other side was sent a PING by a caller in doubt, and nothing has been heard since.
    is_asked: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        host: &Host,
        outbox: Outbox,
        limits: Limits,
        side: Side,
        peer: String,
    ) -> Arc<Self> {
        let limits = limits.sensible();
        Arc::new(Self {
            state: Mutex::new(State::new(outbox, limits, side)),
            peer,
            host: host.clone(),
            is_asked: AtomicBool::new(false),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the state is held")
    }

    /// Sends a PING, unless one has gone and nothing was heard since.
    pub(super) fn ask(&self) {
        let mut state = self.lock();
        if state.closed.is_none() && !self.is_asked.swap(true, Ordering::Relaxed) {
            state.ping();
        }
    }

    /// Whether nothing was heard since [`Shared::ask`].
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Something has been heard, be it the answer to a PING or, where that has to queue, the bytes
    /// before it.
    pub(super) fn hear(&self) {
        if self.is_asked() {
            self.is_asked.store(false, Ordering::Relaxed);
        }
    }
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
    pub(super) methods: Methods,
    /// Tasks that wait for the connection rather than for their stream.
    waiting: Vec<Waker>,
    driver: Option<Waker>,
    /// Something has changed since the driver last looked.
    is_woken: bool,
    swapped: u64,
    pub(super) streams: Streams,
    /// What this side may still send, over all streams.
    pub(super) credit: u32,
    pub(super) window: Window,
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
            methods: Methods::default(),
            waiting: Vec::new(),
            driver: None,
            is_woken: false,
            swapped: 0,
            streams: Streams::new(side, limits.stream_window),
            credit: 0,
            window: Window::new(limits.connection_window),
        }
    }

    // --- the driver ---

    /// Wakes the driver, unless it is awake already.
    pub(super) fn wake_driver(&mut self) {
        match self.driver.take() {
            Some(driver) => driver.wake(),
            None => self.is_woken = true,
        }
    }

    /// Takes note that the driver is awake, whoever woke it: a handler that answers within its turn
    /// is not to wake it once more.
    pub(super) fn rouse_driver(&mut self) {
        self.driver = None;
    }

    /// Whether the connection is drained, as the driver asks at the end of each turn: what wakes
    /// it later is remembered until it sleeps.
    pub(super) fn is_drained(&mut self) -> bool {
        self.is_woken = false;
        self.is_draining && self.streams.open_count() == 0
    }

    /// Lets the driver sleep, unless there is something to send.
    pub(super) fn sleep_driver(&mut self, waker: &Waker) -> bool {
        if !self.outbox.is_empty() || std::mem::take(&mut self.is_woken) {
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

    /// Asks the other side whether it is there.
    pub(super) fn ping(&mut self) {
        self.outbox.push(header(PING, 0, 0), |payload| {
            payload.extend_from_slice(&[0; 8])
        });
        self.wake_driver();
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
    pub(super) fn accept(&mut self, id: u32) -> Result<&mut Stream> {
        let stream = self.streams.accept(id, self.limits.streams_max)?;
        stream.outbound.credit = self.peer.map_or(0, |peer| peer.stream_window);
        // The CALL itself is the head.
        stream.inbound.has_head = true;
        Ok(stream)
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
    pub(super) fn live(&mut self, id: u32) -> Option<&mut Stream> {
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
        self.cancel(id);
        self.release(id);
    }

    /// Ends a call because its own body broke off.
    pub(super) fn fail_call(&mut self, id: u32, error: Error) {
        let Some(stream) = self.live(id) else {
            return;
        };
        // Whatever its body was told elsewhere, this call has left.
        stream.inbound.end.get_or_insert(Err(error.seen()));
        stream.inbound.wake();
        // Now, not when its caller looks: the other side is not to wait for the rest.
        self.cancel(id);
    }

    fn cancel(&mut self, id: u32) {
        if let Some(stream) = self.live(id)
            && !std::mem::replace(&mut stream.outbound.is_cancelled, true)
            && !stream.inbound.is_ended_by_peer
        {
            self.outbox.push(header(CANCEL, 0, id), |_| {});
            self.wake_driver();
        }
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
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::host::memory::Machine;

    #[test]
    fn a_wake_up_between_the_last_look_and_the_sleep_is_not_lost() {
        let host = Machine::new().host("here");
        let outbox = Outbox::Bytes(::bytes::BytesMut::new());
        let limits = Limits::default();
        let shared = Shared::new(&host, outbox, limits, Side::Calling, String::new());
        let mut state = shared.lock();
        assert!(!state.is_drained());
        state.wake_driver();
        assert!(!state.sleep_driver(Waker::noop()), "it has to look again");
        assert!(!state.is_drained());
        assert!(state.sleep_driver(Waker::noop()));
    }

    #[test]
    fn a_driver_that_is_awake_is_not_woken_by_what_it_does_itself() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let outbox = Outbox::Bytes(::bytes::BytesMut::new());
        let mut state = State::new(outbox, Limits::default(), Side::Answering);
        assert!(state.sleep_driver(&Waker::from(Arc::clone(&woken))));
        // Something has come in: it was not the state that woke it.
        state.rouse_driver();
        state.wake_driver();
        assert!(!woken.0.load(Ordering::Relaxed));
        assert!(!state.sleep_driver(Waker::noop()), "it has to look again");
    }
}
