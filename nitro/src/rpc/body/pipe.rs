//! A pipe between whoever makes messages and whoever takes them.
//!
//! The taking side takes all that waits at once, under one lock, and wakes the sending side then
//! and not at every message: so both work in batches, in one task or in two.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ::bytes::Bytes;

use super::Body;
use crate::error::{Error, Result};

/// Messages that wait in a pipe before its sender waits; as many more may have been taken out and
/// not yet looked at.
pub const PIPE_MESSAGES: usize = 32;
/// Bytes that wait in a pipe before its sender waits, however few messages they are.
pub const PIPE_BYTES: usize = 256 * 1024;

/// An empty pipe.
pub(crate) fn pipe() -> (Sender, Receiver) {
    let shared = Arc::new(Shared(Mutex::new(State::default())));
    let sender = Sender(Arc::clone(&shared));
    let taken = VecDeque::new();
    (sender, Receiver { shared, taken })
}

struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while a pipe is held")
    }
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Bytes>,
    bytes: usize,
    /// How it ends, once what waits has been taken.
    end: Option<Result<()>>,
    /// Nobody takes any more.
    is_closed: bool,
    taker: Option<Waker>,
    senders: Vec<Waker>,
}

impl State {
    fn end(&mut self, end: Result<()>) -> Option<Waker> {
        self.end.get_or_insert(end);
        self.taker.take()
    }
}

/// Sends the messages of a [`Body::channel`].
///
/// The body ends well only by [`Sender::finish`]: a sender that is dropped before, as when its
/// task panics, ends the body with [`Cancelled`](crate::error::Kind::Cancelled), so that half a
/// stream is never taken for a whole one.
pub struct Sender(Arc<Shared>);

impl Sender {
    /// Sends a message, waiting while the pipe is full.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::error::Kind::Cancelled) when nobody will take it: the call is over.
    pub async fn send(&self, message: Bytes) -> Result<()> {
        let mut message = Some(message);
        poll_fn(|context| self.poll_send(&mut message, context)).await
    }

    fn poll_send(
        &self,
        message: &mut Option<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let mut state = self.0.lock();
        if state.is_closed {
            let message = "the call is over: nobody takes further messages";
            return Poll::Ready(Err(Error::cancelled(message)));
        }
        if state.waiting.len() >= PIPE_MESSAGES || state.bytes >= PIPE_BYTES {
            let waker = context.waker();
            if !state.senders.iter().any(|known| known.will_wake(waker)) {
                state.senders.push(waker.clone());
            }
            return Poll::Pending;
        }
        if let Some(message) = message.take() {
            state.bytes += message.len();
            state.waiting.push_back(message);
        }
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the body well.
    pub fn finish(self) {
        self.end(Ok(()));
    }

    /// Ends the body with an error.
    pub fn fail(self, error: Error) {
        self.end(Err(error));
    }

    fn end(&self, end: Result<()>) {
        let taker = self.0.lock().end(end);
        if let Some(taker) = taker {
            taker.wake();
        }
    }

    /// Sends all of a body, and ends as it does.
    pub async fn forward(self, mut body: Body) {
        while let Some(next) = body.next().await {
            match next {
                Ok(message) => {
                    if self.send(message).await.is_err() {
                        return;
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
        self.finish();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let message = "the sender of a stream went away before its end";
        let mut state = self.0.lock();
        // Made only if there is no end yet: most streams end well.
        let taker = match state.end {
            Some(_) => None,
            None => state.end(Err(Error::cancelled(message))),
        };
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

/// Takes the messages of a pipe.
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    taken: VecDeque<Bytes>,
}

impl Receiver {
    /// The next message, if there is one now. Whoever makes them is not asked to tell of more.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        if self.taken.is_empty() {
            let mut state = self.shared.lock();
            refill(&mut self.taken, &mut state)
                .into_iter()
                .for_each(Waker::wake);
        }
        self.taken.pop_front()
    }

    /// The next message; `None` is its good end.
    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        if let Some(message) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(message)));
        }
        let mut state = self.shared.lock();
        let woken = refill(&mut self.taken, &mut state);
        let next = match self.taken.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => match &state.end {
                Some(end) => Poll::Ready(end.clone().err().map(Err)),
                None => {
                    state.taker = Some(context.waker().clone());
                    Poll::Pending
                }
            },
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        next
    }
}

/// Takes out what waits; answers who is to be told that there is room.
fn refill(taken: &mut VecDeque<Bytes>, state: &mut State) -> Vec<Waker> {
    std::mem::swap(taken, &mut state.waiting);
    state.bytes = 0;
    std::mem::take(&mut state.senders)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.waiting.clear();
        let woken = std::mem::take(&mut state.senders);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn sent(sender: &Sender, length: usize) -> bool {
        let sending = sender.send(Bytes::from(vec![1; length]));
        sending.now_or_never().is_some_and(|sent| sent.is_ok())
    }

    #[test]
    fn a_pipe_is_full_by_messages_or_by_bytes_and_empty_once_taken() {
        let (sender, mut receiver) = pipe();
        assert_eq!((0..100).filter(|_| sent(&sender, 1)).count(), PIPE_MESSAGES);
        assert!(receiver.take().is_some());
        assert!(sent(&sender, 4 * PIPE_BYTES), "one always fits");
        assert!(!sent(&sender, 1));
        while receiver.take().is_some() {}
        assert!(sent(&sender, 1));
    }

    #[test]
    fn what_was_sent_before_the_end_comes_before_it() {
        for ends_well in [true, false] {
            let (sender, mut receiver) = pipe();
            assert!(sent(&sender, 1) && sent(&sender, 1));
            if ends_well {
                sender.finish();
            } else {
                drop(sender);
            }
            let mut next = || poll_fn(|context| receiver.poll_take(context)).now_or_never();
            assert!(next().unwrap().unwrap().is_ok());
            assert!(next().unwrap().unwrap().is_ok());
            assert_eq!(next().unwrap().is_none(), ends_well);
        }
    }

    #[test]
    fn a_sender_is_told_when_nobody_takes() {
        let (sender, receiver) = pipe();
        drop(receiver);
        assert!(!sent(&sender, 1));
    }
}
