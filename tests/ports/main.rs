//! What a port promises: one suite per port, run on every backend and every host.

mod broker;
mod cached;
mod setting;
mod store;
mod sync;
