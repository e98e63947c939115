//! A stream whose bytes pass through the links.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use nitro::host::{Stream, Tasks};
use nitro::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf};
use tokio::sync::Notify;

use super::link::{Fate, Peer};
use super::passage::Passage;
use super::pump::pump;
use super::{Attached, SEND_BUFFER_BYTES};
use crate::trace::{EventKind, MessageOutcome};

/// One end of a stream. Reads go to the engine's stream; writes go into a buffer that a task of
/// the node empties, as a kernel does, so that they flow when nobody polls.
pub(super) struct LinkedStream {
    read: ReadHalf<Box<dyn Stream>>,
    /// How the engine's stream ended, until the links let it be known.
    end: Option<Option<io::ErrorKind>>,
    passage: Passage,
    /// How many bytes were read.
    count: u64,
    shared: Arc<Shared>,
}

/// What a stream and the task that sends for it share.
pub(super) struct Shared {
    pub(super) at: Attached,
    pub(super) peer: usize,
    pub(super) peer_incarnation: u32,
    pub(super) work: Notify,
    state: Mutex<Sending>,
}

pub(super) struct Sending {
    pub(super) queue: VecDeque<Chunk>,
    pub(super) queued_bytes: usize,
    written: u64,
    pub(super) last_write: Instant,
    /// No more is written: once the buffer is empty, the other end is told.
    pub(super) is_closing: bool,
    pub(super) is_closed: bool,
    pub(super) is_dropped: bool,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) stalled_since: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Bytes on their way.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// When they go, at the earliest.
    pub(super) due: Instant,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Sending> {
        self.state.lock().expect("no panic while a stream is held")
    }

    /// Whether silence hides how the stream ended.
    fn is_silent(&self) -> bool {
        let links = &self.at.links;
        links.peer(self.peer, self.peer_incarnation) != Peer::Same
            || !links.is_open(self.peer, self.at.node)
    }

    /// Breaks the stream, for reader and writer alike.
    pub(super) fn fail(&self, state: &mut Sending, kind: io::ErrorKind) {
        state.error = Some(kind);
        state.queue.clear();
        state.wake();
        self.record_broken(kind);
    }

    fn record_broken(&self, kind: io::ErrorKind) {
        let peer = self.at.links.name(self.peer);
        let error = kind.to_string();
        self.at.record(EventKind::Broken { peer, error });
    }
}

impl Sending {
    /// Lets reader and writer look again.
    pub(super) fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl LinkedStream {
    /// Wraps the engine's stream to `peer`, and starts the task that sends for it.
    pub(super) fn new(
        at: Attached,
        tasks: &dyn Tasks,
        peer: usize,
        inner: Box<dyn Stream>,
        passage: Passage,
    ) -> Self {
        let (read, write) = tokio::io::split(inner);
        let state = Sending {
            queue: VecDeque::new(),
            queued_bytes: 0,
            written: 0,
            last_write: at.clock.now(),
            is_closing: false,
            is_closed: false,
            is_dropped: false,
            error: None,
            stalled_since: None,
            reader: None,
            writer: None,
        };
        let shared = Arc::new(Shared {
            peer_incarnation: at.links.incarnation(peer),
            at,
            peer,
            work: Notify::new(),
            state: Mutex::new(state),
        });
        // The task ends by itself once the stream is dropped and its bytes are sent.
        drop(tasks.spawn("send", Box::pin(pump(Arc::clone(&shared), write))));
        Self {
            read,
            end: None,
            passage,
            count: 0,
            shared,
        }
    }

    fn poll_end(
        &mut self,
        context: &mut Context<'_>,
        end: Option<io::ErrorKind>,
    ) -> Poll<io::Result<()>> {
        // The waker goes in before the look, so that a change between the two is not missed.
        self.shared.lock().reader = Some(context.waker().clone());
        if self.shared.is_silent() {
            return Poll::Pending;
        }
        match end {
            None => Poll::Ready(Ok(())),
            Some(kind) => Poll::Ready(Err(kind.into())),
        }
    }
}

impl AsyncRead for LinkedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(kind) = self.shared.lock().error {
            return Poll::Ready(Err(kind.into()));
        }
        if let Some(end) = self.end {
            return self.poll_end(context, end);
        }
        let before = buffer.filled().len();
        let end = match Pin::new(&mut self.read).poll_read(context, buffer) {
            Poll::Pending => {
                self.shared.lock().reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) if buffer.filled().len() > before || buffer.remaining() == 0 => {
                self.count += (buffer.filled().len() - before) as u64;
                while let Some(message) = self.passage.receive(self.count) {
                    self.shared.at.record(EventKind::Received { message });
                }
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Ok(())) => None,
            Poll::Ready(Err(error)) => Some(error.kind()),
        };
        self.end = Some(end);
        self.poll_end(context, end)
    }
}

impl AsyncWrite for LinkedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if let Some(kind) = state.error {
            return Poll::Ready(Err(kind.into()));
        }
        if state.is_closing {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = SEND_BUFFER_BYTES - state.queued_bytes;
        if room == 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let bytes = Bytes::copy_from_slice(&bytes[..bytes.len().min(room)]);
        let length = bytes.len();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let (later, outcome) = match shared.at.links.fate(shared.at.node, shared.peer) {
            Fate::Goes(later) if later.is_zero() => (later, MessageOutcome::Sent),
            Fate::Goes(later) | Fate::Lost(later) => (later, MessageOutcome::Delayed),
            Fate::Blocked | Fate::Held => (Default::default(), MessageOutcome::Held),
        };
        let now = shared.at.clock.now();
        state.last_write = now;
        state.queued_bytes += length;
        let start = state.written;
        state.written += length as u64;
        let links = &shared.at.links;
        let due = now + later + links.latency(shared.at.node, shared.peer);
        state.queue.push_back(Chunk { bytes, due });
        drop(state);
        let message = shared.at.record_message(shared.peer, length, outcome);
        self.passage.send(start, message);
        shared.work.notify_one();
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
        Poll::Ready(Ok(()))
    }
}

impl Drop for LinkedStream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        state.is_dropped = true;
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// Makes a stream's reader and writer look again, after a change of the links.
    pub(super) fn wake(&self) {
        self.lock().wake();
    }
}
