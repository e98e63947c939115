//! Behaviour of nitro across its modules, over every kind of transport.

mod rpc;
mod service;
mod simulated;
mod transports;
mod wire;
