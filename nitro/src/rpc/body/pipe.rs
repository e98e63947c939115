//! A pipe between whoever makes messages and whoever takes them.
//!
//! The taking side takes all that waits at once, under one lock, and wakes the sending side then
//! and not at every message: so both work in batches, in one task or in two.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use ::bytes::{Bytes, BytesMut};

use super::run::Run;
use super::{Body, Source};
use crate::error::{Error, Result};

/// Messages that wait in a pipe before its sender waits; as many more may have been taken out and
/// not yet looked at. What it may hold is bounded by [`PIPE_BYTES`]; this is how far ahead a
/// sender of short ones runs, which is as many as share a turn and, where nobody else writes, a
/// write to the connection: with a quarter of it the kernel has twice as much to do for each.
pub const PIPE_MESSAGES: usize = 512;
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
        // What may panic while it is held is an encoder, whose message a run then does not count.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let put = move |waiting: &mut Run| {
            message.take().into_iter().for_each(|one| waiting.push(one));
            Ok(())
        };
        self.put(put).await
    }

    /// Sends a message that is encoded where it waits, while the pipe is held, or answered where it
    /// is bytes already.
    pub(crate) fn send_encoded(
        &self,
        encode: impl Fn(&mut BytesMut) -> Result<Option<Bytes>>,
    ) -> impl Future<Output = Result<()>> {
        self.put(move |waiting| waiting.push_encoded(&encode))
    }

    /// Puts something in, once there is room.
    fn put(&self, mut put: impl FnMut(&mut Run) -> Result<()>) -> impl Future<Output = Result<()>> {
        poll_fn(move |context| {
            let mut state = ready!(self.poll_room(context))?;
            put(&mut state.waiting)?;
            let taker = state.taker.take();
            drop(state);
            taker.into_iter().for_each(Waker::wake);
            Poll::Ready(Ok(()))
        })
    }

    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<MutexGuard<'_, State>>> {
        let mut state = self.0.lock();
        if state.is_closed {
            let message = "the call is over: nobody takes further messages";
            return Poll::Ready(Err(Error::cancelled(message)));
        }
        if state.has_room() {
            return Poll::Ready(Ok(state));
        }
        let waker = context.waker();
        if !state.senders.iter().any(|known| known.will_wake(waker)) {
            state.senders.push(waker.clone());
        }
        Poll::Pending
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
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use futures_util::FutureExt;

    use super::super::run::SHORT_BYTES_MAX;
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
        assert!(receiver.take(&mut Run::default()));
        assert!(sent(&sender, 4 * PIPE_BYTES), "one always fits");
        assert!(!sent(&sender, 1));
        assert!(receiver.take(&mut Run::default()));
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

    fn sent_encoded(
        sender: &Sender,
        encode: impl Fn(&mut BytesMut) -> Result<Option<Bytes>>,
    ) -> Result<()> {
        let sending = sender.send_encoded(encode);
        sending.now_or_never().expect("there is room")
    }

    #[test]
    fn what_is_encoded_comes_out_whole_and_of_what_fails_or_panics_half_way_nothing() {
        let (sender, mut receiver) = pipe();
        let encoded = |room: &mut BytesMut, length: usize| room.extend(vec![1; length]);
        let fine = |length: usize| {
            move |room: &mut BytesMut| {
                encoded(room, length);
                Ok(None)
            }
        };
        let fails = |room: &mut BytesMut| {
            encoded(room, 7);
            Err(Error::internal("it cannot be written"))
        };
        let panics = |room: &mut BytesMut| -> Result<Option<Bytes>> {
            encoded(room, 7);
            panic!("it went wrong");
        };
        let long = SHORT_BYTES_MAX + 1;
        let bytes = |_: &mut BytesMut| Ok(Some(Bytes::from_static(&[1; 9])));
        for length in [3, long, long, 0] {
            sent_encoded(&sender, fine(length)).unwrap();
            assert!(sent_encoded(&sender, fails).is_err());
            let panicking = AssertUnwindSafe(|| sent_encoded(&sender, panics));
            assert!(catch_unwind(panicking).is_err());
        }
        sent_encoded(&sender, bytes).unwrap();
        let mut run = Run::default();
        assert!(receiver.take(&mut run));
        for length in [3, long, long, 0, 9] {
            assert_eq!(run.pop_bytes().unwrap(), vec![1; length]);
        }
        assert!(run.is_empty());
    }

    #[test]
    fn a_sender_is_told_when_nobody_takes() {
        let (sender, receiver) = pipe();
        drop(receiver);
        assert!(!sent(&sender, 1));
    }
}
