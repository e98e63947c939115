//! The messages of a call or an answer: none, one, or a stream.

mod pipe;

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;

pub use pipe::{PIPE_BYTES, PIPE_MESSAGES, Sender};
pub(crate) use pipe::{Receiver, pipe};

use crate::error::{Error, Result};
use crate::host::{Clock, Timer};
use crate::time::Instant;

/// Messages taken in a row before other tasks of the same thread get a turn.
const MESSAGES_A_TURN: u32 = 128;
/// Messages between two looks at the clock, where they come without a wait.
const MESSAGES_A_LOOK: u32 = 16;

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
    messages: BoxStream<'static, Result<Bytes>>,
    must_be_driven: bool,
    limit: Option<Limit>,
    /// Messages taken since there was a wait.
    in_a_row: u32,
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
        Self::made_by(messages, false)
    }

    /// The same, where whatever makes the messages runs only while they are asked for.
    pub fn driven(messages: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self::made_by(messages, true)
    }

    fn made_by(
        messages: impl Stream<Item = Result<Bytes>> + Send + 'static,
        must_be_driven: bool,
    ) -> Self {
        Self(Messages::Stream(Box::new(Streamed {
            messages: Box::pin(messages),
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
        (sender, Body::stream(receiver))
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
        if stream.in_a_row == MESSAGES_A_TURN {
            stream.in_a_row = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = stream.poll_in_time(context);
        match &next {
            Poll::Pending => stream.in_a_row = 0,
            Poll::Ready(Some(Ok(_))) => stream.in_a_row += 1,
            Poll::Ready(None | Some(Err(_))) => self.0 = Messages::Empty,
        }
        next
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

impl Stream for Receiver {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        self.get_mut().poll_take(context)
    }
}

impl Streamed {
    fn poll_in_time(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let Some(limit) = &mut self.limit else {
            return self.messages.as_mut().poll_next(context);
        };
        if !limit.is_over() {
            if let Poll::Ready(next) = self.messages.as_mut().poll_next(context) {
                return Poll::Ready(next);
            }
            ready!(limit.poll_elapsed(context));
        }
        let message = "the time of the call was up before its last message";
        Poll::Ready(Some(Err(Error::deadline_exceeded(message))))
    }
}

/// When the messages end at the latest.
struct Limit {
    deadline: Instant,
    clock: Arc<dyn Clock>,
    timer: Option<Box<dyn Timer>>,
    /// Messages that may still come before the clock is looked at.
    unlooked: u32,
}

impl Limit {
    fn is_over(&mut self) -> bool {
        // A stream that is always ready must end as well.
        self.unlooked = match self.unlooked.checked_sub(1) {
            Some(fewer) => fewer,
            None if self.clock.now() >= self.deadline => return true,
            None => MESSAGES_A_LOOK - 1,
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
