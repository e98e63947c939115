//! Which nodes serve what: the port through which services are found.
//!
//! A node registers for a time, and stays listed as long as it sends heartbeats; when they stop it
//! expires, which is a change like any other. Changes are numbered, and a watcher asks for those
//! after the last it has seen, so that nothing is lost between two questions. A registry that
//! cannot tell what happened since (the log is bounded, or it has been restarted) says so by
//! [`Watched::Reset`], with all nodes as they are.
//!
//! What an application holds is a [`Registry`]. [`Registry::keep`] keeps a node registered, and
//! [`Registry::follow`] keeps a list of nodes; both outlive an outage of the registry.

mod following;
mod memory;
mod node;
mod registration;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tower::Service;

pub use self::following::Following;
pub use self::memory::{Limits, Memory};
pub use self::node::Node;
pub use self::registration::Registration;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::layer::RetryPolicy;
pub use crate::port::Revision;
use crate::port::{Call, PortRequest, millis};
use crate::service::AnyService;
use crate::time::Instant;

/// The longest time to live: a node that is gone for a day is gone.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that a registry lets a watcher wait, however long it asks for: connections that
/// say nothing for longer are closed by what lies between.
pub const WATCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// How the tasks of [`Registry::keep`] and [`Registry::follow`] try again while the registry is
/// away: soon at first, then every few seconds, dispersed.
const BACKOFF: RetryPolicy = RetryPolicy {
    attempts_max: u32::MAX,
    backoff_first: Duration::from_millis(100),
    backoff_multiplier: 2.0,
    backoff_max: Duration::from_secs(5),
    jitter: 0.2,
};

/// What a registry is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// List a node for a time, in place of what was listed under its id.
    Register {
        /// The node.
        node: Node,
        /// How long it stays without a heartbeat, in milliseconds.
        ttl_ms: u64,
    },
    /// Keep a node listed for a time from now.
    Heartbeat {
        /// The node's service.
        service: String,
        /// The node's id.
        id: String,
        /// How long it stays, in milliseconds.
        ttl_ms: u64,
    },
    /// List a node no longer.
    Deregister {
        /// The node's service.
        service: String,
        /// The node's id.
        id: String,
    },
    /// The nodes of a service, or all.
    List {
        /// The service; none for all.
        service: Option<String>,
    },
    /// What changed since, waiting for a change if there is none yet.
    Watch {
        /// The service; none for all.
        service: Option<String>,
        /// The last revision seen.
        after: Revision,
        /// How long to wait, in milliseconds; see [`WATCH_WAIT_MAX`].
        wait_ms: u64,
    },
}

impl PortRequest for Request {
    fn name(&self) -> &'static str {
        match self {
            Request::Register { .. } => "registry/register",
            Request::Heartbeat { .. } => "registry/heartbeat",
            Request::Deregister { .. } => "registry/deregister",
            Request::List { .. } => "registry/list",
            Request::Watch { .. } => "registry/watch",
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn wait(&self) -> Duration {
        match self {
            Request::Watch { wait_ms, .. } => Duration::from_millis(*wait_ms).min(WATCH_WAIT_MAX),
            _ => Duration::ZERO,
        }
    }
}

/// What a registry answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Register`]: the node is listed, as of this revision.
    Registered(Revision),
    /// To [`Request::Heartbeat`].
    Kept,
    /// To [`Request::Deregister`]: whether the node had been listed.
    Deregistered(bool),
    /// To [`Request::List`].
    Listed(Listed),
    /// To [`Request::Watch`].
    Watched(Watched),
}

/// The nodes of one moment, by service and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The nodes; empty when there are none, which is not an error.
    pub nodes: Vec<Node>,
    /// The moment.
    pub revision: Revision,
}

/// What happened after a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// These changes, and no others.
    Changes {
        /// The changes, oldest first; empty when the wait was over first.
        changes: Vec<Change>,
        /// What to ask after next.
        revision: Revision,
    },
    /// It cannot be told: forget what was known, this is how it is now.
    Reset(Listed),
}

/// A change of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its number.
    pub revision: Revision,
    /// What happened to the node.
    pub kind: ChangeKind,
    /// The node it happened to: as it is now, or as it was last if it is gone.
    pub node: Node,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was not listed and is.
    Up,
    /// It was listed with other properties.
    Updated,
    /// It is no longer listed.
    Down(DownReason),
}

/// Why a node is no longer listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DownReason {
    /// It said good-bye.
    Deregistered,
    /// Its heartbeats stopped.
    Expired,
}

/// How a task that works with the registry is doing.
#[derive(Clone, Debug)]
pub enum Health {
    /// The registry has not answered yet.
    Starting,
    /// The last exchange with the registry went well.
    Good,
    /// The registry cannot be reached, or refuses; the task keeps trying.
    Failing {
        /// Since when, on the host's clock.
        since: Instant,
        /// What the last try came to.
        error: Error,
    },
}

impl Health {
    /// The same trouble goes on, or begins now.
    fn failing(&self, now: Instant, error: Error) -> Self {
        let since = match self {
            Health::Failing { since, .. } => *since,
            Health::Starting | Health::Good => now,
        };
        Health::Failing { since, error }
    }
}

/// A registry, whichever it is. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::registry::{Node, Registry};
///
/// let host = nitro::host::tokio::host();
/// let registry = Registry::memory(&host);
/// let node = Node::new("greeter", "greeter-1", "10.0.0.7:4000".parse()?);
/// let mut registration = registry.keep(&host, node, std::time::Duration::from_secs(30));
/// registration.registered().await?;
///
/// let nodes = registry.list(Some("greeter")).await?.nodes;
/// assert_eq!(nodes[0].id, "greeter-1");
/// registration.deregister().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry(AnyService<Call<Request>, Reply>);

impl Registry {
    /// A handle on any service that answers as a registry does.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call<Request>, Response = Reply> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send,
    {
        Self(AnyService::new(service))
    }

    /// A registry in this process.
    pub fn memory(host: &Host) -> Self {
        Self::new(Memory::new(host, Limits::default()))
    }

    /// Lists a node until `ttl` from now, in place of what was listed under its id.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument) for a node or a time that
    /// [`Node::check`] or [`TTL_MAX`] rules out,
    /// [`ResourceExhausted`](crate::Kind::ResourceExhausted) when the registry is full.
    pub async fn register(&self, node: Node, ttl: Duration) -> Result<Revision> {
        let ttl_ms = millis(ttl);
        match self.ask(Request::Register { node, ttl_ms }).await? {
            Reply::Registered(revision) => Ok(revision),
            other => Err(unexpected("register", &other)),
        }
    }

    /// Keeps a node listed until `ttl` from now.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Kind::NotFound) when it is not listed: register it again.
    pub async fn heartbeat(&self, service: &str, id: &str, ttl: Duration) -> Result<()> {
        let request = Request::Heartbeat {
            service: service.to_owned(),
            id: id.to_owned(),
            ttl_ms: millis(ttl),
        };
        match self.ask(request).await? {
            Reply::Kept => Ok(()),
            other => Err(unexpected("heartbeat", &other)),
        }
    }

    /// Lists a node no longer; answers whether it had been listed.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached.
    pub async fn deregister(&self, service: &str, id: &str) -> Result<bool> {
        let request = Request::Deregister {
            service: service.to_owned(),
            id: id.to_owned(),
        };
        match self.ask(request).await? {
            Reply::Deregistered(was_listed) => Ok(was_listed),
            other => Err(unexpected("deregister", &other)),
        }
    }

    /// The nodes of a service, or all nodes.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached. No nodes is not an error.
    pub async fn list(&self, service: Option<&str>) -> Result<Listed> {
        let service = service.map(str::to_owned);
        match self.ask(Request::List { service }).await? {
            Reply::Listed(listed) => Ok(listed),
            other => Err(unexpected("list", &other)),
        }
    }

    /// What changed after a revision: at once if anything did, else as soon as something does,
    /// and with no changes after `wait` or [`WATCH_WAIT_MAX`].
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached, or has too many watchers.
    pub async fn watch(
        &self,
        service: Option<&str>,
        after: Revision,
        wait: Duration,
    ) -> Result<Watched> {
        let request = Request::Watch {
            service: service.map(str::to_owned),
            after,
            wait_ms: millis(wait),
        };
        match self.ask(request).await? {
            Reply::Watched(watched) => Ok(watched),
            other => Err(unexpected("watch", &other)),
        }
    }

    /// Keeps a node registered, through outages of the registry, until the registration is
    /// dropped or deregistered.
    pub fn keep(&self, host: &Host, node: Node, ttl: Duration) -> Registration {
        Registration::start(self.clone(), host, node, ttl)
    }

    /// Keeps a list of the nodes of a service, through outages of the registry, until the last
    /// clone of what is returned is dropped.
    pub fn follow(&self, host: &Host, service: impl Into<String>) -> Following {
        Following::start(self.clone(), host, service.into())
    }

    /// The service behind the handle, to be served to others or put under layers.
    pub fn service(&self) -> AnyService<Call<Request>, Reply> {
        self.0.clone()
    }

    async fn ask(&self, request: Request) -> Result<Reply> {
        self.0.call(Call::new(request)).await
    }
}

fn unexpected(asked: &str, reply: &Reply) -> Error {
    Error::internal(format!("registry: {asked} was answered with {reply:?}"))
}

#[cfg(test)]
mod tests;
