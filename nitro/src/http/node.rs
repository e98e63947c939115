//! What a node of the broker does when it is asked, and by itself: keeps its members registered,
//! and a courier for each subscription that the registry lists.

mod couriers;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hyper::header::HeaderMap;
use tower::Service;

use self::couriers::Couriers;
use super::client::Client;
use super::courier::Carrying;
use super::event::{self, names};
use super::inbox::{Arrival, Inbox, Outcome};
use super::{Settings, members};
use crate::address::Address;
use crate::broker::check::same_terms;
use crate::broker::{Broker, Consumer, Message, Reply, Request, WAIT_MAX};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::host::clock::Elapsed;
use crate::port::{Call, PortRequest};
use crate::registry::{self, Following, Registration, Registry};
use crate::service::Calling;
use crate::time::Instant;

/// How long subscribing waits for the registry.
const REGISTER_WAIT: Duration = Duration::from_secs(5);

/// How long another node may take to forget a subscription, and how many are told at once.
const FORGET_TIMEOUT: Duration = Duration::from_secs(2);
const FORGET_AT_ONCE: usize = 16;

/// How often it looks after what changes only with time.
const TEND_EVERY: Duration = Duration::from_secs(5);

/// A node of the broker.
pub(super) struct Node {
    carrying: Arc<Carrying>,
    couriers: Couriers,
    registry: Registry,
    following: Following,
    settings: Settings,
    address: Address,
    /// The members of this node, by subscription.
    members: Mutex<BTreeMap<String, Registration>>,
    /// How many members it has had: each has an id of its own.
    count: AtomicU64,
    /// Members come and go one at a time.
    subscribing: tokio::sync::Mutex<()>,
    /// That it is there, so that others tell it what to forget.
    presence: Mutex<Option<Registration>>,
    is_over: AtomicBool,
}

impl Node {
    pub(super) fn new(
        host: &Host,
        registry: &Registry,
        outbox: &Broker,
        settings: Settings,
        address: &Address,
    ) -> Result<Arc<Self>> {
        let id: Arc<str> = host.entropy.id().into();
        let presence = registry::Node::new(&*settings.service, &*id, address.clone());
        presence.check()?;
        let carrying = Arc::new(Carrying {
            host: host.clone(),
            outbox: outbox.clone(),
            client: Client::new(host),
            inbox: Inbox::new(&host.clock),
            node: id,
        });
        Ok(Arc::new(Self {
            couriers: Couriers::new(&carrying, settings.forget_after),
            carrying,
            registry: registry.clone(),
            following: registry.follow(host, &*settings.service),
            presence: Mutex::new(Some(registry.keep(host, presence, settings.ttl))),
            subscribing: tokio::sync::Mutex::default(),
            settings,
            address: address.clone(),
            members: Mutex::default(),
            count: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }))
    }

    fn host(&self) -> &Host {
        &self.carrying.host
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, Registration>> {
        self.members
            .lock()
            .expect("no panic while members are held")
    }

    /// Follows the registry until it is aborted.
    pub(super) async fn tend(self: Arc<Self>) {
        let mut following = self.following.clone();
        loop {
            let nodes = following.nodes();
            self.couriers.follow(&nodes).await;
            for name in self.carrying.inbox.close_idle() {
                tracing::debug!(subscription = name, "nobody has pulled for a while");
                drop(self.members().remove(&name));
            }
            let changed = following.changed(&nodes);
            if let Ok(Err(_)) = self.host().clock.timeout(TEND_EVERY, changed).await {
                return;
            }
        }
    }

    /// Ends all that goes on here.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.couriers.end();
        drop(self.registrations());
    }

    fn registrations(&self) -> Vec<Registration> {
        let presence = self
            .presence
            .lock()
            .expect("no panic while it is held")
            .take();
        let members = std::mem::take(&mut *self.members());
        members.into_values().chain(presence).collect()
    }

    /// Takes all its members off the list.
    pub(super) async fn leave(&self) {
        let leaving = self
            .registrations()
            .into_iter()
            .map(Registration::deregister);
        for left in futures_util::future::join_all(leaving).await {
            if let Err(error) = left {
                tracing::warn!(%error, "a member expires instead of leaving");
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.is_over.load(Ordering::Acquire) {
            true => Err(Error::unavailable("broker: this node of it has ended")),
            false => Ok(()),
        }
    }

    /// Waits until a subscription is known here.
    pub(super) async fn knows(&self, subscription: &str) {
        self.couriers.knows(subscription).await;
    }

    /// Waits until all is known here that the registry has told.
    async fn know_all(&self, until: Instant) -> Result<()> {
        let mut following = self.following.clone();
        let clock = &self.host().clock;
        let knowing = async {
            following.ready().await?;
            self.couriers.know(&following).await;
            Ok(())
        };
        let known = clock.timeout_at(until, knowing).await;
        known.unwrap_or_else(|Elapsed| {
            Err(Error::unavailable(
                "broker: who subscribes is not known: the registry, or the outbox, is away",
            ))
        })
    }

    /// Publishes messages; answers the number of the last.
    async fn publish(&self, call: Call<Request>, until: Instant) -> Result<Reply> {
        self.know_all(until).await?;
        self.carrying.outbox.service().call(call).await
    }

    /// Publishes a message that came over HTTP.
    pub(super) async fn publish_one(&self, message: Message, wait: Duration) -> Result<()> {
        self.check_open()?;
        let until = self.host().clock.now() + wait;
        let request = Request::Publish {
            messages: vec![message],
            wait_ms: crate::port::millis(wait),
        };
        self.publish(Call::new(request), until).await.map(drop)
    }

    async fn subscribe(&self, name: &str, consumer: Consumer) -> Result<()> {
        if let Some(terms) = self.couriers.terms(name) {
            same_terms(name, &terms, &consumer)?;
        }
        let _turn = self.subscribing.lock().await;
        self.carrying.inbox.open(name, &consumer);
        if self.members().contains_key(name) {
            return Ok(());
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}/{number}", self.carrying.node);
        let mut node = registry::Node::new(&*self.settings.service, &*id, self.address.clone());
        node.labels = members::labels(name, &consumer);
        let mut member = self.registry.keep(self.host(), node, self.settings.ttl);
        let clock = &self.host().clock;
        let registered = clock.timeout(REGISTER_WAIT, member.registered()).await;
        registered.unwrap_or_else(|Elapsed| {
            let message = "broker: nobody would know of the subscription: the registry is away";
            Err(Error::unavailable(message))
        })?;
        self.members().insert(name.to_owned(), member);
        let member = members::Member {
            id: id.into(),
            address: self.address.clone(),
            path: members::PATH.into(),
        };
        self.couriers.join(name, &consumer, member).await
    }

    async fn unsubscribe(&self, name: &str) -> Result<bool> {
        let _turn = self.subscribing.lock().await;
        let was_open = self.carrying.inbox.close(name);
        let member = self.members().remove(name);
        let id = member.as_ref().map(|member| member.node().id.clone());
        if let Some(member) = member {
            // One that cannot be taken off the list expires.
            let _ = member.deregister().await;
        }
        let id = id.unwrap_or_default();
        self.forget(name, &id).await;
        let mut telling = Vec::new();
        for node in self.following.nodes().iter() {
            if node.labels.is_empty() && *node.id != *self.carrying.node {
                telling.push(self.tell_to_forget(node.address.clone(), name, &id));
            }
        }
        let told = futures_util::stream::iter(telling).buffer_unordered(FORGET_AT_ONCE);
        told.collect::<Vec<()>>().await;
        Ok(was_open)
    }

    async fn tell_to_forget(&self, to: Address, name: &str, member: &str) {
        let mut head = HeaderMap::new();
        event::set(&mut head, names::SUBSCRIPTION, name);
        event::set(&mut head, names::MEMBER, member);
        let client = &self.carrying.client;
        let posting = client.post((&to, "/forget"), head, Bytes::new(), FORGET_TIMEOUT);
        match posting.await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => tracing::debug!(%to, status = %answer.status, "it does not forget"),
            Err(trouble) => tracing::debug!(%to, ?trouble, "it has not heard to forget"),
        }
    }

    /// Forgets what waits here for a subscription of which a member has left.
    pub(super) async fn forget(&self, name: &str, member: &str) {
        self.couriers.forget(name, member).await;
    }

    /// Takes in a message that was posted.
    pub(super) async fn receive(&self, arrival: Arrival) -> Outcome {
        self.carrying.inbox.receive(arrival).await
    }

    pub(super) fn fresh_id(&self) -> String {
        self.host().entropy.id()
    }

    async fn answer(self: Arc<Self>, call: Call<Request>) -> Result<Reply> {
        self.check_open()?;
        call.request.check()?;
        let until = self.host().clock.now() + call.request.wait().min(WAIT_MAX);
        let until = call.deadline.map_or(until, |by| by.min(until));
        match call.request {
            Request::Publish { .. } => self.publish(call, until).await,
            Request::Subscribe {
                subscription,
                consumer,
            } => {
                self.subscribe(&subscription, consumer).await?;
                Ok(Reply::Subscribed)
            }
            Request::Pull {
                subscription,
                limit,
                ..
            } => {
                let inbox = &self.carrying.inbox;
                let pulled = inbox.pull(&subscription, limit, until).await?;
                Ok(Reply::Pulled(pulled))
            }
            Request::Settle {
                subscription,
                receipt,
                verdict,
            } => {
                let inbox = &self.carrying.inbox;
                inbox.settle(&subscription, receipt, verdict)?;
                Ok(Reply::Settled)
            }
            Request::Unsubscribe { subscription } => {
                let existed = self.unsubscribe(&subscription).await?;
                Ok(Reply::Unsubscribed(existed))
            }
        }
    }
}

/// The port that is a node.
#[derive(Clone)]
pub(super) struct Handle(pub(super) Arc<Node>);

impl Service<Call<Request>> for Handle {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        Box::pin(Arc::clone(&self.0).answer(call))
    }
}
