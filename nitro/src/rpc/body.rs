//! The messages of a call or an answer: none, one, or a stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ::bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::host::{Clock, Timer};
use crate::time::Instant;

/// Messages that wait in a channel's pipe before its sender waits.
const PIPE_MESSAGES: usize = 16;

/// Encoded messages, one after another. An error ends them.
#[derive(Default)]
pub struct Body(Messages);

#[derive(Default)]
enum Messages {
    #[default]
    Empty,
    Once(Bytes),
    Stream {
        messages: BoxStream<'static, Result<Bytes>>,
        must_be_driven: bool,
        deadline: Option<Instant>,
    },
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
        Self(Messages::Stream {
            messages: Box::pin(messages),
            must_be_driven: false,
            deadline: None,
        })
    }

    /// The same, where whatever makes the messages runs only while they are asked for.
    pub fn driven(messages: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self(Messages::Stream {
            messages: Box::pin(messages),
            must_be_driven: true,
            deadline: None,
        })
    }

    /// Whether whatever makes the messages runs only while they are asked for.
    pub(crate) fn must_be_driven(&self) -> bool {
        matches!(
            self.0,
            Messages::Stream {
                must_be_driven: true,
                ..
            }
        )
    }

    /// When its messages end at the latest, if there is a limit.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.0 {
            Messages::Stream { deadline, .. } => *deadline,
            _ => None,
        }
    }

    /// A body whose messages are sent from elsewhere, at most 16 ahead of whoever takes them.
    pub fn channel() -> (Sender, Body) {
        let (sender, receiver) = mpsc::channel(PIPE_MESSAGES);
        let piped = Piped {
            receiver,
            has_ended: false,
        };
        (Sender(sender), Body::stream(piped))
    }

    /// The message, when the body is exactly one that is there already.
    pub fn as_once(&self) -> Option<&Bytes> {
        match &self.0 {
            Messages::Once(message) => Some(message),
            _ => None,
        }
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
            Messages::Stream { .. } => None,
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
        match std::mem::take(&mut self.0) {
            Messages::Empty => Poll::Ready(None),
            Messages::Once(message) => Poll::Ready(Some(Ok(message))),
            Messages::Stream {
                mut messages,
                must_be_driven,
                deadline,
            } => {
                let next = messages.as_mut().poll_next(context);
                if !matches!(next, Poll::Ready(None | Some(Err(_)))) {
                    self.0 = Messages::Stream {
                        messages,
                        must_be_driven,
                        deadline,
                    };
                }
                next
            }
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
        match self.0 {
            Messages::Stream {
                messages,
                must_be_driven,
                deadline: own,
            } => {
                let deadline = own.map_or(deadline, |own| own.min(deadline));
                let until = Until {
                    messages,
                    deadline,
                    clock,
                    timer: None,
                };
                Body(Messages::Stream {
                    messages: Box::pin(until),
                    must_be_driven,
                    deadline: Some(deadline),
                })
            }
            _ => self,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Messages::Empty => f.write_str("Empty"),
            Messages::Once(message) => write!(f, "Once({} bytes)", message.len()),
            Messages::Stream { .. } => f.write_str("Stream"),
        }
    }
}

/// Sends the messages of a [`Body::channel`].
///
/// The body ends well only by [`Sender::finish`]: a sender that is dropped before, as when its
/// task panics, ends the body with [`Cancelled`](crate::error::Kind::Cancelled), so that half a
/// stream is never taken for a whole one.
#[derive(Debug)]
pub struct Sender(mpsc::Sender<Piece>);

#[derive(Debug)]
enum Piece {
    Message(Bytes),
    End(Result<()>),
}

impl Sender {
    /// Sends a message, waiting while the pipe is full.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::error::Kind::Cancelled) when nobody will take it: the call is over.
    pub async fn send(&self, message: Bytes) -> Result<()> {
        let sent = self.0.send(Piece::Message(message)).await;
        sent.map_err(|_| Error::cancelled("the call is over: nobody takes further messages"))
    }

    /// Ends the body well.
    pub async fn finish(self) {
        // Nobody left to tell is as good as told.
        let _ = self.0.send(Piece::End(Ok(()))).await;
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
                Err(error) => return self.fail(error).await,
            }
        }
        self.finish().await;
    }

    /// Ends the body with an error.
    pub async fn fail(self, error: Error) {
        let _ = self.0.send(Piece::End(Err(error))).await;
    }
}

struct Piped {
    receiver: mpsc::Receiver<Piece>,
    has_ended: bool,
}

impl Stream for Piped {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        let piece = ready!(this.receiver.poll_recv(context));
        this.has_ended = !matches!(piece, Some(Piece::Message(_)));
        Poll::Ready(match piece {
            Some(Piece::Message(message)) => Some(Ok(message)),
            Some(Piece::End(Ok(()))) => None,
            Some(Piece::End(Err(error))) => Some(Err(error)),
            None => Some(Err(Error::cancelled(
                "the sender of a stream went away before its end",
            ))),
        })
    }
}

struct Until {
    messages: BoxStream<'static, Result<Bytes>>,
    deadline: Instant,
    clock: Arc<dyn Clock>,
    timer: Option<Box<dyn Timer>>,
}

impl Stream for Until {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        let this = self.get_mut();
        // Looked at first: a stream that is always ready must end as well.
        let is_over = this.timer.is_none() && this.clock.now() >= this.deadline;
        if !is_over && let Poll::Ready(next) = this.messages.as_mut().poll_next(context) {
            return Poll::Ready(next);
        }
        if !is_over {
            let timer = this
                .timer
                .get_or_insert_with(|| this.clock.timer(this.deadline));
            ready!(timer.poll_elapsed(context));
        }
        let message = "the time of the call was up before its last message";
        Poll::Ready(Some(Err(Error::deadline_exceeded(message))))
    }
}
