//! The fault layer between a node and its engine's sockets: partitions, holds, latency, loss, and
//! what a peer notices of a crash.
//!
//! It wraps the streams and datagrams of any [`Network`], so that every engine, and real sockets,
//! fail in the same way. Streams behave as TCP does:
//!
//! - a partition is silence: bytes wait in a bounded buffer, then writers wait, and after
//!   [`SILENCE_MAX`] the stream times out; when it heals in time, the bytes flow;
//! - a lost write is sent again [`RETRANSMIT_FIRST`] later, then twice that, so that 1 % loss
//!   delays 1 % of writes and breaks no stream;
//! - a crash is silence too; what is sent once the peer has restarted is answered by a reset;
//! - opening a stream to a silent or crashed node fails after [`CONNECT_MAX`], to a living node
//!   where nobody listens after a round trip.
//!
//! Datagrams are lost where streams wait, and held ones arrive when they are released. What was
//! in flight when a fault set in still arrives. Where the network below takes no time, the links
//! have a latency too. Absent: bandwidth, duplication, corruption, MTU.
//!
//! [`Network`]: nitro::host::Network

mod attach;
mod datagram;
mod link;
mod passage;
mod pump;
mod stream;

use std::time::Duration;

pub use attach::{Attached, Attachment, Opens};
pub use link::{Fate, Links, Peer, Reach};

/// How long a lost write waits before it is sent again; it doubles with each loss.
/// Source: the least retransmission time-out of Linux.
pub const RETRANSMIT_FIRST: Duration = Duration::from_millis(200);

/// How long a lost opening of a stream waits before it is tried again; it doubles.
/// Source: RFC 6298.
pub const OPEN_AGAIN_FIRST: Duration = Duration::from_secs(1);

/// How long a stream with bytes to send bears silence before it times out.
/// Linux tries for 13 to 30 minutes, longer than any scenario wants to run.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long opening a stream bears silence before it times out.
pub const CONNECT_MAX: Duration = Duration::from_secs(20);

/// How many bytes of a stream wait to be sent before its writer waits too.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How many datagrams of a socket wait, held or delayed, before further ones are lost.
pub const DATAGRAMS_WAITING_MAX: usize = 1024;

/// The longest datagram: what fits into one of IPv4.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// The most consecutive losses of one message: after so many it passes, whatever is rolled.
const LOSSES_MAX: u32 = 6;
