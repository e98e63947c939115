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

pub use adaptive::{Adaptive, AdaptiveLayer};
pub use catch_panic::{CatchPanic, CatchPanicLayer};
pub use deadline::{Deadline, DeadlineLayer, Limit};
pub use retry::{Budget, Retry, RetryLayer, RetryPolicy};
pub use shed::{Shed, ShedLayer};
pub use trace::{Trace, TraceLayer};

#[cfg(test)]
mod tests;
