//! What reads and writes a connection, on either side, and closes it when the peer is silent.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::message::{
    self, CREDIT, DATA, END, FLAG_MESSAGE, FLAGS_KNOWN, GOAWAY, PING, PONG, SETTINGS, Settings,
    header,
};
use super::state::{HIGH_WATER, Shared};
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::{Error, Result};
use crate::host::Timer;
use crate::transport::{Filled, Frame, Link};

/// Frames read before other tasks of the same thread get a turn.
const FRAMES_A_TURN: usize = 256;
/// DATA frames taken in before callers on other threads get at the state.
const FRAMES_A_LOCK: usize = 32;
/// Short messages of one stream that are taken in together, after the first of them.
const FRAMES_ALIKE: usize = 16;
/// From this length on, an outbox that grows is let grow while others have a turn, as whoever
/// fills it is likely to go on: a write costs about as much as sixty short messages.
const WRITE_BYTES_WAITED_FOR: usize = 8 * 1024;
/// At this length it waits for nothing more.
const WRITE_BYTES_ENOUGH: usize = 64 * 1024;
/// Ticks of silence after which a PING is sent.
const SILENT_TICKS_PING: u32 = 2;
/// Ticks of silence after which the connection is closed.
const SILENT_TICKS_CLOSE: u32 = 3;
/// Ticks that one frame may take to arrive.
const PARTIAL_TICKS: u32 = 2;
/// Ticks that a peer may take no byte.
const STALLED_TICKS: u32 = 4;

/// Whole ticks that a peer may stay after GOAWAY without a stream.
const DRAINED_TICKS: u32 = 2;

/// What one side does with the frames that only it gets.
pub(super) trait Role: Send + 'static {
    /// Whether this side closes once it is drained; the other side waits for that, so that no
    /// call is lost that was under way when it said GOAWAY.
    const CLOSES_WHEN_DRAINED: bool;

    /// Handles a frame of a kind that both sides do not handle alike.
    fn frame(
        &mut self,
        shared: &Arc<Shared>,
        frame: &Frame<'_>,
        context: &mut Context<'_>,
    ) -> Result<()>;

    /// Begins a turn of reading: what is handled in it had arrived by now.
    fn begin_turn(&mut self);
}

enum Phase {
    /// The SETTINGS of the other side have not come.
    Opening,
    Open,
    /// What is in the outbox is still sent, then the link is closed for this reason.
    Closing(Error),
}

/// The driver of a connection: a future that ends when the connection does, with the reason.
pub(super) struct Driver<R> {
    link: Link,
    shared: Arc<Shared>,
    role: R,
    phase: Phase,
    timer: Box<dyn Timer>,
    ticks: Ticks,
    /// There is more to do, after other tasks have had their turn.
    is_yielding: bool,
    /// How long the outbox was when it was last left to grow.
    outbox_seen: usize,
    /// After how many frames other tasks have their turn.
    frames_a_turn: usize,
}

impl<R: Role> Driver<R> {
    pub(super) fn new(mut link: Link, shared: Arc<Shared>, role: R) -> Self {
        let tick = {
            let mut state = shared.lock();
            let settings = Settings::of(&state.limits);
            settings.write(&mut state.outbox);
            state.limits.tick
        };
        let clock = &shared.host.clock;
        let timer = clock.timer(clock.now() + tick);
        let frames_a_turn = match trick!(shared.host.entropy, "one frame is read at a time") {
            true => 1,
            false => FRAMES_A_TURN,
        };
        if trick!(shared.host.entropy, "one byte is read at a time") {
            link.read_at_most(1);
        }
        Self {
            link,
            shared,
            role,
            phase: Phase::Opening,
            timer,
            ticks: Ticks::default(),
            is_yielding: false,
            outbox_seen: 0,
            frames_a_turn,
        }
    }

    /// Sends what there is to send; whether anything moved.
    fn write(&mut self, context: &mut Context<'_>) -> Result<bool> {
        let mut has_moved = false;
        loop {
            if self.link.is_flushed() {
                let mut state = self.shared.lock();
                if state.outbox.is_empty() {
                    return Ok(has_moved);
                }
                let length = state.outbox.len();
                let may_grow = (WRITE_BYTES_WAITED_FOR..WRITE_BYTES_ENOUGH).contains(&length);
                if may_grow && length > self.outbox_seen && !state.is_draining {
                    self.outbox_seen = length;
                    self.is_yielding = true;
                    return Ok(has_moved);
                }
                self.outbox_seen = 0;
                state.count_swap();
                self.link.swap(&mut state.outbox);
                state.wake_waiting();
            }
            match self.link.poll_flush(context) {
                Poll::Ready(flushed) => flushed?,
                Poll::Pending => return Ok(has_moved),
            }
            has_moved = true;
        }
    }

    /// Reads what there is to read; whether it left off because too much waits to be sent.
    fn read(&mut self, context: &mut Context<'_>) -> Result<bool> {
        let (mut frames, mut unlocked_at) = (0, 0);
        // Held from one DATA frame to the next, as they come in runs, and never across a wait: the
        // state of a connection is one lock for its callers too.
        let mut state = None;
        self.role.begin_turn();
        loop {
            if frames >= self.frames_a_turn {
                self.is_yielding = true;
                return Ok(false);
            }
            let lock = || self.shared.lock();
            if !self.link.is_flushed() && state.get_or_insert_with(lock).outbox.len() > HIGH_WATER {
                // Whoever does not take the answers is asked no further questions. It is not
                // listened to, and so is neither silent nor late: only the stall counts.
                self.ticks.is_deaf = true;
                return Ok(true);
            }
            if let Some(frame) = self.link.next_frame()? {
                frames += 1;
                self.ticks.frames += 1;
                if frames - unlocked_at >= FRAMES_A_LOCK {
                    (state, unlocked_at) = (None, frames);
                }
                check(&frame, !matches!(self.phase, Phase::Opening))?;
                self.phase = Phase::Open;
                let header = frame.header;
                if header.kind == DATA {
                    let state = state.get_or_insert_with(lock);
                    state.receive(header.stream, header.flags, &frame.payload)?;
                    if header.flags == FLAG_MESSAGE {
                        let (most, longest) = (self.frames_a_turn - frames, state.short_max());
                        let alike = self
                            .link
                            .next_alike(header, longest, most.min(FRAMES_ALIKE));
                        state.receive_short(header.stream, &alike)?;
                        frames += alike.count;
                        self.ticks.frames += alike.count as u64;
                    }
                } else {
                    state = None;
                    handle(&self.shared, &mut self.role, &frame, context)?;
                }
                continue;
            }
            state = None;
            match self.link.poll_fill(context) {
                Poll::Pending => return Ok(false),
                Poll::Ready(filled) => match filled? {
                    Filled::More => {
                        self.ticks.has_heard = true;
                        self.shared.hear();
                    }
                    Filled::End => return Err(Error::unavailable("the other end closed it")),
                },
            }
        }
    }

    /// What a tick finds: a reason to close, if there is one.
    fn tick(&mut self) -> Result<()> {
        if trick!(self.shared.host.entropy, "a connection breaks") {
            return Err(Error::unavailable("it was broken on purpose"));
        }
        let mut state = self.shared.lock();
        let limits = state.limits;
        let ticks = &mut self.ticks;
        let unavailable = |message: &'static str| Err(Error::unavailable(message));
        if matches!(self.phase, Phase::Opening) {
            return unavailable("the peer did not open the connection in time");
        }
        let is_deaf = std::mem::take(&mut ticks.is_deaf);
        ticks.silent = if std::mem::take(&mut ticks.has_heard) || is_deaf {
            0
        } else {
            ticks.silent + 1
        };
        if ticks.silent > 0 {
            // Thousands of connections may have been busy once.
            self.link.rest();
            state.outbox.rest();
        } else {
            let kept = self.link.trim();
            state.outbox.trim(kept);
        }
        point!(Sometimes, ticks.silent > 0, "a peer is silent");
        if ticks.silent >= SILENT_TICKS_CLOSE {
            return unavailable("the peer is silent");
        }
        if ticks.silent == SILENT_TICKS_PING {
            state.ping();
        }
        let is_stuck = self.link.is_partial() && ticks.frames == ticks.frames_seen && !is_deaf;
        ticks.frames_seen = ticks.frames;
        ticks.partial = if is_stuck { ticks.partial + 1 } else { 0 };
        if ticks.partial >= PARTIAL_TICKS {
            return unavailable("the peer left a frame unfinished");
        }
        let is_stalled = !self.link.is_flushed() && self.link.sent() == ticks.sent_seen;
        ticks.sent_seen = self.link.sent();
        ticks.stalled = if is_stalled { ticks.stalled + 1 } else { 0 };
        if ticks.stalled >= STALLED_TICKS {
            return unavailable("the peer takes no bytes");
        }
        let is_idle = state.open_streams() == 0;
        ticks.idle = if is_idle { ticks.idle + 1 } else { 0 };
        // Counted from GOAWAY on, however long it was idle before: a call may have crossed it.
        let is_drained = is_idle && state.is_draining;
        ticks.drained = if is_drained { ticks.drained + 1 } else { 0 };
        if ticks.drained > DRAINED_TICKS {
            return unavailable("the peer did not close after GOAWAY");
        }
        if limits.idle_ticks.is_some_and(|most| ticks.idle >= most) {
            state.go_away(&Error::unavailable("the connection was not used"));
            ticks.idle = 0;
        }
        Ok(())
    }

    fn poll_tick(&mut self, context: &mut Context<'_>) -> Result<()> {
        while self.timer.poll_elapsed(context).is_ready() {
            let tick = self.shared.lock().limits.tick;
            let now = self.shared.host.clock.now();
            self.timer.reset(now + tick);
            self.tick()?;
        }
        Ok(())
    }

    /// One turn: whether there may be more to do at once. Where all that had come was read, whoever
    /// brings more wakes the driver, and what is still to be sent keeps it from sleeping.
    fn turn(&mut self, context: &mut Context<'_>) -> Result<bool> {
        let has_left_off = self.read(context)?;
        let has_written = self.write(context)?;
        self.poll_tick(context)?;
        if self.shared.lock().is_drained() && R::CLOSES_WHEN_DRAINED {
            return Err(Error::unavailable("the connection is no longer needed"));
        }
        Ok(has_left_off && has_written)
    }

    /// Sends what is left, closes the link; `Ready` when there is nothing more to do.
    fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.poll_elapsed(context).is_ready() {
            self.ticks.closing += 1;
            if self.ticks.closing > 1 {
                return Poll::Ready(());
            }
            let tick = self.shared.lock().limits.tick;
            let now = self.shared.host.clock.now();
            self.timer.reset(now + tick);
        }
        loop {
            if self.link.is_flushed() {
                let mut state = self.shared.lock();
                if state.outbox.is_empty() {
                    drop(state);
                    return self.link.poll_close(context).map(drop);
                }
                self.link.swap(&mut state.outbox);
            }
            match self.link.poll_flush(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
        }
    }

    /// Ends every stream, and has the other side told why.
    fn begin_closing(&mut self, error: Error) {
        let mut state = self.shared.lock();
        let peer = &self.shared.peer;
        let mut message = format!("connection to {peer} lost: {}", error.message());
        if let Some(farewell) = &state.farewell {
            message.push_str(&format!(" after {:?}", farewell.message()));
        }
        let lost = Error::unavailable(message).with_source(error.clone());
        state.break_off(&error, lost);
        drop(state);
        self.phase = Phase::Closing(error);
    }
}

/// What has been seen since when, in ticks; nothing here reads a clock.
#[derive(Default)]
struct Ticks {
    has_heard: bool,
    /// This side has not read all there was to read.
    is_deaf: bool,
    silent: u32,
    frames: u64,
    frames_seen: u64,
    partial: u32,
    sent_seen: u64,
    stalled: u32,
    idle: u32,
    drained: u32,
    closing: u32,
}

/// Checks what holds for every frame; the first of a connection must be SETTINGS.
fn check(frame: &Frame<'_>, is_open: bool) -> Result<()> {
    if !is_open && frame.header.kind != SETTINGS {
        return Err(Error::invalid_argument("the first frame is not SETTINGS"));
    }
    if frame.header.flags & !FLAGS_KNOWN != 0 {
        let flags = frame.header.flags;
        let message = format!("a frame with flags that mean nothing: {flags:#04x}");
        return Err(Error::invalid_argument(message));
    }
    Ok(())
}

/// Handles a frame that is not DATA.
fn handle<R: Role>(
    shared: &Arc<Shared>,
    role: &mut R,
    frame: &Frame<'_>,
    context: &mut Context<'_>,
) -> Result<()> {
    let stream = frame.header.stream;
    let payload = frame.payload.as_slice();
    match frame.header.kind {
        SETTINGS => shared.lock().settle(Settings::read(payload)?),
        CREDIT => shared
            .lock()
            .add_credit(stream, message::read_credit(payload)?),
        END => {
            let status = message::read_status("END", payload)?;
            shared.lock().end(stream, status)
        }
        PING => {
            let bytes = <[u8; 8]>::try_from(payload);
            let bytes = bytes.map_err(|_| message::malformed("PING", "expected 8 bytes"))?;
            let mut state = shared.lock();
            state.outbox.push(header(PONG, 0, 0), |payload| {
                payload.extend_from_slice(&bytes)
            });
            Ok(())
        }
        PONG => Ok(()),
        GOAWAY => {
            let status = message::read_status("GOAWAY", payload)?;
            let reason = status.unwrap_or_else(|| Error::unavailable("the peer is going away"));
            let mut state = shared.lock();
            state.go_away(&reason);
            state.farewell = Some(reason);
            Ok(())
        }
        _ => role.frame(shared, frame, context),
    }
}

impl<R: Role + Unpin> Future for Driver<R> {
    type Output = Error;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Error> {
        let this = self.get_mut();
        this.shared.lock().rouse_driver();
        loop {
            if let Phase::Closing(reason) = &this.phase {
                let reason = reason.clone();
                return this.poll_closing(context).map(|()| reason);
            }
            match this.turn(context) {
                Ok(_) if std::mem::take(&mut this.is_yielding) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Ok(true) => {}
                Ok(false) => {
                    if this.shared.lock().sleep_driver(context.waker()) || !this.link.is_flushed() {
                        return Poll::Pending;
                    }
                }
                Err(error) => this.begin_closing(error),
            }
        }
    }
}

impl<R> Drop for Driver<R> {
    /// A driver that is dropped, as when its node goes down, leaves nobody waiting.
    fn drop(&mut self) {
        let error = Error::unavailable(format!(
            "connection to {} lost: its driver is gone",
            self.shared.peer
        ));
        self.shared.lock().close(error);
    }
}
