//! What the network of a cluster is like while nothing is wrong with it.

use std::time::Duration;

use crate::latency::Latency;
use crate::network::{
    CONNECT_MAX, DATAGRAM_BYTES_MAX, OPEN_AGAIN_FIRST, RETRANSMIT_FIRST, SEND_BUFFER_BYTES,
    SILENCE_MAX,
};
use crate::scenario::Network;

/// The network of a cluster while nothing is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetSettings {
    /// How every link is that `links` does not name.
    pub(crate) link: LinkSettings,
    /// Links between nodes, by name, that are different; of two that match, the later counts.
    pub(crate) links: Vec<(String, String, LinkSettings)>,
    /// How many bytes of a stream its writer may be ahead of what the other end acknowledged.
    pub(crate) send_buffer_bytes: usize,
    /// How many bytes of a stream wait to be read before the other end may send no more.
    pub(crate) receive_buffer_bytes: usize,
    /// How many streams of a listener wait to be accepted before further ones are not answered.
    /// Tokio asks for 128, and Linux gives one more.
    pub(crate) backlog: usize,
    /// How many datagrams of a socket wait to be received before further ones are lost.
    pub(crate) inbox: usize,
    /// The longest datagram that travels in one piece; a longer one is lost if any piece is.
    pub(crate) mtu_bytes: usize,
    /// The longest datagram.
    pub(crate) datagram_bytes_max: usize,
    /// How long opening a stream bears silence.
    pub(crate) connect_max: Duration,
    /// How long unacknowledged bytes wait for an answer before the stream times out.
    pub(crate) silence_max: Duration,
    /// How long lost bytes wait before they are sent again; it doubles with each loss.
    pub(crate) retransmit_first: Duration,
    /// Where that doubling ends. Source: Linux.
    pub(crate) retransmit_max: Duration,
    /// How long a lost opening of a stream waits before it is tried again; it doubles.
    pub(crate) open_again_first: Duration,
    /// Whether every message is recorded; what becomes of streams always is.
    pub(crate) records_messages: bool,
}

/// One direction between two nodes while nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LinkSettings {
    /// How long a message takes.
    pub(crate) latency: Latency,
    /// The share of messages lost, 0 to 1.
    pub(crate) loss: f64,
    /// The share of datagrams that arrive twice, 0 to 1.
    pub(crate) duplicate: f64,
    /// The share of datagrams that later ones overtake, 0 to 1.
    pub(crate) reorder: f64,
    /// How many bytes it carries in a second; none for any number.
    pub(crate) bytes_per_second: Option<u64>,
}

impl LinkSettings {
    /// A link with this latency and nothing else to it.
    #[cfg(test)]
    pub(crate) const fn new(latency: Latency) -> Self {
        Self {
            latency,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            bytes_per_second: None,
        }
    }
}

impl NetSettings {
    /// The network of a plan.
    pub(crate) fn of(network: &Network) -> Self {
        let link = LinkSettings {
            latency: network.latency,
            loss: network.loss,
            duplicate: network.duplicate,
            reorder: network.reorder,
            bytes_per_second: network.bytes_per_second,
        };
        let mut settings = Self::new(link);
        if let Some(bytes) = network.mtu_bytes {
            settings.mtu_bytes = bytes as usize;
        }
        for special in &network.links {
            let link = LinkSettings {
                latency: special.latency.unwrap_or(link.latency),
                loss: special.loss.unwrap_or(link.loss),
                bytes_per_second: special.bytes_per_second.or(link.bytes_per_second),
                ..link
            };
            let [one, other] = &special.between;
            for a in one {
                for b in other {
                    settings.links.push((a.clone(), b.clone(), link));
                    settings.links.push((b.clone(), a.clone(), link));
                }
            }
        }
        settings
    }

    /// A network whose every link is like this.
    pub(crate) fn new(link: LinkSettings) -> Self {
        Self {
            link,
            links: Vec::new(),
            send_buffer_bytes: SEND_BUFFER_BYTES,
            receive_buffer_bytes: 64 * 1024,
            backlog: 128,
            inbox: 1024,
            mtu_bytes: 1500,
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            connect_max: CONNECT_MAX,
            silence_max: SILENCE_MAX,
            retransmit_first: RETRANSMIT_FIRST,
            retransmit_max: Duration::from_secs(120),
            open_again_first: OPEN_AGAIN_FIRST,
            records_messages: true,
        }
    }
}
