//! The work that every peer does: what is sent, and how much of it.

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

/// A string and integers: 100 bytes as protobuf.
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
pub(crate) struct Order {
    #[prost(string, tag = "1")]
    pub(crate) customer: String,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
    #[prost(int64, tag = "3")]
    pub(crate) placed_at_ms: i64,
    #[prost(uint32, tag = "4")]
    pub(crate) amount: u32,
}

/// A message of any length; its bytes are shared where a peer can.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Blob {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) bytes: Bytes,
}

/// How many messages a stream is to have.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Count {
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
}

pub(crate) const BLOB_BYTES: usize = 64 * 1024;

pub(crate) fn order() -> Order {
    Order {
        customer: "x".repeat(80),
        number: 9_007_199_254_740_991,
        placed_at_ms: 1_750_000_000_000,
        amount: 3,
    }
}

pub(crate) fn blob() -> Blob {
    Blob {
        bytes: Bytes::from(vec![7; BLOB_BYTES]),
    }
}

/// Client and server of one framework, both on the runtime that is current.
pub(crate) trait Peer: Clone + Send + Sync + Sized + 'static {
    const NAME: &'static str;
    /// Whether it has streams at all.
    const STREAMS: bool = true;

    /// Serves, and connects.
    fn start() -> impl Future<Output = Self>;

    /// Sends an order and gets it back.
    fn unary(&self, order: Order) -> impl Future<Output = Order> + Send;

    /// Makes calls, so many at once: from as many tasks, unless the peer knows better.
    fn calls(&self, calls: usize, at_once: usize, spent: &mut Spent) -> impl Future<Output = ()> {
        crate::measure::from_tasks(self, calls, at_once, spent)
    }

    /// Takes a stream of so many orders; answers how many came.
    fn orders(&self, _count: u64) -> impl Future<Output = u64> + Send {
        async { 0 }
    }

    /// Takes a stream of so many blobs; answers how many came.
    fn blobs(&self, _count: u64) -> impl Future<Output = u64> + Send {
        async { 0 }
    }

    /// Sends so many orders on a stream and gets each back on another; answers how many came.
    fn echoes(&self, _count: u64) -> impl Future<Output = u64> + Send {
        async { 0 }
    }
}

/// Nanoseconds that each call took; empty and without room, it is not asked for.
pub(crate) type Spent = Vec<u32>;
