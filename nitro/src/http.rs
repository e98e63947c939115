//! A broker without a broker: nodes find each other's subscriptions through the registry, and
//! deliver by HTTP.
//!
//! Each node has an outbox, which is a broker of its own, in memory or in a store. What a node
//! publishes waits there, a copy for each subscription that the registry lists, and is POSTed to
//! a member of it. The member answers when the message has been handled: a success is the
//! acknowledgement, anything else leads to another attempt, at another member where there is one.
//! The requests are events of CloudEvents 1.0: any HTTP server can be a member, and any client
//! can publish; see below.
//!
//! # What is promised
//!
//! When publishing has answered, the message is in the outbox, once for each subscription that
//! the node knew. From there it is **delivered at least once** to one member of each, until a
//! member acknowledges it, until it has failed as often as its consumer allows (it then goes to
//! the dead letters), or until nobody has been listed for the subscription for
//! [`Settings::forget_after`]. A member that cannot be reached, or takes nothing now, costs no
//! attempt. So:
//!
//! - a crash of a subscriber loses nothing;
//! - a crash of the publisher loses what was not delivered yet if its outbox is in memory, and
//!   nothing if it is in a store that syncs;
//! - a message is delivered twice when an answer is lost, or comes too late. A member that has
//!   acknowledged it says so again without handling it again; another member does not know.
//!
//! A full outbox does what the consumer asked for: the publisher waits, or gets an error, or the
//! oldest is dropped and counted.
//!
//! # What is not
//!
//! A subscription is known to other nodes a moment after it was made, when the registry has told
//! them; what they publish before that is not for it. An acknowledgement reaches the publisher a
//! moment after the member has given it. Two messages of a subscription may be on their way to a
//! member that is not asking for any, and are then not the oldest that are dropped. Messages of one
//! key come in the order in which one node published them, the first time that each comes: one that
//! comes again may come after later ones. Numbers are each node's own.
//!
//! Who can reach a node can publish and receive: there is no authentication here, so listen where
//! only those come who may.
//!
//! # Over plain HTTP
//!
//! | request | |
//! |---|---|
//! | `POST /publish/<topic>` | publishes the body; 202 when it is in the outbox |
//! | `POST /deliver` | delivers an event to a subscription of this node |
//! | `POST /forget` | forgets a subscription, on behalf of a node whose member has left |
//!
//! ```text
//! curl -d 'number 7' -H 'content-type: text/plain' http://localhost:8080/publish/orders.paid
//! ```
//!
//! Who publishes is answered 400 with what is right, 413 for a body that is too long, 415 for an
//! event in structured mode (binary mode is what is read), 431 for a head that is too long, 503
//! when there is no room now, and 408 when the body takes too long to come.
//!
//! A member is a node in the registry, under [`Settings::service`], with the labels
//! `subscription` and `pattern`. Events are POSTed to its address, with `ce-id`, `ce-type` (the
//! topic) and `nitro-attempt` among the headers and the body as it was published. Of its answers
//! 2xx acknowledges; 404, 429 and 503 say "not now" and cost no attempt; any other status is a
//! failed attempt. `Retry-After` is heeded, redirections are not followed.

mod client;
mod courier;
mod event;
mod inbox;
mod members;
mod node;
mod server;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use self::node::Node;
use self::server::Serving;
use crate::address::Address;
use crate::broker::{Broker, PRIVATE_TTL};
use crate::error::Result;
use crate::host::Host;
use crate::host::tasks::TaskGuard;
use crate::registry::Registry;

/// How a node of the broker works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: Address,
    /// How others reach it, if that is not where it listens.
    pub advertise: Option<Address>,
    /// The name under which its subscriptions are registered: brokers of one name are one.
    pub service: String,
    /// How long a member stays listed without a heartbeat.
    pub ttl: Duration,
    /// How long what waits for a subscription is kept when nobody is listed for it.
    pub forget_after: Duration,
}

impl Settings {
    /// Settings for one that listens at an address: members expire after 15 seconds, and their
    /// messages two minutes later.
    pub fn at(listen: Address) -> Self {
        Self {
            listen,
            advertise: None,
            service: "nitro-events".to_owned(),
            ttl: Duration::from_secs(15),
            forget_after: PRIVATE_TTL,
        }
    }
}

/// A node of a broker over HTTP. Dropping it ends it: it publishes and receives no more.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::broker::{Broker, Consumer};
/// use nitro::http::{HttpBroker, Settings};
///
/// let host = nitro::host::tokio::host();
/// let registry = nitro::registry::Registry::memory(&host);
/// let outbox = Broker::memory(&host);
/// let settings = Settings::at("127.0.0.1:0".parse()?);
/// let node = HttpBroker::start(&host, &registry, &outbox, settings).await?;
///
/// let broker = node.broker();
/// let mut mails = broker.subscribe(&host, Consumer::group("orders.>", "mails")).await?;
/// broker.publish(&host, "orders.paid", "number 7").await?;
/// let delivery = mails.next().await?;
/// assert_eq!(&*delivery.message().body, b"number 7");
/// delivery.acknowledge().await
/// # }
/// ```
pub struct HttpBroker {
    node: Arc<Node>,
    address: Address,
    _serving: Serving,
    _tending: TaskGuard,
}

impl HttpBroker {
    /// Starts a node. `outbox` holds what it has published until it is delivered, and is for it
    /// alone: give it one in a store, by [`durable::broker`](crate::durable), and what it has
    /// published outlives its crash.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or nobody could reach it at the address that it would advertise.
    pub async fn start(
        host: &Host,
        registry: &Registry,
        outbox: &Broker,
        settings: Settings,
    ) -> Result<Self> {
        let listener = host.network.listen(&settings.listen).await?;
        let address = settings.advertise.clone();
        let address = address.unwrap_or_else(|| listener.address());
        let node = Node::new(host, registry, outbox, settings, &address)?;
        let serving = server::serve(host, listener, Arc::clone(&node));
        let tending = Arc::clone(&node).tend();
        let task = host.tasks.spawn("http broker", Box::pin(tending));
        Ok(Self {
            node,
            address,
            _serving: serving,
            _tending: task.abort_on_drop(),
        })
    }

    /// How others reach it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What an application on this node holds.
    pub fn broker(&self) -> Broker {
        Broker::new(node::Handle(Arc::clone(&self.node)))
    }

    /// Ends it: its members leave the registry at once instead of expiring. What its outbox still
    /// holds stays there.
    pub async fn stop(self) {
        self.node.leave().await;
    }

    /// Waits until a subscription is known here, whoever has made it: what is published from now
    /// on is for it as well. It may never be: bound it.
    pub async fn knows(&self, subscription: &str) {
        self.node.knows(subscription).await;
    }
}

impl Drop for HttpBroker {
    fn drop(&mut self) {
        self.node.end();
    }
}

impl std::fmt::Debug for HttpBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpBroker")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
