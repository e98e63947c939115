//! Write a service once, over tower; run it on real networks, or inside a seeded cluster that
//! fails on command and replays to the byte.
//!
//! A call is a value. Whatever answers calls is a tower [`Service`](tower::Service): a router, a
//! connection, a balanced cluster of nodes, any of these under layers. Whatever is pluggable is a
//! port: requests and replies as plain data, behind a handle that is cheap to clone.
//!
//! ```
//! use nitro::codec::{Json, Protobuf};
//! use nitro::rpc::Call;
//! use nitro::{App, Fabric, Method, Router};
//!
//! #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize, prost::Message)]
//! pub struct Hello {
//!     #[prost(string, tag = "1")]
//!     pub name: String,
//! }
//!
//! #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize, prost::Message)]
//! pub struct Greeting {
//!     #[prost(string, tag = "1")]
//!     pub text: String,
//! }
//!
//! pub const HELLO: Method<Hello, Greeting> = Method::unary("greeter/hello").idempotent();
//!
//! async fn hello(_call: Call, hello: Hello) -> nitro::Result<Greeting> {
//!     Ok(Greeting { text: format!("hello, {}", hello.name) })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> nitro::Result<()> {
//! let fabric = Fabric::new(&nitro::host::tokio::host());
//! let greeter = App::new(&fabric, "greeter")
//!     .router(Router::new().unary(&HELLO, (Protobuf, Json), hello))
//!     .start()
//!     .await?;
//!
//! let client = greeter.client("greeter", Protobuf);
//! let greeting = client.call(&HELLO, Hello { name: "you".into() }).await?;
//! assert_eq!(greeting.text, "hello, you");
//! # greeter.stop().await
//! # }
//! ```
//!
//! # The map
//!
//! A module imports from lower floors only.
//!
//! | floor | modules | |
//! |---|---|---|
//! | 5 | [`app`] | joins everything |
//! | 4 | [`client`], [`server`], `remote`; `http`, `mdns`, [`cache`], [`durable`], [`events`] | the rpc spine at work; ports made of other ports |
//! | 3 | [`broker`], [`registry`], [`store`], [`sync`]; [`selector`]; [`rpc`] | what is pluggable; what a call is |
//! | 2 | [`codec`], [`transport`], [`layer`] | bytes, frames, concerns of any call |
//! | 1 | [`host`] | the machine |
//! | 0 | [`assertion`], [`buggify`](mod@buggify), [`error`], [`held`], [`latest`], [`name`], [`time`], then [`address`], [`metadata`], [`service`], then [`operation`], then [`port`] | words |
//!
//! The features are `file` (a store in a file), `json`, `protobuf` (codecs; `json` brings
//! `remote`), `mdns` (a registry over multicast DNS, and the fabric of the local network) and
//! `http` (a broker over HTTP); all but the last are on by default.
//!
//! # What always holds
//!
//! - Only [`host::tokio`] touches the outside world, and `mdns`, whose crate has sockets of its
//!   own; everything else runs under simulation.
//! - A port has no streams and no callbacks: a request and a reply, both plain data.
//! - There is no global state: what is shared is handed over.
//! - Every queue, loop and wait has a bound, named beside its reason.
//!
//! Deliberately absent: a macro or generator for services, a runtime of its own, any knowledge of
//! a simulator.

pub mod address;
pub mod app;
pub mod assertion;
pub mod broker;
pub mod buggify;
pub mod cache;
pub mod client;
pub mod codec;
pub mod durable;
pub mod error;
pub mod events;
pub mod held;
pub mod host;
#[cfg(feature = "http")]
pub mod http;
pub mod latest;
pub mod layer;
#[cfg(feature = "mdns")]
pub mod mdns;
pub mod metadata;
pub mod name;
pub mod operation;
pub mod port;
pub mod registry;
#[cfg(feature = "json")]
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
