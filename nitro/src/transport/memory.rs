//! A link within one process: frames are handed over, no byte is written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ::bytes::Bytes;
use tokio::sync::mpsc;

use super::{Filled, Frame, HEADER_BYTES, Header, Payload};
use crate::address::Address;
use crate::error::{Error, Result};

/// Bytes under way in one direction before the sender waits, as in a socket's buffer.
const UNDER_WAY_MAX: usize = 256 * 1024;
/// Links that wait to be accepted before a connect is refused.
const BACKLOG: usize = 1024;

/// Where links within one process meet, by name. Cheap to clone; a clone is the same exchange.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    listeners: Arc<Mutex<BTreeMap<String, mpsc::Sender<MemoryEnd>>>>,
}

impl Exchange {
    /// An exchange at which nobody listens.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, mpsc::Sender<MemoryEnd>>> {
        self.listeners
            .lock()
            .expect("no panic while the table is held")
    }

    pub(super) fn connect(&self, name: &str) -> Result<MemoryEnd> {
        let listener = self.lock().get(name).cloned();
        let nobody = || Error::unavailable(format!("nobody listens at memory:{name}"));
        let listener = listener.ok_or_else(nobody)?;
        let (near, far) = MemoryEnd::pair();
        let full = |_| Error::unavailable(format!("memory:{name} accepts no more for now"));
        listener.try_send(far).map_err(full)?;
        Ok(near)
    }

    pub(super) fn listen(&self, name: &str) -> Result<MemoryListener> {
        let mut listeners = self.lock();
        if listeners.contains_key(name) {
            let message = format!("cannot listen at memory:{name}: somebody does already");
            return Err(Error::already_exists(message));
        }
        let (sender, backlog) = mpsc::channel(BACKLOG);
        listeners.insert(name.to_owned(), sender);
        Ok(MemoryListener {
            exchange: self.clone(),
            name: name.to_owned(),
            backlog,
        })
    }
}

pub(super) struct MemoryListener {
    exchange: Exchange,
    name: String,
    backlog: mpsc::Receiver<MemoryEnd>,
}

impl MemoryListener {
    pub(super) fn address(&self) -> Address {
        Address::memory(&self.name)
    }

    pub(super) async fn accept(&mut self) -> MemoryEnd {
        let accepted = self.backlog.recv().await;
        accepted.expect("the exchange holds a sender for as long as this lives")
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.exchange.lock().remove(&self.name);
    }
}

/// One direction of a link.
#[derive(Debug, Default)]
struct Lane {
    frames: VecDeque<(Header, Bytes)>,
    under_way: usize,
    is_closed: bool,
    sender: Option<Waker>,
    receiver: Option<Waker>,
}

type SharedLane = Arc<Mutex<Lane>>;

#[derive(Debug)]
pub(super) struct MemoryEnd {
    outward: SharedLane,
    inward: SharedLane,
    unsent: VecDeque<(Header, Bytes)>,
    arrived: VecDeque<(Header, Bytes)>,
    current: Option<(Header, Bytes)>,
    sent: u64,
}

fn lock(lane: &SharedLane) -> MutexGuard<'_, Lane> {
    lane.lock().expect("no panic while a lane is held")
}

impl MemoryEnd {
    fn pair() -> (MemoryEnd, MemoryEnd) {
        let (one, other) = (SharedLane::default(), SharedLane::default());
        let near = MemoryEnd::new(Arc::clone(&one), Arc::clone(&other));
        (near, MemoryEnd::new(other, one))
    }

    fn new(outward: SharedLane, inward: SharedLane) -> Self {
        Self {
            outward,
            inward,
            unsent: VecDeque::new(),
            arrived: VecDeque::new(),
            current: None,
            sent: 0,
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    pub(super) fn swap(&mut self, queue: &mut VecDeque<(Header, Bytes)>, bytes: &mut usize) {
        debug_assert!(self.is_flushed(), "a swap would lose what is unsent");
        std::mem::swap(&mut self.unsent, queue);
        *bytes = 0;
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut lane = lock(&self.outward);
        if lane.is_closed {
            return Poll::Ready(Err(Error::unavailable("the other end is closed")));
        }
        while let Some((_, payload)) = self.unsent.front() {
            if lane.under_way >= UNDER_WAY_MAX {
                lane.sender = Some(context.waker().clone());
                break;
            }
            let bytes = HEADER_BYTES + payload.len();
            self.sent += bytes as u64;
            lane.under_way += bytes;
            lane.frames.extend(self.unsent.pop_front());
        }
        let receiver = lane.receiver.take();
        drop(lane);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
        if self.unsent.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Filled>> {
        let mut lane = lock(&self.inward);
        if lane.frames.is_empty() {
            if lane.is_closed {
                return Poll::Ready(Ok(Filled::End));
            }
            lane.receiver = Some(context.waker().clone());
            return Poll::Pending;
        }
        debug_assert!(
            self.arrived.is_empty(),
            "a swap would lose what has arrived"
        );
        std::mem::swap(&mut lane.frames, &mut self.arrived);
        lane.under_way = 0;
        let sender = lane.sender.take();
        drop(lane);
        if let Some(sender) = sender {
            sender.wake();
        }
        Poll::Ready(Ok(Filled::More))
    }

    pub(super) fn next_frame(&mut self) -> Option<Frame<'_>> {
        self.current = self.arrived.pop_front();
        let (header, payload) = self.current.as_ref()?;
        let payload = Payload::Owned(payload);
        Some(Frame {
            header: *header,
            payload,
        })
    }

    pub(super) fn close(&mut self) {
        close(&self.outward);
    }
}

fn close(lane: &SharedLane) {
    let mut lane = lock(lane);
    lane.is_closed = true;
    let wakers = [lane.receiver.take(), lane.sender.take()];
    drop(lane);
    wakers.into_iter().flatten().for_each(Waker::wake);
}

impl Drop for MemoryEnd {
    fn drop(&mut self) {
        close(&self.outward);
        close(&self.inward);
    }
}
