//! A link over a byte stream: one write buffer, one read buffer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Alike, FRAME_BYTES_MAX, Filled, Frame, HEADER_BYTES, Header, PREFACE, Payload, Room};
use crate::error::{Error, Result};
use crate::host::Stream;

/// The read buffer of a quiet connection.
const READ_BYTES_MIN: usize = 4 * 1024;
/// The read buffer of a busy one, where frames are short: more would not stay in cache.
const READ_BYTES_BUSY: usize = 64 * 1024;
/// The read buffer where they are long: a whole frame and the beginning of the next.
const READ_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// What is left free in front of a long read buffer, which begins at a page, as what the kernel copies
/// into it does: on some processors such a copy takes four times as long.
const READ_FRONT: usize = 2 * 1024;
/// A write buffer that grew past this is given back before the next is written: twice what a
/// connection lets wait to be sent, and one frame more, as buffers grow by doubling.
const WRITE_BYTES_KEPT: usize = 2 * (512 * 1024 + 2 * FRAME_BYTES_MAX);
/// A write buffer up to this is kept by a connection that is not at rest, whatever it sends.
const WRITE_BYTES_MIN: usize = 64 * 1024;

pub(super) struct StreamEnd {
    stream: Box<dyn Stream>,
    writing: BytesMut,
    /// How much of it has been written. It is not cut off in front: the buffer would have to be
    /// moved back for what comes after.
    written: usize,
    preface_unsent: usize,
    sent: u64,
    /// The most that was to be written at a time, since the last look.
    swapped_most: usize,
    reading: Vec<u8>,
    room: Room,
    start: usize,
    end: usize,
    /// The last read filled all the room there was.
    is_behind: bool,
    /// How many bytes are read at a time, at the most.
    read_bytes_max: usize,
    preface_checked: bool,
}

impl StreamEnd {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            writing: BytesMut::from(&PREFACE[..]),
            written: 0,
            preface_unsent: PREFACE.len(),
            sent: 0,
            swapped_most: 0,
            reading: Vec::new(),
            room: Room::default(),
            start: 0,
            end: 0,
            is_behind: false,
            read_bytes_max: usize::MAX,
            preface_checked: false,
        }
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.writing.is_empty()
    }

    pub(super) fn swap(&mut self, outbox: &mut BytesMut) {
        debug_assert!(self.is_flushed(), "a swap would lose what is unsent");
        if self.writing.capacity() > WRITE_BYTES_KEPT {
            self.writing = BytesMut::new();
        }
        self.writing.clear();
        std::mem::swap(&mut self.writing, outbox);
        self.swapped_most = self.swapped_most.max(self.writing.len());
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.written < self.writing.len() {
            let unwritten = &self.writing[self.written..];
            let written = Pin::new(&mut self.stream).poll_write(context, unwritten);
            let count = ready!(written)?;
            if count == 0 {
                return Poll::Ready(Err(Error::unavailable("the stream takes no more bytes")));
            }
            let preface = count.min(self.preface_unsent);
            self.preface_unsent -= preface;
            self.sent += (count - preface) as u64;
            self.written += count;
        }
        self.writing.clear();
        self.written = 0;
        Pin::new(&mut self.stream)
            .poll_flush(context)
            .map_err(Error::from)
    }

    pub(super) fn read_at_most(&mut self, bytes: usize) {
        self.read_bytes_max = bytes;
    }

    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<Result<Filled>> {
        self.make_room();
        let until = self.end.saturating_add(self.read_bytes_max);
        let until = until.min(self.reading.len());
        let mut buffer = ReadBuf::new(&mut self.reading[self.end..until]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Ok(Filled::End));
        }
        self.end += count;
        self.is_behind = self.end == self.reading.len();
        if !self.preface_checked {
            self.check_preface()?;
        }
        Poll::Ready(Ok(Filled::More))
    }

    /// Moves what is unread to the front, where it takes up room; grows the buffer when what is
    /// unread does not leave enough of it, or when more comes than it holds.
    fn make_room(&mut self) {
        let unread = self.end - self.start;
        let length = self.reading.len();
        let front = if length > READ_BYTES_BUSY {
            READ_FRONT
        } else {
            0
        };
        if self.start > front && (unread < length / 4 || self.end == length) {
            self.reading.copy_within(self.start..self.end, front);
            (self.start, self.end) = (front, front + unread);
        }
        let wanted = (length * 2).max(READ_BYTES_MIN);
        if self.end > length / 2 || length == 0 {
            self.reading
                .resize(wanted.min(READ_BYTES_MAX).max(length), 0);
        } else if std::mem::take(&mut self.is_behind) {
            self.reading
                .resize(wanted.min(READ_BYTES_BUSY).max(length), 0);
        }
    }

    /// Gives back the room that was needed while more was going on.
    pub(super) fn rest(&mut self) {
        if self.start == self.end && self.reading.len() > READ_BYTES_MIN {
            (self.start, self.end) = (0, 0);
            self.reading = Vec::new();
        }
        if self.writing.is_empty() {
            self.writing = BytesMut::new();
        }
        self.room.rest();
    }

    /// Gives back a write buffer of more than four times what was written at a time since the last
    /// look: what once was busy is not to keep its room for a message now and then.
    pub(super) fn trim(&mut self) -> usize {
        let kept = (4 * std::mem::take(&mut self.swapped_most)).max(WRITE_BYTES_MIN);
        if self.writing.is_empty() && self.writing.capacity() > kept {
            self.writing = BytesMut::new();
        }
        kept
    }

    fn check_preface(&mut self) -> Result<()> {
        let seen = (self.end - self.start).min(PREFACE.len());
        let theirs = &self.reading[self.start..self.start + seen];
        if theirs != &PREFACE[..seen] {
            let name = seen.min(5);
            let message = if theirs[..name] != PREFACE[..name] {
                format!("the peer does not speak nitro: it began with {theirs:02x?}")
            } else if theirs[5] != PREFACE[5] {
                let (version, ours) = (theirs[5], PREFACE[5]);
                format!("the peer speaks version {version}, expected {ours}")
            } else {
                let options = &theirs[6..];
                format!("the peer asks for options that are not known: {options:02x?}")
            };
            return Err(Error::invalid_argument(message));
        }
        if seen == PREFACE.len() {
            self.preface_checked = true;
            self.start += seen;
        }
        Ok(())
    }

    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        if !self.preface_checked {
            return Ok(None);
        }
        let unread = &self.reading[self.start..self.end];
        let Some((head, rest)) = unread.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (header, length) = Header::decode(head);
        if length > FRAME_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "a frame of {length} bytes: at most {FRAME_BYTES_MAX}"
            )));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.start += HEADER_BYTES + length;
        let payload = Payload::Borrowed(&rest[..length], &self.room);
        Ok(Some(Frame { header, payload }))
    }

    pub(super) fn next_alike(
        &mut self,
        header: Header,
        payload_bytes_max: usize,
        frames_max: usize,
    ) -> Alike<'_> {
        let unread = &self.reading[self.start..self.end];
        let (mut at, mut count) = (0, 0);
        while count < frames_max
            && let Some((head, rest)) = unread[at..].split_first_chunk()
        {
            let (next, length) = Header::decode(head);
            if next != header || length > payload_bytes_max || length > rest.len() {
                break;
            }
            at += HEADER_BYTES + length;
            count += 1;
        }
        self.start += at;
        let frames = &unread[..at];
        Alike { frames, count }
    }

    pub(super) fn is_partial(&self) -> bool {
        self.start < self.end
    }

    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream)
            .poll_shutdown(context)
            .map_err(Error::from)
    }
}

#[cfg(test)]
mod tests;
