//! Behaviour of nitro across its modules, over every kind of transport.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod app;
mod broken;
mod connection;
mod local_network;
mod messages;
mod rpc;
mod scenarios;
mod selectors;
mod service;
mod simulated;
mod transports;
mod wire;
