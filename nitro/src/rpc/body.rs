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

/// Messages taken in a row before other tasks of the same thread get a turn.
const MESSAGES_A_TURN: usize = 256;
/// Runs between two looks at the clock, where they come without a wait.
const RUNS_A_LOOK: u32 = 16;

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
        let Messages::Stream(stream) = &mut self.0 else {
            return Poll::Ready(match std::mem::take(&mut self.0) {
                Messages::Once(message) => Some(Ok(message)),
                _ => None,
            });
        };
        if let Some(message) = stream.run.pop_bytes() {
            return Poll::Ready(Some(Ok(message)));
        }
        let mut run = std::mem::take(&mut stream.run);
        let polled = ready!(self.poll_run(&mut run, context));
        let next = polled.map(|()| run.pop_bytes()).transpose();
        if let Messages::Stream(stream) = &mut self.0 {
            stream.run = run;
        }
        Poll::Ready(next)
    }

    /// Polls for what messages there are, into a run that is empty; when it still is, they have
    /// ended.
    pub(crate) fn poll_run(
        &mut self,
        into: &mut Run,
        context: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        debug_assert!(into.is_empty(), "what is in it would be lost");
        let Messages::Stream(stream) = &mut self.0 else {
            if let Messages::Once(message) = std::mem::take(&mut self.0) {
                into.push_long(message);
            }
            return Poll::Ready(Ok(()));
        };
        if !stream.run.is_empty() {
            std::mem::swap(into, &mut stream.run);
            return Poll::Ready(Ok(()));
        }
        if stream.in_a_row >= MESSAGES_A_TURN {
            stream.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = stream.poll_in_time(into, context);
        match &polled {
            Poll::Pending => stream.in_a_row = 0,
            Poll::Ready(Ok(())) if !into.is_empty() => stream.in_a_row += into.len(),
            Poll::Ready(_) => self.0 = Messages::Empty,
        }
        polled
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
    fn poll_in_time(&mut self, into: &mut Run, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(limit) = &mut self.limit else {
            return self.source.poll_run(into, context);
        };
        if !limit.is_over() {
            if let Poll::Ready(polled) = self.source.poll_run(into, context) {
                return Poll::Ready(polled);
            }
            ready!(limit.poll_elapsed(context));
        }
        let message = "the time of the call was up before its last message";
        Poll::Ready(Err(Error::deadline_exceeded(message)))
    }
}

/// When the messages end at the latest.
struct Limit {
    deadline: Instant,
    clock: Arc<dyn Clock>,
    timer: Option<Box<dyn Timer>>,
    /// Runs that may still come before the clock is looked at.
    unlooked: u32,
}

impl Limit {
    fn is_over(&mut self) -> bool {
        // A stream that is always ready must end as well.
        self.unlooked = match self.unlooked.checked_sub(1) {
            Some(fewer) => fewer,
            None if self.clock.now() >= self.deadline => return true,
            None => RUNS_A_LOOK - 1,
        };
        false
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.unlooked = 0;
        let (clock, deadline) = (&self.clock, self.deadline);
        let timer = self.timer.get_or_insert_with(|| clock.timer(deadline));
        timer.poll_elapsed(context)
    }
}
