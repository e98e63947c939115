//! Write a service once, over tower; run it on real networks, or inside a seeded cluster that
//! fails on command and replays to the byte.

pub mod address;
pub mod codec;
pub mod error;
pub mod host;
pub mod layer;
pub mod metadata;
pub mod operation;
pub mod port;
pub mod registry;
pub mod selector;
pub mod service;
pub mod time;

pub use address::Address;
pub use error::{Error, Kind, Result};
pub use host::Host;
pub use metadata::Metadata;
pub use operation::Operation;
pub use service::AnyService;
