//! Nitro's native protocol: many calls over one connection.
//!
//! One driver a connection reads and writes. Callers encode straight into the connection's
//! outbox and wake the driver at most once a batch; replies are put into the slot of their call,
//! found by number. A handler is polled once where its call was read, and moves to a task of its
//! own only if it waits.
//!
//! # The protocol, version 1
//!
//! Frames are those of [`crate::transport`]; integers are big-endian. The first frame each way is
//! SETTINGS. Only the side that connected calls. A *stream* is one call and its answer.
//!
//! | kind | name | on | payload |
//! |---|---|---|---|
//! | 1 | SETTINGS | 0 | pairs of `u16` id, `u32` value; unknown ids are passed over |
//! | 2 | CALL | stream | `u16` method, then what the flags say, `u16` length and metadata block, message |
//! | 3 | REPLY | stream | `u16` length and metadata block, message |
//! | 4 | DATA | stream | a fragment of a message |
//! | 5 | END | stream | nothing, or a status |
//! | 6 | CANCEL | stream | nothing: the caller has given up |
//! | 7 | CREDIT | any | `u32`: so much more may be sent; on 0 for the connection |
//! | 8 | PING | 0 | 8 bytes, answered at once |
//! | 9 | PONG | 0 | the same 8 bytes |
//! | 10 | GOAWAY | 0 | a status: why no further calls are taken |
//!
//! **Flags.** `01` END: the sender sends nothing more on this stream; on REPLY and DATA from the
//! answering side it means success. `02` MESSAGE: on CALL and REPLY, a whole message follows; on
//! DATA, the fragment is the last of its message. `04` NAMED (CALL): after `u16` method come
//! `u16` length and path, `u8` length and content type, which the number stands for from now on;
//! numbers are given from 0, in order, at most [`METHODS_MAX`]; `FFFF` is a name used once.
//! `08` DEADLINE (CALL): then comes `u64`, the microseconds that remain to the caller. Other
//! bits are zero: one that is set may change what follows, and so is refused.
//!
//! **Settings.** 1: window of a stream; 2: window of the connection; 3: streams at once; 4: the
//! longest message. Each says what its sender accepts.
//!
//! **Stream numbers.** The low 16 bits are a slot, below the streams at once of the answering
//! side; the high 16 bits count the slot's uses, 1 to 65,535 and round again. A number is used
//! once until it comes round: a CALL on an open stream or an old number ends the connection;
//! other frames with an old number are late, and passed over.
//!
//! **Status** (END, GOAWAY): `u8` kind (the codes of [`Kind`](crate::error::Kind)), `u8` flags
//! (`01`: no handler saw the call, it is safe to repeat), `u16` length and message, then pairs of
//! `u16` length and name, `u16` length and value. END from the answering side without a status
//! is success, once there was a REPLY and its last message is whole.
//!
//! **Flow control.** A DATA frame costs its payload and 32 bytes more (its bookkeeping, so that
//! empty messages are not free), of the stream's window and of the connection's. CALL and REPLY
//! cost nothing but hold a message of at most [`INLINE_BYTES_MAX`]. Whole messages are lent to
//! whoever takes them in runs of about 16 KiB, which still count as waiting; the receiver gives
//! credit back when the last of a run has been taken, once half a window has gathered; for
//! fragments of an unfinished message, which could not otherwise outgrow the window, on arrival
//! while no whole message waits or is lent. So a stream holds at most its window and one message,
//! and a slow reader stops its own stream only, up to as many slow streams as the connection's
//! window holds.
//!
//! **Liveness.** A side that has heard nothing for two ticks (of 5 s) sends PING, and closes
//! when a further tick brings nothing. It closes a peer that has not sent its SETTINGS within a
//! tick, that leaves a frame unfinished for two, or that takes no byte for four. A client sends
//! PING as soon as a call is not answered in its time, and opens another connection beside one that
//! has been silent for a second since.
//!
//! **Closing.** After GOAWAY the calling side opens no stream, finishes those it has, and closes.
//! A CALL that crosses GOAWAY on the way is answered by END with "safe to repeat".
//!
//! The vectors in `wire/message/tests.rs` show frames byte by byte.

mod client;
mod data;
mod driver;
mod flow;
mod message;
mod methods;
mod server;
mod state;
mod streams;

use std::time::Duration;

pub use client::{Calls, Connection};
pub use message::{INLINE_BYTES_MAX, METHODS_MAX};
pub use server::{ServedConnection, serve};

/// What one side of a connection accepts, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a stream that may wait to be taken, at least 16 KiB.
    pub stream_window: u32,
    /// Bytes of all streams of a connection that may wait to be taken, at least 16 KiB.
    pub connection_window: u32,
    /// Streams at once, at most 65,535.
    pub streams_max: u32,
    /// The longest message, in bytes.
    pub message_bytes_max: u32,
    /// The unit of all patience, at least 1 ms: see *Liveness* above.
    pub tick: Duration,
    /// Ticks without a stream after which a connection is closed; `None` keeps it.
    pub idle_ticks: Option<u32>,
}

impl Limits {
    /// The nearest limits that a connection can work with: windows of 16 KiB or more, at most
    /// 65,535 streams, a tick of 1 ms or more.
    fn sensible(self) -> Self {
        Self {
            stream_window: self.stream_window.max(flow::WINDOW_MIN),
            connection_window: self.connection_window.max(flow::WINDOW_MIN),
            streams_max: self.streams_max.min(u32::from(u16::MAX)),
            tick: self.tick.max(Duration::from_millis(1)),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Stays in cache: larger windows make 64 KiB messages slower.
            stream_window: 512 * 1024,
            // Sixty-four streams may be blocked before they stop the others.
            connection_window: 32 * 1024 * 1024,
            streams_max: 16 * 1024,
            message_bytes_max: crate::codec::MESSAGE_BYTES_MAX as u32,
            tick: Duration::from_secs(5),
            idle_ticks: Some(60),
        }
    }
}
