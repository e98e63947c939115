//! Messages on topics, to whoever subscribes: each to every group, and in a group to one member.
//!
//! A delivered message is its member's for a time; acknowledged it is done with, otherwise it is
//! delivered again, to the same member or another, and after some attempts it goes to the dead
//! letters with the reason. So a message is delivered **at least once**: handlers see the id and
//! the attempt. Messages of one key are delivered in the order they were published, the next when
//! the one before is done with; others as they come.
//!
//! A topic is words with dots between. A subscription may have `*` for any one word, and `>` at
//! the end for one word or more: `orders.*.paid`, `orders.>`.
//!
//! What an application holds is a [`Broker`], and for what it receives a [`Subscription`].

pub(crate) mod check;
mod data;
mod memory;
mod subscription;

use std::time::Duration;

use bytes::Bytes;
use tower::Service;

pub use self::check::matches;
pub use self::data::{
    Consumer, Delivered, Message, Pulled, Receipt, Reply, Request, Slow, Start, Verdict,
};
pub use self::memory::{Limits, Memory};
pub use self::subscription::{Delivery, Subscription};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::port::{Call, millis};
use crate::service::AnyService;

/// The longest name of a topic, a group, a key or an id.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest body.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

/// The most bytes of a message's headers.
pub const HEADERS_BYTES_MAX: usize = 4 * 1024;

/// The most messages in one request or answer.
pub const BATCH_MAX: usize = 64;

/// The most bytes of bodies in one request or answer: one whole message and then some.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// The longest that one question waits, however long it asks for.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// How long a subscription without a group lives when nobody pulls or subscribes again.
pub const PRIVATE_TTL: Duration = Duration::from_secs(120);

/// How long a message's id is remembered, so that publishing it again does nothing. In memory
/// only the last ten thousand are.
pub const REMEMBERED: Duration = Duration::from_secs(300);

/// The headers of a dead letter: why, and from which topic and group.
pub const DEAD_REASON: &str = "dead-reason";
/// See [`DEAD_REASON`].
pub const DEAD_TOPIC: &str = "dead-topic";
/// See [`DEAD_REASON`].
pub const DEAD_GROUP: &str = "dead-group";

/// How long publishing waits for room in a group that blocks its publishers.
const PUBLISH_WAIT: Duration = Duration::from_secs(10);

/// A broker, whichever it is. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::broker::{Broker, Consumer};
///
/// let host = nitro::host::tokio::host();
/// let broker = Broker::memory(&host);
/// let mut mails = broker.subscribe(&host, Consumer::group("orders.>", "mails")).await?;
/// broker.publish(&host, "orders.paid", "number 7").await?;
///
/// let delivery = mails.next().await?;
/// assert_eq!(&*delivery.message().body, b"number 7");
/// delivery.acknowledge().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Broker(AnyService<Call<Request>, Reply>);

impl Broker {
    /// A handle on any service that answers as a broker does.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call<Request>, Response = Reply> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send,
    {
        Self(AnyService::new(service))
    }

    /// A broker in this process, which ends with it.
    pub fn memory(host: &Host) -> Self {
        Self::new(Memory::new(host, Limits::default()))
    }

    /// Publishes bytes under a fresh id; answers the message's number.
    ///
    /// # Errors
    ///
    /// As [`Broker::publish_all`].
    pub async fn publish(
        &self,
        host: &Host,
        topic: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Result<u64> {
        let message = Message::new(host, topic, body);
        self.publish_all(vec![message]).await
    }

    /// Publishes messages, all or none; answers the number of the last. A message whose id was
    /// published before is passed over: after an error that leaves open whether it was published,
    /// publish the same message again. A topic without subscribers is no error.
    ///
    /// # Errors
    ///
    /// [`ResourceExhausted`](crate::Kind::ResourceExhausted) when a group that takes no more is
    /// full, or one that blocks was full for ten seconds;
    /// [`InvalidArgument`](crate::Kind::InvalidArgument) past the limits of this module.
    pub async fn publish_all(&self, messages: Vec<Message>) -> Result<u64> {
        let wait_ms = millis(PUBLISH_WAIT);
        match self.ask(Request::Publish { messages, wait_ms }).await? {
            Reply::Published(number) => Ok(number),
            other => Err(unexpected("publish", &other)),
        }
    }

    /// Subscribes. Members of a group share what comes; without a group all of it comes here.
    ///
    /// # Errors
    ///
    /// [`FailedPrecondition`](crate::Kind::FailedPrecondition) when the group exists with other
    /// terms, [`InvalidArgument`](crate::Kind::InvalidArgument) for terms out of range,
    /// [`ResourceExhausted`](crate::Kind::ResourceExhausted) when there are too many groups.
    pub async fn subscribe(&self, host: &Host, consumer: Consumer) -> Result<Subscription> {
        Subscription::start(self.clone(), host, consumer).await
    }

    /// Asks any of its requests.
    ///
    /// # Errors
    ///
    /// What the request's own method says.
    pub async fn ask(&self, request: Request) -> Result<Reply> {
        self.0.call(Call::new(request)).await
    }

    /// The service behind the handle, to be served to others or put under layers.
    pub fn service(&self) -> AnyService<Call<Request>, Reply> {
        self.0.clone()
    }
}

fn unexpected(asked: &str, reply: &Reply) -> Error {
    Error::internal(format!("broker: {asked} was answered with {reply:?}"))
}
