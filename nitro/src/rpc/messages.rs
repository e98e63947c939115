//! Typed streams: messages that come in, decoded, and messages that go out, encoded.

use std::borrow::Borrow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use ::bytes::{Bytes, BytesMut};
use futures_util::Stream;

use super::body::{Body, Message, Sender};
use super::handler::encode;
use crate::codec::{self, Codec};
use crate::error::Result;

/// Room for an encoded message that is kept for the next one; more is given back.
const SCRATCH_BYTES_KEPT: usize = 4 * 1024;

type Decode<T> = dyn Fn(Message<'_>) -> Result<T> + Send + Sync;
/// Appends a message to the room that is given, or answers its bytes where it is bytes already.
type Encode<T> = dyn Fn(&T, &mut BytesMut) -> Result<Option<Bytes>> + Send + Sync;

/// Room that messages are encoded in one after another, where each is gone before the next few.
#[derive(Default)]
pub(crate) struct Scratch(Mutex<Room>);

#[derive(Default)]
struct Room {
    bytes: BytesMut,
    /// The first message has room of its own: many a client is cloned for one call.
    is_wanted: bool,
}

impl Clone for Scratch {
    /// Room of its own: two that encode at once would be in each other's way.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Scratch {
    /// Encodes a message; it keeps the room it stands in from being used again, so that a long
    /// one is given it for good.
    pub(crate) fn encode<T, C: Codec<T>>(
        &self,
        codec: &C,
        content_type: &'static str,
        value: &T,
    ) -> Result<Bytes> {
        let is_bytes = codec.as_bytes(content_type, value).is_some();
        let Some(mut room) = self.0.try_lock().ok().filter(|_| !is_bytes) else {
            return encode(codec, content_type, value);
        };
        if !std::mem::replace(&mut room.is_wanted, true) {
            return encode(codec, content_type, value);
        }
        let room = &mut room.bytes;
        if room.capacity() == 0 {
            *room = BytesMut::with_capacity(SCRATCH_BYTES_KEPT);
        }
        room.clear();
        codec.encode(content_type, value, room)?;
        codec::check_size(room.len(), codec::MESSAGE_BYTES_MAX)?;
        if room.len() > SCRATCH_BYTES_KEPT / 4 {
            return Ok(std::mem::take(room).freeze());
        }
        Ok(room.split().freeze())
    }
}

/// The messages that come in, decoded as they are asked for.
pub struct Incoming<T> {
    body: Body,
    decode: Box<Decode<T>>,
}

impl<T> Incoming<T> {
    /// The messages of a body.
    pub fn new<C: Codec<T>>(body: Body, codec: C, content_type: &'static str) -> Self {
        let decode = Box::new(move |message: Message<'_>| match message {
            Message::Short(bytes) => codec.decode_slice(content_type, bytes),
            Message::Long(bytes) => codec.decode(content_type, bytes),
        });
        Self { body, decode }
    }

    /// The next message, or `None` at the end.
    ///
    /// # Errors
    ///
    /// What broke the stream off, or that a message does not decode; nothing comes after it.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|context| self.poll_message(context)).await
    }

    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let Some(message) = ready!(self.body.poll_front(context)) else {
            return Poll::Ready(None);
        };
        let decoded = message.and_then(&self.decode);
        match &decoded {
            Ok(_) => self.body.pop(),
            Err(_) => self.body = Body::empty(),
        }
        Poll::Ready(Some(decoded))
    }
}

impl<T> Stream for Incoming<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        self.get_mut().poll_message(context)
    }
}

impl<T> std::fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Incoming").field(&self.body).finish()
    }
}

/// Sends the messages that go out.
pub struct Outgoing<T> {
    sender: Sender,
    encode: Box<Encode<T>>,
}

impl<T> Outgoing<T> {
    /// Encodes what is sent into a body's sender.
    pub fn new<C: Codec<T>>(sender: Sender, codec: C, content_type: &'static str) -> Self {
        let encode = Box::new(move |value: &T, room: &mut BytesMut| {
            let shared = codec.as_bytes(content_type, value);
            match shared {
                Some(bytes) => codec::check_size(bytes.len(), codec::MESSAGE_BYTES_MAX)?,
                None => {
                    let most = codec::MESSAGE_BYTES_MAX;
                    codec::encode_within(&codec, content_type, value, room, most)?;
                }
            }
            Ok(shared.cloned())
        });
        Self { sender, encode }
    }

    /// Sends a message, waiting while the other side does not keep up.
    ///
    /// # Errors
    ///
    /// [`Cancelled`](crate::error::Kind::Cancelled) when the call is over; what the codec says.
    pub async fn send(&self, message: impl Borrow<T>) -> Result<()> {
        let encode = move |room: &mut BytesMut| (self.encode)(message.borrow(), room);
        self.sender.send_encoded(encode).await
    }

    /// Ends the stream well. A client must: dropping it instead cancels the call. For a handler
    /// the stream ends with its return.
    pub async fn finish(self) {
        self.sender.finish();
    }
}

impl<T> std::fmt::Debug for Outgoing<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}
