//! Behaviour of nitro across its modules, over every kind of transport.

mod connection;
mod rpc;
mod service;
mod transports;
mod wire;
