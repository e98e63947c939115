//! Frames between two ends, over a byte stream or handed over in memory.
//!
//! A [`Link`] carries whole [`Frame`]s both ways. Over TCP and Unix sockets they are encoded into
//! one write buffer and parsed out of one read buffer; over memory they are handed over and no
//! byte is written. What the frames mean is not known here: see [`crate::rpc::wire`].
//!
//! # Framing
//!
//! A byte stream begins, in each direction, with a preface of 8 bytes: `4E 49 54 52 4F` ("NITRO"),
//! the version (`01`), two zero bytes. Then come frames, each with a header of 10 bytes, integers
//! big-endian:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | `u32` | payload length, at most [`FRAME_BYTES_MAX`] |
//! | 4 | `u32` | stream, 0 for the connection itself |
//! | 8 | `u8` | kind |
//! | 9 | `u8` | flags |
//!
//! and then the payload. A preface or header that breaks these rules ends the connection.

mod bytes;
mod memory;
mod room;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::bytes::{Buf, Bytes, BytesMut};

use crate::address::Address;
use crate::error::{Error, Result};
use crate::host::{Listener, Network};

pub use memory::Exchange;
pub use room::Room;

/// The longest payload of a frame.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// The length of a frame's header.
pub const HEADER_BYTES: usize = 10;
/// What a byte stream begins with: the name and the version.
pub const PREFACE: [u8; 8] = *b"NITRO\x01\0\0";

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: u8,
    /// What of it varies.
    pub flags: u8,
    /// The stream it belongs to; 0 for the connection itself.
    pub stream: u32,
}

impl Header {
    /// As it goes on a byte stream, ahead of a payload of this length.
    pub(crate) fn encode(self, payload_bytes: usize) -> [u8; HEADER_BYTES] {
        let mut head = [0; HEADER_BYTES];
        head[..4].copy_from_slice(&payload_length(payload_bytes).to_be_bytes());
        head[4..8].copy_from_slice(&self.stream.to_be_bytes());
        head[8] = self.kind;
        head[9] = self.flags;
        head
    }

    /// The same back, with the length of the payload.
    fn decode(head: &[u8; HEADER_BYTES]) -> (Self, usize) {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, flags] = *head;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let header = Self {
            kind,
            flags,
            stream,
        };
        (header, u32::from_be_bytes([l0, l1, l2, l3]) as usize)
    }
}

/// A frame that has arrived. It borrows the buffer it arrived in.
#[derive(Debug)]
pub struct Frame<'a> {
    /// The fixed part.
    pub header: Header,
    /// The variable part.
    pub payload: Payload<'a>,
}

/// The payload of a frame: a part of a read buffer, or bytes that were handed over.
#[derive(Debug)]
pub enum Payload<'a> {
    /// A part of the read buffer, and room for what is kept of it.
    Borrowed(&'a [u8], &'a Room),
    /// Handed over whole.
    Owned(&'a Bytes),
}

impl Payload<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Borrowed(slice, _) => slice,
            Payload::Owned(bytes) => bytes,
        }
    }

    /// The bytes from an offset on, kept: copied out of a read buffer, short ones into room that
    /// they share, or shared if handed over.
    pub fn keep_from(&self, offset: usize) -> Bytes {
        match self {
            Payload::Borrowed(slice, room) => room.keep(&slice[offset..]),
            Payload::Owned(bytes) => bytes.slice(offset..),
        }
    }
}

/// Frames that follow one another and have the same header, but for their lengths.
#[derive(Debug, Default)]
pub struct Alike<'a> {
    /// The frames as they stand in the read buffer, headers included.
    pub frames: &'a [u8],
    /// How many they are.
    pub count: usize,
}

/// Frames to be sent, in order.
#[derive(Debug)]
pub enum Outbox {
    /// Encoded one after another, ready to be written.
    Bytes(BytesMut),
    /// To be handed over.
    Frames {
        /// The frames.
        queue: VecDeque<(Header, Bytes)>,
        /// Their length, as if encoded.
        bytes: usize,
    },
}

impl Outbox {
    /// Adds a frame whose payload `write` appends.
    ///
    /// # Panics
    ///
    /// When the payload is longer than [`FRAME_BYTES_MAX`]: callers split what they send.
    pub fn push(&mut self, header: Header, write: impl FnOnce(&mut BytesMut)) {
        match self {
            Outbox::Bytes(buffer) => {
                let start = buffer.len();
                buffer.extend_from_slice(&header.encode(0));
                write(buffer);
                let length = payload_length(buffer.len() - start - HEADER_BYTES);
                buffer[start..start + 4].copy_from_slice(&length.to_be_bytes());
            }
            Outbox::Frames { queue, bytes } => {
                let mut payload = BytesMut::new();
                write(&mut payload);
                payload_length(payload.len());
                *bytes += HEADER_BYTES + payload.len();
                queue.push_back((header, payload.freeze()));
            }
        }
    }

    /// Adds a frame whose payload is copied.
    ///
    /// # Panics
    ///
    /// As for [`Outbox::push`].
    pub fn push_slice(&mut self, header: Header, payload: &[u8]) {
        let Outbox::Bytes(buffer) = self else {
            return self.push_bytes(header, Bytes::copy_from_slice(payload));
        };
        buffer.reserve(HEADER_BYTES + payload.len());
        buffer.extend_from_slice(&header.encode(payload.len()));
        buffer.extend_from_slice(payload);
    }

    /// Adds frames that stand one after another as they go on a byte stream, copied.
    ///
    /// # Panics
    ///
    /// When the last of them is cut short.
    pub fn push_frames(&mut self, mut frames: &[u8]) {
        match self {
            Outbox::Bytes(buffer) => buffer.extend_from_slice(frames),
            Outbox::Frames { .. } => {
                while let Some((head, rest)) = frames.split_first_chunk() {
                    let (header, length) = Header::decode(head);
                    let (payload, after) = rest.split_at(length);
                    self.push_bytes(header, Bytes::copy_from_slice(payload));
                    frames = after;
                }
            }
        }
    }

    /// Adds a frame whose payload is the front of what there is, and takes that off: copied, or
    /// handed over. Where it is copied, the memory stays with whoever has it.
    ///
    /// # Panics
    ///
    /// As for [`Outbox::push`], and when there is less than `length`.
    pub fn push_front(&mut self, header: Header, from: &mut Bytes, length: usize) {
        match self {
            Outbox::Bytes(_) => {
                self.push_slice(header, &from[..length]);
                from.advance(length);
            }
            Outbox::Frames { .. } => self.push_bytes(header, from.split_to(length)),
        }
    }

    /// Adds a frame whose payload is there already: copied, or handed over.
    ///
    /// # Panics
    ///
    /// As for [`Outbox::push`].
    pub fn push_bytes(&mut self, header: Header, payload: Bytes) {
        match self {
            Outbox::Bytes(_) => self.push_slice(header, &payload),
            Outbox::Frames { queue, bytes } => {
                payload_length(payload.len());
                *bytes += HEADER_BYTES + payload.len();
                queue.push_back((header, payload));
            }
        }
    }

    /// The length of all frames, as if encoded.
    pub fn len(&self) -> usize {
        match self {
            Outbox::Bytes(buffer) => buffer.len(),
            Outbox::Frames { bytes, .. } => *bytes,
        }
    }

    /// Throws all frames away.
    pub fn clear(&mut self) {
        match self {
            Outbox::Bytes(buffer) => buffer.clear(),
            Outbox::Frames { queue, bytes } => {
                queue.clear();
                *bytes = 0;
            }
        }
    }

    /// Gives back its room, if there are no frames.
    pub fn rest(&mut self) {
        self.trim(0);
    }

    /// Gives back its room, if there are no frames and it is for more than `bytes`.
    pub fn trim(&mut self, bytes: usize) {
        if let Outbox::Bytes(buffer) = self
            && buffer.is_empty()
            && buffer.capacity() > bytes
        {
            *buffer = BytesMut::new();
        }
    }

    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn payload_length(bytes: usize) -> u32 {
    assert!(
        bytes <= FRAME_BYTES_MAX,
        "a frame of {bytes} bytes is too long"
    );
    u32::try_from(bytes).expect("at most FRAME_BYTES_MAX")
}

/// How an attempt to read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There may be another frame.
    More,
    /// The other end has closed; no more will come.
    End,
}

/// One end of a connection that carries frames.
pub struct Link(Ends);

enum Ends {
    Bytes(bytes::StreamEnd),
    Memory(memory::MemoryEnd),
}

impl Link {
    /// A link over a byte stream, whose preface is sent and checked.
    pub fn over(stream: Box<dyn crate::host::Stream>) -> Self {
        Self(Ends::Bytes(bytes::StreamEnd::new(stream)))
    }

    /// An empty outbox of the kind that this link sends.
    pub fn outbox(&self) -> Outbox {
        match &self.0 {
            Ends::Bytes(_) => Outbox::Bytes(BytesMut::new()),
            Ends::Memory(_) => Outbox::Frames {
                queue: VecDeque::new(),
                bytes: 0,
            },
        }
    }

    /// Whether all that was given to [`Link::swap`] is sent.
    pub fn is_flushed(&self) -> bool {
        match &self.0 {
            Ends::Bytes(end) => end.is_flushed(),
            Ends::Memory(end) => end.is_flushed(),
        }
    }

    /// Takes the frames of an outbox, leaving it empty. Only when flushed.
    pub fn swap(&mut self, outbox: &mut Outbox) {
        match (&mut self.0, outbox) {
            (Ends::Bytes(end), Outbox::Bytes(buffer)) => end.swap(buffer),
            (Ends::Memory(end), Outbox::Frames { queue, bytes }) => end.swap(queue, bytes),
            _ => unreachable!("the outbox was made by this link"),
        }
    }

    /// Bytes sent so far, counted as [`Outbox::len`] counts, without the preface.
    pub fn sent(&self) -> u64 {
        match &self.0 {
            Ends::Bytes(end) => end.sent(),
            Ends::Memory(end) => end.sent(),
        }
    }

    /// Sends what was swapped in.
    ///
    /// # Errors
    ///
    /// What the stream says; the link is of no use any more.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            Ends::Bytes(end) => end.poll_flush(context),
            Ends::Memory(end) => end.poll_flush(context),
        }
    }

    /// From now on reads no more than so many bytes at a time, as a network may bring them; over
    /// memory there are no bytes.
    pub fn read_at_most(&mut self, bytes: usize) {
        if let Ends::Bytes(end) = &mut self.0 {
            end.read_at_most(bytes);
        }
    }

    /// Reads more, once [`Link::next_frame`] has nothing.
    ///
    /// # Errors
    ///
    /// What the stream says, or that the preface is wrong; the link is of no use any more.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Filled>> {
        match &mut self.0 {
            Ends::Bytes(end) => end.poll_fill(context),
            Ends::Memory(end) => end.poll_fill(context),
        }
    }

    /// The next whole frame that has arrived.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument) for a header that no frame has.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        match &mut self.0 {
            Ends::Bytes(end) => end.next_frame(),
            Ends::Memory(end) => Ok(end.next_frame()),
        }
    }

    /// The frames that come next, have arrived whole, and have this very header and no payload
    /// longer than `payload_bytes_max`: at most `frames_max`, and none where frames are handed over.
    pub fn next_alike(
        &mut self,
        header: Header,
        payload_bytes_max: usize,
        frames_max: usize,
    ) -> Alike<'_> {
        match &mut self.0 {
            Ends::Bytes(end) => end.next_alike(header, payload_bytes_max, frames_max),
            Ends::Memory(_) => Alike::default(),
        }
    }

    /// Gives back the room that it needed while more was going on.
    pub fn rest(&mut self) {
        if let Ends::Bytes(end) = &mut self.0 {
            end.rest();
        }
    }

    /// Gives back a write buffer much longer than what was sent at a time since it was last asked;
    /// answers how long one may be.
    pub fn trim(&mut self) -> usize {
        match &mut self.0 {
            Ends::Bytes(end) => end.trim(),
            Ends::Memory(_) => 0,
        }
    }

    /// Whether a part of a frame, or of the preface, has arrived and the rest has not.
    pub fn is_partial(&self) -> bool {
        match &self.0 {
            Ends::Bytes(end) => end.is_partial(),
            Ends::Memory(_) => false,
        }
    }

    /// Tells the other end that no more will come.
    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.0 {
            Ends::Bytes(end) => end.poll_close(context),
            Ends::Memory(end) => {
                end.close();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("sent", &self.sent()).finish()
    }
}

/// Opens and accepts links at any kind of address. Cheap to clone.
#[derive(Clone)]
pub struct Transport {
    network: Arc<dyn Network>,
    exchange: Exchange,
}

impl Transport {
    /// Over a network, and over an exchange for [`Address::Memory`].
    pub fn new(network: Arc<dyn Network>, exchange: Exchange) -> Self {
        Self { network, exchange }
    }

    /// Opens a link. It may take as long as the network does: bound it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::error::Kind::Unavailable), unsent, when nobody answers there;
    /// others as the network has them.
    pub async fn connect(&self, to: &Address) -> Result<Link> {
        let failed = |error: Error| {
            let message = format!("cannot connect to {to}: {}", error.message());
            Error::unavailable(message).with_source(error).unsent()
        };
        if let Address::Memory(name) = to {
            let end = self.exchange.connect(name).map_err(failed)?;
            return Ok(Link(Ends::Memory(end)));
        }
        let stream = self.network.connect(to).await;
        Ok(Link::over(stream.map_err(|error| failed(error.into()))?))
    }

    /// Listens at an address.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::error::Kind::AlreadyExists) where somebody listens already;
    /// others as the network has them.
    pub async fn listen(&self, at: &Address) -> Result<Acceptor> {
        if let Address::Memory(name) = at {
            return Ok(Acceptor(Accepts::Memory(self.exchange.listen(name)?)));
        }
        let listener = self.network.listen(at).await.map_err(|error| {
            let kind = Error::from(error);
            Error::new(
                kind.kind(),
                format!("cannot listen at {at}: {}", kind.message()),
            )
            .with_source(kind)
        })?;
        Ok(Acceptor(Accepts::Network(listener)))
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// Accepts links at one address. Dropping it frees the address.
pub struct Acceptor(Accepts);

enum Accepts {
    Network(Box<dyn Listener>),
    Memory(memory::MemoryListener),
}

impl Acceptor {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> Address {
        match &self.0 {
            Accepts::Network(listener) => listener.address(),
            Accepts::Memory(listener) => listener.address(),
        }
    }

    /// The next link, with the address of its other end.
    ///
    /// # Errors
    ///
    /// What the machine says, such as running out of file descriptors: wait and accept again.
    pub async fn accept(&mut self) -> Result<(Link, Address)> {
        match &mut self.0 {
            Accepts::Network(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Link::over(stream), peer))
            }
            Accepts::Memory(listener) => {
                let end = listener.accept().await;
                Ok((Link(Ends::Memory(end)), listener.address()))
            }
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acceptor").field(&self.address()).finish()
    }
}
