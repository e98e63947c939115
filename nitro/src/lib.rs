//! Write a service once, over tower; run it on real networks, or inside a seeded cluster that
//! fails on command and replays to the byte.

pub mod address;
pub mod app;
pub mod broker;
pub mod client;
pub mod codec;
pub mod durable;
pub mod error;
pub mod host;
pub mod layer;
pub mod metadata;
pub mod name;
pub mod operation;
pub mod port;
pub mod registry;
pub mod remote;
pub mod rpc;
pub mod selector;
pub mod server;
pub mod service;
pub mod store;
pub mod sync;
pub mod time;
pub mod transport;

pub use address::Address;
pub use app::{App, Fabric};
pub use client::Client;
pub use error::{Error, Kind, Result};
pub use host::Host;
pub use metadata::Metadata;
pub use operation::Operation;
pub use rpc::{Method, Router};
pub use server::Server;
pub use service::AnyService;
