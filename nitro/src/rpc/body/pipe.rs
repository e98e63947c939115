//! A pipe between whoever makes messages and whoever takes them.
//!
//! The taking side takes all that waits at once, under one lock, and wakes the sending side then
//! and not at every message: so both work in batches, in one task or in two.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use ::bytes::Bytes;

use super::run::{Run, SHORT_BYTES_MAX};
use super::{Body, Source};
use crate::error::{Error, Result};

/// Messages that wait in a pipe before its sender waits; as many more may have been taken out and
/// not yet looked at. What it may hold is bounded by [`PIPE_BYTES`]; this is how far ahead a
/// sender of short ones runs, which is as many as share a turn and a write to the connection: with
/// a quarter of it the turns cost as much as the messages.
pub const PIPE_MESSAGES: usize = 128;
/// Bytes that wait in a pipe before its sender waits, however few messages they are.
pub const PIPE_BYTES: usize = 256 * 1024;

/// An empty pipe.
pub(crate) fn pipe() -> (Sender, Receiver) {
    let shared = Arc::new(Shared(Mutex::new(State::default())));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while a pipe is held")
    }
}

#[derive(Default)]
struct State {
    waiting: Run,
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

    fn has_room(&self) -> bool {
        self.waiting.len() < PIPE_MESSAGES && self.waiting.bytes() < PIPE_BYTES
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

    /// Sends a copy of a short message, if nothing keeps it back; whether it did.
    pub(crate) fn try_send_copy(&self, message: &[u8]) -> bool {
        let mut state = self.0.lock();
        if message.len() > SHORT_BYTES_MAX || state.is_closed || !state.has_room() {
            return false;
        }
        state.waiting.push_short(message);
        let taker = state.taker.take();
        drop(state);
        if let Some(taker) = taker {
            taker.wake();
        }
        true
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
        if !state.has_room() {
            let waker = context.waker();
            if !state.senders.iter().any(|known| known.will_wake(waker)) {
                state.senders.push(waker.clone());
            }
            return Poll::Pending;
        }
        if let Some(message) = message.take() {
            state.waiting.push(message);
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
pub(crate) struct Receiver(Arc<Shared>);

impl Receiver {
    /// Takes what waits now; whether there was anything. Whoever makes messages is not asked to
    /// tell of more.
    pub(crate) fn take(&mut self, into: &mut Run) -> bool {
        let mut state = self.0.lock();
        let woken = refill(into, &mut state);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        !into.is_empty()
    }
}

impl Source for Receiver {
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.0.lock();
        let woken = refill(into, &mut state);
        let polled = match &state.end {
            _ if !into.is_empty() => Poll::Ready(Ok(())),
            Some(end) => Poll::Ready(end.clone()),
            None => {
                state.taker = Some(context.waker().clone());
                state.waiting.rest();
                into.rest();
                Poll::Pending
            }
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        polled
    }
}

/// Takes out what waits; answers who is to be told that there is room.
fn refill(into: &mut Run, state: &mut State) -> Vec<Waker> {
    std::mem::swap(into, &mut state.waiting);
    std::mem::take(&mut state.senders)
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        let woken = std::mem::take(&mut state.senders);
        drop(state);
        drop(waiting);
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
        let count = (0..2 * PIPE_MESSAGES).filter(|_| sent(&sender, 1)).count();
        assert_eq!(count, PIPE_MESSAGES);
        assert!(!sender.try_send_copy(&[1]));
        assert!(receiver.take(&mut Run::default()));
        assert!(sent(&sender, 4 * PIPE_BYTES), "one always fits");
        assert!(!sent(&sender, 1));
        assert!(receiver.take(&mut Run::default()));
        assert!(sender.try_send_copy(&[1]));
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
            let mut run = Run::default();
            let mut next = || {
                run.clear();
                let polled = poll_fn(|context| receiver.poll_run(&mut run, context));
                polled.now_or_never().unwrap().map(|()| run.len())
            };
            assert_eq!(next().unwrap(), 2);
            assert_eq!(next().ok(), ends_well.then_some(0));
        }
    }

    #[test]
    fn a_sender_is_told_when_nobody_takes() {
        let (sender, receiver) = pipe();
        drop(receiver);
        assert!(!sent(&sender, 1));
    }
}
