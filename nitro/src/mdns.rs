//! A registry without a registry: nodes of a local network find each other by multicast DNS, with
//! nothing to install and nothing to configure.
//!
//! Each node is a service of DNS-SD (RFC 6763) of the type `_nitro._tcp`, with what the registry
//! lists as pairs in its TXT record, which any tool that browses services shows. A heartbeat is
//! the record said again with a number that has risen, and whoever has heard none for the node's
//! time lists it no longer; so does, sooner, whoever hears its good-bye. What is known is in this
//! process: a list or a watch asks nobody and waits for nothing.
//!
//! # What is not
//!
//! - **Trust.** Whoever is on the network can say anything, and in another's name: what is heard
//!   is checked for being a node, not for who says it. On a network with strangers use another
//!   registry, or check who answers.
//! - **Reach.** Multicast ends at the local network, and some networks, containers and virtual
//!   machines do not carry it at all.
//! - **Silence.** Each heartbeat is a packet to all: for many nodes choose a long time to live.
//!
//! It has sockets and a thread of its own, which the crate [`mdns_sd`] has, so it does not run in
//! a simulated cluster.

mod record;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use mdns_sd::{
    DaemonEvent, IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use tower::Service;

use self::record::{KIND, Sign, full_name, instance};
use crate::error::{Error, Result};
use crate::host::tasks::TaskGuard;
use crate::host::{Clock, Host};
use crate::latest;
use crate::port::Call;
use crate::registry::{Node, Registry, Reply, Request};
use crate::service::{AnyService, Calling};
use crate::time::Instant;

/// Nodes of others at a time, as many as a registry in memory holds.
const OTHERS_MAX: usize = 10_000;

/// How long a good-bye is waited for until it is on the network.
const GOODBYE_WAIT: Duration = Duration::from_secs(2);

/// How long until it is listened again after that has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Where it speaks and listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The port: those of one port find each other.
    pub port: u16,
    /// On which interfaces.
    pub interfaces: Interfaces,
}

impl Default for Settings {
    /// The port of mDNS, 5353, on all interfaces.
    fn default() -> Self {
        Self {
            port: mdns_sd::MDNS_PORT,
            interfaces: Interfaces::All,
        }
    }
}

/// Interfaces of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// All there are, the loopback among them: processes of one machine find each other without
    /// a network.
    All,
    /// The loopback: only processes of this machine find each other.
    Loopback,
    /// Those of these names.
    Named(Vec<String>),
}

/// A node's ear and voice on the network. Dropping it ends it, with a good-bye for all that was
/// registered here.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::mdns::{Interfaces, Mdns, Settings};
/// use nitro::registry::Node;
///
/// let host = nitro::host::tokio::host();
/// let interfaces = Interfaces::Loopback;
/// let mdns = Mdns::start(&host, Settings { port: 15_353, interfaces })?;
/// let registry = mdns.registry();
/// let node = Node::new("greeter", "greeter-1", "127.0.0.1:4000".parse()?);
/// registry.register(node, std::time::Duration::from_secs(30)).await?;
/// assert_eq!(registry.list(Some("greeter")).await?.nodes.len(), 1);
/// mdns.stop().await
/// # }
/// ```
pub struct Mdns {
    known: Arc<Known>,
    _tending: TaskGuard,
}

/// What is known here.
struct Known {
    clock: Arc<dyn Clock>,
    daemon: ServiceDaemon,
    /// All nodes, of this process and of others.
    nodes: Registry,
    state: Mutex<State>,
    /// That a node of this process ends at another time.
    changed: latest::Sender<()>,
}

#[derive(Default)]
struct State {
    /// The nodes of this process, by full name.
    own: BTreeMap<String, Own>,
    /// The last number that was heard of each other, also of those that have gone since: what
    /// was said before does not bring them back.
    others: BTreeMap<String, Other>,
}

struct Own {
    sign: Sign,
    until: Instant,
}

struct Other {
    service: String,
    id: String,
    beat: u64,
}

impl Mdns {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// When the machine has no more threads or descriptors. That a port or an interface cannot be
    /// used is logged, and tried again: networks come and go.
    pub fn start(host: &Host, settings: Settings) -> Result<Self> {
        let daemon = ServiceDaemon::new_with_port(settings.port).map_err(explain)?;
        let only = match settings.interfaces {
            Interfaces::All => Vec::new(),
            Interfaces::Loopback => vec![IfKind::LoopbackV4, IfKind::LoopbackV6],
            Interfaces::Named(names) => names.into_iter().map(IfKind::Name).collect(),
        };
        if !only.is_empty() {
            daemon.disable_interface(IfKind::All).map_err(explain)?;
            daemon.enable_interface(only).map_err(explain)?;
        }
        let known = Arc::new(Known {
            clock: Arc::clone(&host.clock),
            daemon,
            nodes: Registry::memory(host),
            state: Mutex::default(),
            changed: latest::Sender::new(()),
        });
        let tending = Arc::clone(&known).tend();
        let task = host.tasks.spawn("mdns", Box::pin(tending));
        Ok(Self {
            known,
            _tending: task.abort_on_drop(),
        })
    }

    /// The registry.
    pub fn registry(&self) -> Registry {
        Registry::new(Handle {
            known: Arc::clone(&self.known),
            nodes: self.known.nodes.service(),
        })
    }

    /// The registry, with which it lives: it ends when the last handle of that is dropped.
    pub fn into_registry(self) -> Registry {
        let registry = self.registry().service();
        let mdns = Arc::new(self);
        Registry::new(Living { registry, mdns })
    }

    /// Says good-bye for all that was registered here, and ends it.
    ///
    /// # Errors
    ///
    /// When the good-byes take too long: the nodes then expire.
    pub async fn stop(self) -> Result<()> {
        let ended = self.known.daemon.shutdown().map_err(explain)?;
        let ended = self.known.clock.timeout(GOODBYE_WAIT, ended.recv_async());
        let late = |_| Error::deadline_exceeded("mdns: the good-byes take too long");
        ended.await.map_err(late).map(drop)
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // It has ended if it was stopped.
        let _ = self.known.daemon.shutdown();
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while nodes are held")
    }

    /// Says a node of this process, anew or again.
    fn say(&self, node: Node, ttl: Duration) -> Result<()> {
        let full_name = full_name(&node.service, &node.id);
        let mut state = self.lock();
        let before = state.own.get(&full_name).map_or(0, |own| own.sign.beat);
        let heard = state.others.get(&full_name).map_or(0, |other| other.beat);
        // By the time of day, so that it rises past a restart as well.
        let beat = self.clock.wall().as_unix_seconds().saturating_mul(1_000);
        let beat = beat.max(before.max(heard).saturating_add(1));
        let sign = Sign { node, ttl, beat };
        self.daemon.register(told(&sign)?).map_err(explain)?;
        let until = self.clock.now() + ttl;
        state.own.insert(full_name, Own { sign, until });
        drop(state);
        self.changed.set(());
        Ok(())
    }

    /// The node of this process, if it is one.
    fn own(&self, service: &str, id: &str) -> Option<Node> {
        let state = self.lock();
        let own = state.own.get(&full_name(service, id))?;
        Some(own.sign.node.clone())
    }

    /// Says a node's good-bye; answers whether it was of this process.
    async fn bid_farewell(&self, full_name: &str) -> Result<bool> {
        {
            let mut state = self.lock();
            let Some(own) = state.own.remove(full_name) else {
                return Ok(false);
            };
            let Sign { node, beat, .. } = own.sign;
            let (service, id) = (node.service, node.id);
            // Its own echo does not bring it back.
            let other = Other { service, id, beat };
            state.others.insert(full_name.to_owned(), other);
        }
        let said = self.daemon.unregister(full_name).map_err(explain)?;
        let _ = self.clock.timeout(GOODBYE_WAIT, said.recv_async()).await;
        Ok(true)
    }

    /// Listens for as long as it is not aborted.
    async fn tend(self: Arc<Self>) {
        loop {
            match (self.daemon.browse(KIND), self.daemon.monitor()) {
                (Ok(services), Ok(troubles)) => self.attend(&services, &troubles).await,
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "mdns cannot listen");
                }
            }
            // Who was too slow has missed something, and begins anew.
            self.clock.sleep(PAUSE).await;
        }
    }

    async fn attend(&self, services: &Receiver<ServiceEvent>, troubles: &Receiver<DaemonEvent>) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_seen();
            let wake_at = self.let_go().await;
            let waiting = async {
                match wake_at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = services.recv_async() => match event {
                    Ok(event) => self.take(event).await,
                    Err(_) => return,
                },
                trouble = troubles.recv_async() => match trouble {
                    Ok(DaemonEvent::Error(error)) => tracing::warn!(%error, "mdns has trouble"),
                    Ok(_) => {}
                    Err(_) => return,
                },
                _ = changed.changed() => {}
                () = waiting => {}
            }
        }
    }

    /// Says good-bye for nodes of this process whose heartbeats have stopped; answers when the
    /// next is due.
    async fn let_go(&self) -> Option<Instant> {
        let now = self.clock.now();
        let due: Vec<String> = {
            let state = self.lock();
            let due = state.own.iter().filter(|(_, own)| own.until <= now);
            due.map(|(name, _)| name.clone()).collect()
        };
        for full_name in due {
            if let Err(error) = self.bid_farewell(&full_name).await {
                tracing::warn!(%error, "mdns cannot say good-bye");
            }
        }
        self.lock().own.values().map(|own| own.until).min()
    }

    async fn take(&self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(found) => {
                if let Err(error) = self.hear(&found).await {
                    let name = found.get_fullname();
                    tracing::debug!(name, %error, "mdns has heard what is no node");
                }
            }
            ServiceEvent::ServiceRemoved(_, full_name) => {
                let gone = self.lock().others.remove(&full_name.to_lowercase());
                if let Some(Other { service, id, .. }) = gone {
                    let _ = self.nodes.deregister(&service, &id).await;
                }
            }
            _ => {}
        }
    }

    /// Takes in what another has said.
    async fn hear(&self, found: &ResolvedService) -> Result<()> {
        let full_name = found.get_fullname().to_lowercase();
        let pairs = found.get_properties().iter();
        let sign = Sign::read(&full_name, pairs.map(|pair| (pair.key(), pair.val())))?;
        {
            let mut state = self.lock();
            let known = state.others.get(&full_name).map(|other| other.beat);
            if state.own.contains_key(&full_name) || known.is_some_and(|beat| beat >= sign.beat) {
                return Ok(());
            }
            if known.is_none() && state.others.len() >= OTHERS_MAX {
                return Err(Error::resource_exhausted(format!(
                    "mdns: {OTHERS_MAX} nodes are known, the most there can be"
                )));
            }
            let other = Other {
                service: sign.node.service.clone(),
                id: sign.node.id.clone(),
                beat: sign.beat,
            };
            state.others.insert(full_name, other);
        }
        self.nodes.register(sign.node, sign.ttl).await.map(drop)
    }
}

/// A node as the crate wants it. Its name is drawn from its id, so nobody needs to be asked
/// whether the name is free; where others reach it is among its pairs.
fn told(sign: &Sign) -> Result<ServiceInfo> {
    let name = instance(&sign.node.service, &sign.node.id);
    let host_name = format!("{name}.local.");
    let pairs = sign.pairs()?;
    let info = ServiceInfo::new(KIND, &name, &host_name, "", sign.port(), &pairs[..]);
    let mut info = info.map_err(explain)?.enable_addr_auto();
    info.set_requires_probe(false);
    Ok(info)
}

/// An error of the crate as nitro's own: that its queue is full, or that it has ended.
fn explain(error: mdns_sd::Error) -> Error {
    Error::unavailable(format!("mdns: {error}")).with_source(error)
}

/// The registry that is handed out.
#[derive(Clone)]
struct Handle {
    known: Arc<Known>,
    nodes: AnyService<Call<Request>, Reply>,
}

impl Handle {
    async fn answer(self, call: Call<Request>) -> Result<Reply> {
        match &call.request {
            Request::Register { node, ttl_ms } => {
                node.check()?;
                let (node, ttl) = (node.clone(), Duration::from_millis(*ttl_ms));
                // What the list refuses is not said, and what cannot be said is not listed.
                let sign = Sign {
                    node: node.clone(),
                    ttl,
                    beat: u64::MAX,
                };
                sign.pairs()?;
                let registered = self.nodes.call(call).await?;
                self.known.say(node, ttl)?;
                Ok(registered)
            }
            Request::Heartbeat {
                service,
                id,
                ttl_ms,
            } => {
                let ttl = Duration::from_millis(*ttl_ms);
                let Some(node) = self.known.own(service, id) else {
                    return Err(Error::not_found(format!(
                        "mdns: node {id} of {service} is not registered here: register it again"
                    )));
                };
                let kept = self.nodes.call(call).await?;
                self.known.say(node, ttl)?;
                Ok(kept)
            }
            Request::Deregister { service, id } => {
                // Others' nodes are theirs to take off the list.
                let is_own = self.known.own(service, id).is_some();
                match is_own {
                    true => {
                        let full_name = full_name(service, id);
                        let answered = self.nodes.call(call).await?;
                        self.known.bid_farewell(&full_name).await?;
                        Ok(answered)
                    }
                    false => Ok(Reply::Deregistered(false)),
                }
            }
            Request::List { .. } | Request::Watch { .. } => self.nodes.call(call).await,
        }
    }
}

impl Service<Call<Request>> for Handle {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        Box::pin(self.clone().answer(call))
    }
}

/// A registry that keeps what it is of alive.
#[derive(Clone)]
struct Living {
    registry: AnyService<Call<Request>, Reply>,
    mdns: Arc<Mdns>,
}

impl Service<Call<Request>> for Living {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let (answering, mdns) = (self.registry.call(call), Arc::clone(&self.mdns));
        Box::pin(async move {
            let answer = answering.await;
            drop(mdns);
            answer
        })
    }
}

impl std::fmt::Debug for Mdns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.known.lock();
        f.debug_struct("Mdns")
            .field("own", &state.own.len())
            .field("others", &state.others.len())
            .finish()
    }
}
