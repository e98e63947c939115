//! Concerns of any call, as tower layers: a time limit, retries, shedding, tracing, panics.
//!
//! Each wraps any service of any [`Operation`](crate::Operation) whose error turns into
//! [`Error`](crate::Error), and is itself such a service: tower's own layers and a user's fit
//! above and below. Each file has the same three parts: `XLayer` makes an `X` around a service,
//! whose calls are `XFuture`s. They take time and randomness from the host they are given, and
//! nothing else.
//!
//! What they time and count ends when the service answers. Where the answer is the head of a
//! stream, its body is the business of whoever carries the stream.

pub mod adaptive;
pub mod catch_panic;
pub mod deadline;
pub mod retry;
pub mod shed;
pub mod trace;

use std::fmt;

pub use adaptive::{Adaptive, AdaptiveLayer};
pub use catch_panic::{CatchPanic, CatchPanicLayer};
pub use deadline::{Deadline, DeadlineLayer};
pub use retry::{Budget, Retry, RetryLayer, RetryPolicy};
pub use shed::{Shed, ShedLayer};
pub use trace::{Trace, TraceLayer};

/// An operation's name, kept for an error that may come after the operation is gone: a copy on
/// the stack, cut off at [`KeptName::BYTES_MAX`], where a `String` would cost every call an
/// allocation.
#[derive(Clone, Copy)]
struct KeptName {
    length: u8,
    text: [u8; Self::BYTES_MAX],
}

impl KeptName {
    const BYTES_MAX: usize = 63;

    fn new(name: &str) -> Self {
        let fits = |&end: &usize| name.is_char_boundary(end);
        let longest = name.len().min(Self::BYTES_MAX);
        let length = (0..=longest).rev().find(fits).unwrap_or(0);
        let mut text = [0; Self::BYTES_MAX];
        text[..length].copy_from_slice(&name.as_bytes()[..length]);
        let length = u8::try_from(length).expect("at most 63");
        Self { length, text }
    }
}

impl fmt::Display for KeptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text[..usize::from(self.length)];
        f.write_str(std::str::from_utf8(text).expect("cut at a character"))
    }
}

#[cfg(test)]
mod tests;
