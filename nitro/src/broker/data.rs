//! What a broker is asked and what it answers, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::WAIT_MAX;
use crate::host::Host;
use crate::port::{PortRequest, octets};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its id: published twice it is one message.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// Messages of one key come in order.
    pub key: Option<String>,
    /// What its body is.
    pub content_type: String,
    /// What is said about it.
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(with = "octets")]
    pub body: Bytes,
}

impl Message {
    /// A message with a fresh id, without key and headers.
    pub fn new(host: &Host, topic: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            id: host.entropy.id(),
            topic: topic.into(),
            key: None,
            content_type: "application/octet-stream".to_owned(),
            headers: BTreeMap::new(),
            body: body.into(),
        }
    }

    /// The same message with a key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// What is received by whom, and on which terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    /// The topics.
    pub pattern: String,
    /// The group whose members share it; none for one who receives alone.
    pub group: Option<String>,
    /// From where on. A group that exists goes on where it is.
    pub start: Start,
    /// How long a delivered message may take to be acknowledged, in milliseconds.
    pub visibility_ms: u64,
    /// How often a message is delivered before it is dead.
    pub attempts_max: u32,
    /// The topic for dead letters; without one they are only counted.
    pub dead_letter: Option<String>,
    /// How many messages may wait or be out.
    pub backlog_max: usize,
    /// What happens when there are as many.
    pub slow: Slow,
}

impl Consumer {
    /// One who receives alone what is published from now on, on the default terms: half a minute
    /// to acknowledge, five attempts, a thousand messages waiting, then the oldest are dropped.
    pub fn alone(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            group: None,
            start: Start::New,
            visibility_ms: 30_000,
            attempts_max: 5,
            dead_letter: None,
            backlog_max: 1_000,
            slow: Slow::DropOldest,
        }
    }

    /// A member of a group, on the default terms, except that publishers wait when a thousand
    /// messages do.
    pub fn group(pattern: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            group: Some(group.into()),
            slow: Slow::Block,
            ..Self::alone(pattern)
        }
    }
}

/// From where on messages are received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// What is published from now on.
    #[default]
    New,
    /// First what was published from this number on, as far as the broker has kept it.
    From(u64),
}

/// What happens to a message that a full group should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slow {
    /// The publisher waits until there is room.
    Block,
    /// The oldest that waits is dropped, and counted.
    DropOldest,
    /// The publisher gets an error, and nobody gets the message.
    Refuse,
}

/// What a broker is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Give messages to all who subscribe, all or none.
    Publish {
        /// The messages, in order.
        messages: Vec<Message>,
        /// How long to wait for room, in milliseconds.
        wait_ms: u64,
    },
    /// Receive messages from now on.
    Subscribe {
        /// The name of the subscription: its group's, or an id that begins with `~`.
        subscription: String,
        /// The terms.
        consumer: Consumer,
    },
    /// The next messages, waiting for one if there is none yet.
    Pull {
        /// The subscription.
        subscription: String,
        /// How many at the most, 1 to [`BATCH_MAX`](super::BATCH_MAX).
        limit: usize,
        /// How long to wait, in milliseconds; see [`WAIT_MAX`].
        wait_ms: u64,
    },
    /// What became of a delivered message.
    Settle {
        /// The subscription.
        subscription: String,
        /// Which delivery.
        receipt: Receipt,
        /// What became of it.
        verdict: Verdict,
    },
    /// Receive no more; what waits is dropped.
    Unsubscribe {
        /// The subscription.
        subscription: String,
    },
}

impl PortRequest for Request {
    fn name(&self) -> &'static str {
        match self {
            Request::Publish { .. } => "broker/publish",
            Request::Subscribe { .. } => "broker/subscribe",
            Request::Pull { .. } => "broker/pull",
            Request::Settle { .. } => "broker/settle",
            Request::Unsubscribe { .. } => "broker/unsubscribe",
        }
    }

    /// Ids make publishing so. Pulling twice is no harm, but takes the next messages.
    fn is_idempotent(&self) -> bool {
        matches!(self, Request::Publish { .. } | Request::Subscribe { .. })
    }

    fn wait(&self) -> Duration {
        match self {
            Request::Publish { wait_ms, .. } | Request::Pull { wait_ms, .. } => {
                Duration::from_millis(*wait_ms).min(WAIT_MAX)
            }
            _ => Duration::ZERO,
        }
    }
}

/// Which delivery of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Receipt {
    /// The number of the message.
    pub number: u64,
    /// The delivery.
    pub claim: u64,
}

/// What became of a delivered message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is done with.
    Done,
    /// It could not be handled.
    Failed {
        /// Why, for the dead letters.
        reason: String,
        /// How long to wait before it is delivered again, in milliseconds.
        delay_ms: u64,
    },
    /// It was not tried, as when its member has to stop: the delivery counts for nothing.
    Returned {
        /// How long to wait before it is delivered again, in milliseconds.
        delay_ms: u64,
    },
}

/// What a broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Publish`]: the number of the last message.
    Published(u64),
    /// To [`Request::Subscribe`].
    Subscribed,
    /// To [`Request::Pull`].
    Pulled(Pulled),
    /// To [`Request::Settle`].
    Settled,
    /// To [`Request::Unsubscribe`]: whether there was such a subscription.
    Unsubscribed(bool),
}

/// Messages for a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// The messages; none when the wait was over first.
    pub delivered: Vec<Delivered>,
    /// How many messages the subscription has lost in all because it was slow.
    pub dropped: u64,
    /// How many have died in all.
    pub dead: u64,
}

/// A message that is a member's to handle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Which delivery it is.
    pub receipt: Receipt,
    /// How often it has been delivered, this time included.
    pub attempt: u32,
    /// The message.
    pub message: Message,
}
