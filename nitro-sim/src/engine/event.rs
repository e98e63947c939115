//! The event engine: unmodified tokio on a virtual clock, event by event.

pub mod net;
