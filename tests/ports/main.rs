//! What a port promises: one suite per port, run on every backend and every host.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod broker;
mod cached;
mod events;
mod http;
mod registry;
mod setting;
mod store;
mod sync;
mod threads;
