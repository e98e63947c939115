//! The payloads of frames: written into an outbox, read out of a frame.

use ::bytes::{BufMut, Bytes, BytesMut};

use super::Limits;
use crate::error::{Error, Kind, Result};
use crate::metadata::Metadata;
use crate::transport::{Header, Outbox, Payload};

/// The longest message that CALL and REPLY hold; a longer one goes by DATA.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;
/// Methods that a connection has numbers for; further ones are named at each call.
pub const METHODS_MAX: u16 = 1024;
/// The number of a method that has none.
pub(super) const METHOD_UNNUMBERED: u16 = u16::MAX;
/// The longest path and content type together, so that a head fits a frame.
const NAMES_BYTES_MAX: usize = 8 * 1024;
/// The longest status message and details together; more is cut off.
const STATUS_BYTES_MAX: usize = 16 * 1024;

pub(super) const SETTINGS: u8 = 1;
pub(super) const CALL: u8 = 2;
pub(super) const REPLY: u8 = 3;
pub(super) const DATA: u8 = 4;
pub(super) const END: u8 = 5;
pub(super) const CANCEL: u8 = 6;
pub(super) const CREDIT: u8 = 7;
pub(super) const PING: u8 = 8;
pub(super) const PONG: u8 = 9;
pub(super) const GOAWAY: u8 = 10;

pub(super) const FLAG_END: u8 = 0x01;
pub(super) const FLAG_MESSAGE: u8 = 0x02;
pub(super) const FLAG_NAMED: u8 = 0x04;
pub(super) const FLAG_DEADLINE: u8 = 0x08;

/// All flags there are; the others are for later versions.
pub(super) const FLAGS_KNOWN: u8 = FLAG_END | FLAG_MESSAGE | FLAG_NAMED | FLAG_DEADLINE;

const STATUS_UNSENT: u8 = 0x01;

pub(super) fn header(kind: u8, flags: u8, stream: u32) -> Header {
    Header {
        stream,
        kind,
        flags,
    }
}

/// What the other side accepts, from its SETTINGS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) stream_window: u32,
    pub(super) connection_window: u32,
    pub(super) streams_max: u32,
    pub(super) message_bytes_max: u32,
}

impl Settings {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            stream_window: limits.stream_window,
            connection_window: limits.connection_window,
            streams_max: limits.streams_max.min(u32::from(u16::MAX)),
            message_bytes_max: limits.message_bytes_max,
        }
    }

    pub(super) fn write(&self, outbox: &mut Outbox) {
        let values = [
            self.stream_window,
            self.connection_window,
            self.streams_max,
            self.message_bytes_max,
        ];
        outbox.push(header(SETTINGS, 0, 0), |payload| {
            for (id, value) in (1..).zip(values) {
                payload.put_u16(id);
                payload.put_u32(value);
            }
        });
    }

    pub(super) fn read(payload: &[u8]) -> Result<Self> {
        let mut settings = Settings::of(&Limits::default());
        let (pairs, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(malformed("SETTINGS", "a pair is cut short"));
        }
        for [i, d, v0, v1, v2, v3] in pairs {
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            match u16::from_be_bytes([*i, *d]) {
                1 => settings.stream_window = value,
                2 => settings.connection_window = value,
                3 => settings.streams_max = value.min(u32::from(u16::MAX)),
                4 => settings.message_bytes_max = value,
                _ => {}
            }
        }
        Ok(settings)
    }
}

pub(super) fn malformed(frame: &str, what: &str) -> Error {
    Error::invalid_argument(format!("malformed {frame} frame: {what}"))
}

/// How a CALL names its method.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MethodName<'a> {
    Known(u16),
    New {
        number: u16,
        path: &'a str,
        content_type: &'a str,
    },
}

/// A CALL, borrowed from where it is written from or read to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallHead<'a> {
    pub(super) method: MethodName<'a>,
    pub(super) remaining_us: Option<u64>,
    pub(super) metadata: &'a [u8],
}

pub(super) fn check_names(path: &str, content_type: &str) -> Result<()> {
    let bytes = path.len() + content_type.len();
    if path.is_empty() || bytes > NAMES_BYTES_MAX || content_type.len() > 255 {
        return Err(Error::invalid_argument(format!(
            "a path of {} and a content type of {} bytes: expected 1 to {NAMES_BYTES_MAX} in all, the second at most 255",
            path.len(),
            content_type.len()
        )));
    }
    Ok(())
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("checked against a limit below 64 KiB")
}

impl CallHead<'_> {
    /// Writes a CALL; the names must have passed [`check_names`].
    pub(super) fn write(
        &self,
        outbox: &mut Outbox,
        stream: u32,
        message: Option<&[u8]>,
        is_end: bool,
    ) {
        let mut flags = 0;
        if is_end {
            flags |= FLAG_END;
        }
        if message.is_some() {
            flags |= FLAG_MESSAGE;
        }
        if self.remaining_us.is_some() {
            flags |= FLAG_DEADLINE;
        }
        if matches!(self.method, MethodName::New { .. }) {
            flags |= FLAG_NAMED;
        }
        outbox.push(header(CALL, flags, stream), |payload| {
            match self.method {
                MethodName::Known(number) => payload.put_u16(number),
                MethodName::New {
                    number,
                    path,
                    content_type,
                } => {
                    payload.put_u16(number);
                    payload.put_u16(short(path.len()));
                    payload.put_slice(path.as_bytes());
                    let length =
                        u8::try_from(content_type.len()).expect("checked to be at most 255");
                    payload.put_u8(length);
                    payload.put_slice(content_type.as_bytes());
                }
            }
            if let Some(remaining) = self.remaining_us {
                payload.put_u64(remaining);
            }
            write_metadata(payload, self.metadata);
            payload.put_slice(message.unwrap_or_default());
        });
    }

    /// Reads a CALL; returns it with the offset at which its message begins.
    pub(super) fn read(flags: u8, payload: &[u8]) -> Result<(CallHead<'_>, usize)> {
        let mut reader = Reader::new(payload, "CALL");
        let number = reader.u16()?;
        let method = if flags & FLAG_NAMED == 0 {
            MethodName::Known(number)
        } else {
            let length = usize::from(reader.u16()?);
            let path = reader.text(length)?;
            let length = usize::from(reader.u8()?);
            let content_type = reader.text(length)?;
            MethodName::New {
                number,
                path,
                content_type,
            }
        };
        let has_deadline = flags & FLAG_DEADLINE != 0;
        let remaining_us = if has_deadline {
            Some(reader.u64()?)
        } else {
            None
        };
        let length = usize::from(reader.u16()?);
        let metadata = reader.bytes(length)?;
        check_message(flags, reader.rest(), "CALL")?;
        let at = payload.len() - reader.rest().len();
        let head = CallHead {
            method,
            remaining_us,
            metadata,
        };
        Ok((head, at))
    }
}

fn write_metadata(payload: &mut BytesMut, block: &[u8]) {
    payload.put_u16(short(block.len()));
    payload.put_slice(block);
}

fn check_message(flags: u8, rest: &[u8], frame: &str) -> Result<()> {
    if flags & FLAG_MESSAGE == 0 && !rest.is_empty() {
        return Err(malformed(
            frame,
            "bytes follow where no message is announced",
        ));
    }
    if rest.len() > INLINE_BYTES_MAX {
        return Err(malformed(
            frame,
            "its message is too long to stand in a head",
        ));
    }
    Ok(())
}

/// Writes a REPLY.
pub(super) fn write_reply(
    outbox: &mut Outbox,
    stream: u32,
    metadata: &Metadata,
    message: Option<&[u8]>,
    is_end: bool,
) {
    let message_flag = if message.is_some() { FLAG_MESSAGE } else { 0 };
    let end_flag = if is_end { FLAG_END } else { 0 };
    outbox.push(header(REPLY, message_flag | end_flag, stream), |payload| {
        write_metadata(payload, metadata.as_block());
        payload.put_slice(message.unwrap_or_default());
    });
}

/// Reads a REPLY: its metadata, and its message if it has one.
pub(super) fn read_reply(flags: u8, payload: &Payload<'_>) -> Result<(Metadata, Option<Bytes>)> {
    let slice = payload.as_slice();
    let mut reader = Reader::new(slice, "REPLY");
    let length = usize::from(reader.u16()?);
    let metadata = Metadata::from_block(reader.bytes(length)?)?;
    check_message(flags, reader.rest(), "REPLY")?;
    let at = slice.len() - reader.rest().len();
    let has_message = flags & FLAG_MESSAGE != 0;
    Ok((metadata, has_message.then(|| payload.keep_from(at))))
}

/// Writes a frame whose payload is a status, or nothing for success.
pub(super) fn write_status(outbox: &mut Outbox, kind: u8, stream: u32, error: Option<&Error>) {
    outbox.push(header(kind, FLAG_END, stream), |payload| {
        let Some(error) = error else { return };
        payload.put_u8(error.kind().code());
        payload.put_u8(if error.is_unsent() { STATUS_UNSENT } else { 0 });
        let mut room = STATUS_BYTES_MAX;
        write_text(payload, error.message(), &mut room);
        for detail in error.details() {
            let lengths = 4;
            if lengths + detail.name.len() + detail.value.len() <= room {
                room -= lengths;
                write_text(payload, &detail.name, &mut room);
                write_text(payload, &detail.value, &mut room);
            }
        }
    });
}

fn write_text(payload: &mut BytesMut, text: &str, room: &mut usize) {
    let mut length = text.len().min(*room);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    *room -= length;
    payload.put_u16(short(length));
    payload.put_slice(&text.as_bytes()[..length]);
}

/// Reads a status; nothing is success.
pub(super) fn read_status(frame: &str, payload: &[u8]) -> Result<Option<Error>> {
    if payload.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::new(payload, frame);
    let kind = Kind::from_code(reader.u8()?);
    let flags = reader.u8()?;
    let mut error = Error::new(kind, reader.counted_text()?.to_owned());
    while !reader.rest().is_empty() {
        let name = reader.counted_text()?;
        error = error.with_detail(name, reader.counted_text()?);
    }
    let is_unsent = flags & STATUS_UNSENT != 0;
    Ok(Some(if is_unsent { error.unsent() } else { error }))
}

/// Writes a CREDIT.
pub(super) fn write_credit(outbox: &mut Outbox, stream: u32, bytes: u32) {
    outbox.push(header(CREDIT, 0, stream), |payload| payload.put_u32(bytes));
}

/// Reads a CREDIT.
pub(super) fn read_credit(payload: &[u8]) -> Result<u32> {
    let bytes = <[u8; 4]>::try_from(payload);
    let bytes = bytes.map_err(|_| malformed("CREDIT", "expected 4 bytes"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// Takes a payload apart, front to back.
struct Reader<'a, 'n> {
    rest: &'a [u8],
    frame: &'n str,
}

impl<'a, 'n> Reader<'a, 'n> {
    fn new(rest: &'a [u8], frame: &'n str) -> Self {
        Self { rest, frame }
    }

    fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let split = self.rest.split_at_checked(length);
        let (taken, rest) = split.ok_or_else(|| malformed(self.frame, "it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes(N)?;
        Ok(<[u8; N]>::try_from(bytes).expect("exactly N bytes were taken"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes).map_err(|_| malformed(self.frame, "a text is not UTF-8"))
    }

    fn counted_text(&mut self) -> Result<&'a str> {
        let length = usize::from(self.u16()?);
        self.text(length)
    }
}

#[cfg(test)]
mod tests;
