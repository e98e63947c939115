//! Joins what a client needs: nodes, a selector, the stack, a codec.

use std::time::Duration;

use tower::{Layer, Service};

use super::Client;
use super::balance::{Balance, Target};
use super::ejection::EjectionPolicy;
use super::endpoint::Dialer;
use super::stack::{ClientSettings, stack_over};
use crate::address::Address;
use crate::error::Error;
use crate::host::Host;
use crate::layer::RetryPolicy;
use crate::registry::Registry;
use crate::rpc::wire::Limits;
use crate::rpc::{Request, Response, Rpc};
use crate::selector::{Filter, LeastLoaded, Selector};
use crate::transport::Transport;

type Wrap = Box<dyn FnOnce(Rpc) -> Rpc + Send>;

/// Builds a client of one service.
pub struct Builder {
    service: String,
    dialer: Dialer,
    settings: ClientSettings,
    selector: Box<dyn Selector>,
    filter: Filter,
    attempt_timeout: Option<Duration>,
    ejection: EjectionPolicy,
    outer: Vec<Wrap>,
    inner: Vec<Wrap>,
}

impl Builder {
    /// A client of the service of this name, with the default stack and the least-loaded
    /// selector.
    pub fn new(host: &Host, transport: &Transport, service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            dialer: Dialer {
                host: host.clone(),
                transport: transport.clone(),
                limits: Limits::default(),
            },
            settings: ClientSettings::default(),
            selector: Box::new(LeastLoaded::from_seed(host.entropy.next_u64())),
            filter: Filter::default(),
            attempt_timeout: None,
            ejection: EjectionPolicy::default(),
            outer: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// Sets how a node is picked.
    pub fn selector(mut self, selector: impl Selector) -> Self {
        self.selector = Box::new(selector);
        self
    }

    /// Sets which nodes are wanted at all.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Sets how long a call may take in all, retries included, unless it says less.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets how long one attempt may take before an idempotent call is tried at another node.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets how often and how fast to try again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// Sets when a node that fails every call is ejected, and for how long.
    pub fn ejection(mut self, policy: EjectionPolicy) -> Self {
        self.ejection = policy;
        self
    }

    /// Sets what each connection accepts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.dialer.limits = limits;
        self
    }

    /// Puts a tower layer around the whole stack: it sees each call once. Of several, the first
    /// is the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Rpc> + Send + 'static,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<Error>,
        <L::Service as Service<Request>>::Future: Send,
    {
        self.outer
            .push(Box::new(move |rpc| Rpc::new(layer.layer(rpc))));
        self
    }

    /// Puts a tower layer below the retries: it sees each attempt. Of several, the first is the
    /// outermost.
    pub fn attempt_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Rpc> + Send + 'static,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<Error>,
        <L::Service as Service<Request>>::Future: Send,
    {
        self.inner
            .push(Box::new(move |rpc| Rpc::new(layer.layer(rpc))));
        self
    }

    /// A client of these nodes, and the cluster by which the list can be changed later.
    pub fn targets<C>(self, codec: C, targets: &[Target]) -> (Client<C>, Balance) {
        let host = self.dialer.host.clone();
        let (rpc, balance) = self.rpc(targets);
        (Client::new(&host, rpc, codec), balance)
    }

    /// The stack itself, to which any codec can be put, and the cluster by which the list can be
    /// changed later.
    pub fn rpc(self, targets: &[Target]) -> (Rpc, Balance) {
        let (rpc, balance) = self.build();
        balance.set(targets);
        (rpc, balance)
    }

    /// A client of one address.
    pub fn address<C>(self, codec: C, address: Address) -> Client<C> {
        self.targets(codec, &[Target::at(address)]).0
    }

    /// A client of the nodes that a registry lists, for as long as a clone of it lives.
    pub fn registry<C>(self, codec: C, registry: &Registry) -> Client<C> {
        self.following(codec, registry).0
    }

    /// The same, and the cluster, which tells how its nodes do.
    pub fn following<C>(self, codec: C, registry: &Registry) -> (Client<C>, Balance) {
        let host = self.dialer.host.clone();
        let following = registry.follow(&host, self.service.clone());
        let (rpc, balance) = self.build();
        balance.follow(following);
        (Client::new(&host, rpc, codec), balance)
    }

    fn build(self) -> (Rpc, Balance) {
        let host = self.dialer.host.clone();
        let balance = Balance::new(
            self.service,
            self.dialer,
            self.selector,
            self.filter,
            self.attempt_timeout,
            self.ejection,
        );
        let wrap = |rpc: Rpc, layers: Vec<Wrap>| {
            let innermost_first = layers.into_iter().rev();
            innermost_first.fold(rpc, |rpc, layer| layer(rpc))
        };
        // Without layers between, the stack is one type and a call through it one allocation.
        let rpc = if self.inner.is_empty() {
            stack_over(&host, &self.settings, balance.clone(), true)
        } else {
            let attempts = wrap(Rpc::new(balance.clone()), self.inner);
            stack_over(&host, &self.settings, attempts, false)
        };
        (wrap(rpc, self.outer), balance)
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("service", &self.service)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
