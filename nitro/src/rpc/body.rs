//! The messages of a call or an answer: none, one, or a stream.

mod pipe;
mod run;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};

pub use pipe::{PIPE_BYTES, PIPE_MESSAGES, Sender};
pub(crate) use pipe::{Receiver, pipe};
pub(crate) use run::{Message, Run, SHORT_BYTES_MAX};

use crate::error::{Error, Result};
use crate::host::{Clock, Timer};
use crate::time::Instant;

/// Messages taken in a row before other tasks of the same thread get a turn. What is taken as a
/// run, to be sent on, is counted once it is: then it is a run more at most.
const MESSAGES_A_TURN: usize = 128;
/// Messages between two looks at the clock, where they come without a wait. A run is looked at
/// before it is taken.
const MESSAGES_A_LOOK: usize = 16;

/// Encoded messages, one after another. An error ends them.
#[derive(Default)]
pub struct Body(Messages);

#[derive(Default)]
enum Messages {
    #[default]
    Empty,
    Once(Bytes),
    /// Boxed, as most bodies are one message and are moved through every layer.
    Stream(Box<Streamed>),
}

struct Streamed {
    source: Box<dyn Source>,
    /// What has come out of the source and was not yet asked for.
    run: Run,
    must_be_driven: bool,
    limit: Option<Limit>,
    /// Messages taken since there was a wait.
    in_a_row: usize,
}

/// What makes the messages of a stream.
pub(crate) trait Source: Send {
    /// Puts the messages that are there into a run, which is empty; when it still is, they have
    /// ended.
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>>;
}

impl Source for BoxStream<'static, Result<Bytes>> {
    fn poll_run(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        let next = ready!(self.as_mut().poll_next(context)).transpose()?;
        next.into_iter().for_each(|message| into.push_long(message));
        Poll::Ready(Ok(()))
    }
}

impl Body {
    /// No message.
    pub const fn empty() -> Self {
        Self(Messages::Empty)
    }

    /// One message.
    pub const fn once(message: Bytes) -> Self {
        Self(Messages::Once(message))
    }

    /// The messages of a stream, taken as they are asked for.
    pub fn stream(messages: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::made_by(messages.boxed(), false)
    }

    /// The same, where whatever makes the messages runs only while they are asked for.
    pub fn driven(messages: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::made_by(messages.boxed(), true)
    }

    pub(crate) fn made_by(source: impl Source + 'static, must_be_driven: bool) -> Self {
        Self(Messages::Stream(Box::new(Streamed {
            source: Box::new(source),
            run: Run::default(),
            must_be_driven,
            limit: None,
            in_a_row: 0,
        })))
    }

    /// Whether whatever makes the messages runs only while they are asked for.
    pub(crate) fn must_be_driven(&self) -> bool {
        matches!(&self.0, Messages::Stream(stream) if stream.must_be_driven)
    }

    /// When its messages end at the latest, if there is a limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.0 {
            Messages::Stream(stream) => stream.limit.as_ref().map(|limit| limit.deadline),
            _ => None,
        }
    }

    /// A body whose messages are sent from elsewhere, at most two pipes full ahead of whoever
    /// takes them.
    pub fn channel() -> (Sender, Body) {
        let (sender, receiver) = pipe();
        (sender, Body::made_by(receiver, false))
    }

    /// The message, when the body is exactly one that is there already.
    pub fn as_once(&self) -> Option<&Bytes> {
        match &self.0 {
            Messages::Once(message) => Some(message),
            _ => None,
        }
    }

    /// Whether all of it is there already, so that no time limit can concern it.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.0, Messages::Stream(_))
    }

    /// Whether it is known to have no message.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Messages::Empty)
    }

    /// The same messages once more; `None` for a stream.
    pub fn try_clone(&self) -> Option<Body> {
        match &self.0 {
            Messages::Empty => Some(Body::empty()),
            Messages::Once(message) => Some(Body::once(message.clone())),
            Messages::Stream(_) => None,
        }
    }

    /// The next message, or `None` at the end.
    ///
    /// # Errors
    ///
    /// What broke the stream off.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Polls for the next message.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let next = ready!(self.poll_front(context)).map(|front| front.map(Message::into_bytes));
        if let Some(Ok(_)) = next {
            self.pop();
        }
        Poll::Ready(next)
    }

    /// Polls for the next message, to be looked at where it is: it stays the next one until
    /// [`Body::pop`].
    pub(crate) fn poll_front(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Message<'_>>>> {
        if let Messages::Stream(stream) = &mut self.0 {
            let polled = ready!(stream.poll_filled(context));
            if !matches!(polled, Ok(true)) {
                self.0 = Messages::Empty;
                return Poll::Ready(polled.err().map(Err));
            }
        }
        Poll::Ready(match &mut self.0 {
            Messages::Empty => None,
            Messages::Once(message) => Some(Ok(Message::Long(message))),
            Messages::Stream(stream) => stream.run.front().map(Ok),
        })
    }

    /// Takes the next message out: [`Body::poll_front`] has shown it.
    pub(crate) fn pop(&mut self) {
        match &mut self.0 {
            Messages::Stream(stream) => {
                stream.run.pop();
                stream.count(1);
            }
            Messages::Empty | Messages::Once(_) => self.0 = Messages::Empty,
        }
    }

    /// Polls for what messages there are, into a run that is empty; when it still is, they have
    /// ended.
    pub(crate) fn poll_run(
        &mut self,
        into: &mut Run,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        debug_assert!(into.is_empty(), "what is in it would be lost");
        if let Messages::Stream(stream) = &mut self.0 {
            let polled = ready!(stream.poll_filled(context));
            if let Ok(true) = polled {
                std::mem::swap(into, &mut stream.run);
                stream.count(into.len());
                return Poll::Ready(Ok(()));
            }
            self.0 = Messages::Empty;
            return Poll::Ready(polled.map(drop));
        }
        if let Messages::Once(message) = std::mem::take(&mut self.0) {
            into.push_long(message);
        }
        Poll::Ready(Ok(()))
    }

    /// The message, when the body is exactly one that is there already; itself otherwise.
    pub(crate) fn into_once(self) -> std::result::Result<Bytes, Self> {
        match self.0 {
            Messages::Once(message) => Ok(message),
            _ => Err(self),
        }
    }

    /// The only message.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument) when there is none or there are
    /// more; what broke the stream off.
    pub async fn single(mut self) -> Result<Bytes> {
        if let Messages::Once(message) = self.0 {
            return Ok(message);
        }
        let none = || Error::invalid_argument("expected one message, the body has none");
        let message = self.next().await.ok_or_else(none)??;
        match self.next().await {
            None => Ok(message),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => {
                let message = "expected one message, the body has more";
                Err(Error::invalid_argument(message))
            }
        }
    }

    /// The same body, ended by [`DeadlineExceeded`](crate::error::Kind::DeadlineExceeded) when
    /// a message is waited for past `deadline`.
    pub fn until(self, deadline: Instant, clock: Arc<dyn Clock>) -> Body {
        let Messages::Stream(mut stream) = self.0 else {
            return self;
        };
        let own = stream.limit.as_ref().map(|limit| limit.deadline);
        if own.is_none_or(|own| deadline < own) {
            stream.limit = Some(Limit {
                deadline,
                clock,
                timer: None,
                unlooked: 0,
            });
        }
        Body(Messages::Stream(stream))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Messages::Empty => f.write_str("Empty"),
            Messages::Once(message) => write!(f, "Once({} bytes)", message.len()),
            Messages::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl Streamed {
    /// Polls until a message is there; whether one is, or they have ended.
    fn poll_filled(&mut self, context: &mut Context<'_>) -> Poll<Result<bool>> {
        if self.in_a_row >= MESSAGES_A_TURN {
            self.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.limit.as_mut().is_some_and(Limit::is_over) {
            return Poll::Ready(Err(time_is_up()));
        }
        if self.run.is_empty() {
            match self.source.poll_run(&mut self.run, context) {
                Poll::Ready(polled) => polled?,
                Poll::Pending => {
                    self.in_a_row = 0;
                    let Some(limit) = &mut self.limit else {
                        return Poll::Pending;
                    };
                    ready!(limit.poll_elapsed(context));
                    return Poll::Ready(Err(time_is_up()));
                }
            }
        }
        Poll::Ready(Ok(!self.run.is_empty()))
    }

    /// Counts messages that have been taken.
    fn count(&mut self, messages: usize) {
        self.in_a_row += messages;
        if let Some(limit) = &mut self.limit {
            limit.unlooked = limit.unlooked.saturating_sub(messages);
        }
    }
}

fn time_is_up() -> Error {
    Error::deadline_exceeded("the time of the call was up before its last message")
}

/// When the messages end at the latest.
struct Limit {
    deadline: Instant,
    clock: Arc<dyn Clock>,
    timer: Option<Box<dyn Timer>>,
    /// Messages that may still be taken before the clock is looked at.
    unlooked: usize,
}

impl Limit {
    fn is_over(&mut self) -> bool {
        // A stream that is always ready must end as well.
        if self.unlooked == 0 {
            if self.clock.now() >= self.deadline {
                return true;
            }
            self.unlooked = MESSAGES_A_LOOK;
        }
        false
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.unlooked = 0;
        let (clock, deadline) = (&self.clock, self.deadline);
        let timer = self.timer.get_or_insert_with(|| clock.timer(deadline));
        timer.poll_elapsed(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Waker;
    use std::time::Duration;

    use super::*;
    use crate::time::WallTime;

    /// Messages without an end, many at a time.
    struct Endless;

    const RUN: usize = 500;

    impl Source for Endless {
        fn poll_run(&mut self, into: &mut Run, _: &mut Context<'_>) -> Poll<Result<()>> {
            (0..RUN).for_each(|_| into.push_short(b"more"));
            Poll::Ready(Ok(()))
        }
    }

    /// A clock that is moved by hand, in milliseconds.
    #[derive(Default)]
    struct Moved(AtomicU64);

    impl Clock for Moved {
        fn now(&self) -> Instant {
            Instant::from_nanos(0) + Duration::from_millis(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> WallTime {
            WallTime::default()
        }

        fn timer(&self, _at: Instant) -> Box<dyn Timer> {
            unreachable!("there is always a message")
        }
    }

    /// Messages that come until something else does.
    fn taken(body: &mut Body) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut next = || body.poll_next(&mut context);
        let is_message = |_: &usize| matches!(next(), Poll::Ready(Some(Ok(_))));
        (0..10 * RUN).take_while(is_message).count()
    }

    #[test]
    fn others_get_their_turn_however_long_the_runs_are() {
        let mut body = Body::made_by(Endless, false);
        assert_eq!(taken(&mut body), MESSAGES_A_TURN);
        assert_eq!(taken(&mut body), MESSAGES_A_TURN);
        let mut context = Context::from_waker(Waker::noop());
        let (mut run, mut messages) = (Run::default(), 0);
        while body.poll_run(&mut run, &mut context).is_ready() {
            messages += run.len();
            run.clear();
        }
        assert!(messages < MESSAGES_A_TURN + RUN, "{messages}");
    }

    #[test]
    fn a_deadline_is_seen_within_a_run_by_whoever_takes_its_messages_slowly() {
        let clock = Arc::new(Moved::default());
        let body = Body::made_by(Endless, false);
        let deadline = clock.now() + Duration::from_millis(1);
        let mut body = body.until(deadline, clock.clone());
        assert_eq!(taken(&mut body), MESSAGES_A_TURN);
        clock.0.store(1, Ordering::Relaxed);
        assert!(taken(&mut body) <= MESSAGES_A_LOOK);
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(body.poll_next(&mut context), Poll::Ready(None)));
    }
}
