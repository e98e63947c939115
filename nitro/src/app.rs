//! An application: a service that listens, is found by others, and stops in good order.

pub mod fabric;
mod hooks;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tower::Service;

pub use fabric::Fabric;

use self::hooks::Hooks;
use crate::address::Address;
use crate::client::{self, Client};
use crate::error::{Error, Result};
use crate::registry::{Node, Registration};
use crate::rpc::{Request, Response, Router, Rpc};
use crate::server::stack::{ServerSettings, stack};
use crate::server::{Server, Serving};

/// How long a registration lasts without a heartbeat.
const TTL: Duration = Duration::from_secs(30);
/// How long the registry may take to answer for the first time before the start fails.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take to finish at a stop.
const GRACE: Duration = Duration::from_secs(10);

/// A service and how it is run.
///
/// Without further settings it listens within the process and is found by its siblings there:
///
/// ```
/// use nitro::app::{App, Fabric};
/// use nitro::codec::Text;
/// use nitro::rpc::{Call, Method, Router};
///
/// const SHOUT: Method<String, String> = Method::unary("text/shout");
///
/// async fn shout(_call: Call, text: String) -> nitro::Result<String> {
///     Ok(text.to_uppercase())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// let fabric = Fabric::new(&nitro::host::tokio::host());
/// let router = Router::new().unary(&SHOUT, Text, shout);
/// let app = App::new(&fabric, "text").router(router).start().await?;
///
/// let client = app.client("text", Text);
/// assert_eq!(client.call(&SHOUT, "hello".to_owned()).await?, "HELLO");
/// app.stop().await
/// # }
/// ```
pub struct App {
    fabric: Fabric,
    name: String,
    version: String,
    labels: BTreeMap<String, String>,
    weight: u32,
    listen: Option<Address>,
    advertise: Option<Address>,
    router: Router,
    wrap: Vec<Wrap>,
    settings: ServerSettings,
    ttl: Duration,
    grace: Duration,
    hooks: Hooks,
}

type Wrap = Box<dyn FnOnce(Rpc) -> Rpc + Send>;

impl App {
    /// An application of this name, among those that share the fabric.
    pub fn new(fabric: &Fabric, name: impl Into<String>) -> Self {
        Self {
            fabric: fabric.clone(),
            name: name.into(),
            version: String::new(),
            labels: BTreeMap::new(),
            weight: 1,
            listen: None,
            advertise: None,
            router: Router::new(),
            wrap: Vec::new(),
            settings: ServerSettings::default(),
            ttl: TTL,
            grace: GRACE,
            hooks: Hooks::default(),
        }
    }

    /// Sets the version that it runs.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Says something about the node, for filters and for people.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets the node's share of the calls, for selectors by weight.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets where it listens; without, within the process only, or on a free port in a fabric of
    /// the local network.
    pub fn listen(mut self, address: Address) -> Self {
        self.listen = Some(address);
        self
    }

    /// Sets the address that others are told; without, the one it listens at, which in a fabric of
    /// the local network is this machine's where it listens at every one.
    pub fn advertise(mut self, address: Address) -> Self {
        self.advertise = Some(address);
        self
    }

    /// Sets the methods that it serves.
    pub fn router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Puts a tower layer close around the router, below the layers of the server's stack. Of
    /// several, the first is the outermost.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: tower::Layer<Rpc> + Send + 'static,
        L::Service: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Error: Into<Error>,
        <L::Service as Service<Request>>::Future: Send,
    {
        let wrap = move |rpc| Rpc::new(layer.layer(rpc));
        self.wrap.push(Box::new(wrap));
        self
    }

    /// Sets the limits of the server's stack.
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets how long its registration lasts without a heartbeat.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how long calls under way may take to finish at a stop.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs before anything listens; an error keeps the application from starting.
    pub fn before_start<F: Future<Output = Result<()>> + Send + 'static>(
        mut self,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.hooks.before_start.push(hooks::boxed(hook));
        self
    }

    /// Runs once it listens and is registered; an error stops it again.
    pub fn after_start<F: Future<Output = Result<()>> + Send + 'static>(
        mut self,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.hooks.after_start.push(hooks::boxed(hook));
        self
    }

    /// Runs before it is taken off the registry; errors are collected, and it stops all the same.
    pub fn before_stop<F: Future<Output = Result<()>> + Send + 'static>(
        mut self,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.hooks.before_stop.push(hooks::boxed(hook));
        self
    }

    /// Runs when it listens no more; errors are collected.
    pub fn after_stop<F: Future<Output = Result<()>> + Send + 'static>(
        mut self,
        hook: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        self.hooks.after_stop.push(hooks::boxed(hook));
        self
    }

    /// Starts: hooks, then listening, then registering, then hooks.
    ///
    /// # Errors
    ///
    /// The first thing that fails; what had started is stopped again.
    pub async fn start(mut self) -> Result<Running> {
        for hook in std::mem::take(&mut self.hooks.before_start) {
            hook().await?;
        }
        let host = self.fabric.host().clone();
        let id = format!("{}-{}", self.name, host.entropy.id());
        let router = Rpc::new(self.router);
        let innermost_first = self.wrap.into_iter().rev();
        let wrapped = innermost_first.fold(router, |rpc, wrap| wrap(rpc));
        let service = stack(&host, &self.settings, wrapped);
        let listen = self.listen.unwrap_or_else(|| self.fabric.listen(&id));
        let server = Server::new(&host, self.fabric.transport(), service.clone());
        let serving = server.listen(&listen).await?;
        let advertised = || self.fabric.advertised(serving.address());
        let address = self.advertise.unwrap_or_else(advertised);
        let node = Node {
            version: self.version,
            labels: self.labels,
            weight: self.weight,
            ..Node::new(&self.name, &id, address)
        };
        // The registration would try for ever what can never be registered.
        node.check()?;
        let registry = self.fabric.registry();
        let mut registration = registry.keep(&host, node.clone(), self.ttl);
        let registered = host
            .clock
            .timeout(REGISTER_TIMEOUT, registration.registered());
        let registered = registered.await.unwrap_or_else(|_| {
            let message = format!("the registry did not answer within {REGISTER_TIMEOUT:?}");
            Err(Error::unavailable(message))
        });
        let after_start = std::mem::take(&mut self.hooks.after_start);
        let running = Running {
            fabric: self.fabric,
            node,
            service,
            serving,
            registration,
            grace: self.grace,
            hooks: self.hooks,
        };
        let mut outcome = registered;
        for hook in after_start {
            if outcome.is_ok() {
                outcome = hook().await;
            }
        }
        match outcome {
            Ok(()) => Ok(running),
            Err(error) => {
                // The first error tells what went wrong; those of the stop follow from it.
                let _ = running.stop().await;
                Err(error)
            }
        }
    }

    /// Starts, waits for `stop`, and stops in good order. On a real machine `stop` is
    /// [`shutdown_signal`](crate::host::tokio::shutdown_signal).
    ///
    /// # Errors
    ///
    /// As [`App::start`] and [`Running::stop`].
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        let running = self.start().await?;
        stop.await;
        running.stop().await
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("name", &self.name)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}

/// An application that has started. Dropping it stops it at once; [`Running::stop`] in good order.
pub struct Running {
    fabric: Fabric,
    node: Node,
    service: Rpc,
    serving: Serving,
    registration: Registration,
    grace: Duration,
    hooks: Hooks,
}

impl Running {
    /// The node as others find it.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The server's side of it.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }

    /// Whether it is registered, and since when not.
    pub fn health(&self) -> crate::registry::Health {
        self.registration.health()
    }

    /// What it serves, to be called with no wire between.
    pub fn service(&self) -> Rpc {
        self.service.clone()
    }

    /// A client of any service of the fabric, with the default stack.
    pub fn client<C>(&self, service: impl Into<String>, codec: C) -> Client<C> {
        self.fabric.client(service, codec)
    }

    /// A client of any service of the fabric, to be set up further.
    pub fn client_builder(&self, service: impl Into<String>) -> client::Builder {
        self.fabric.client_builder(service)
    }

    /// Stops: hooks, then off the registry, then draining, then hooks.
    ///
    /// # Errors
    ///
    /// All that failed, in one error; it has stopped all the same.
    pub async fn stop(self) -> Result<()> {
        let mut errors = Vec::new();
        for hook in self.hooks.before_stop {
            errors.extend(hook().await.err());
        }
        let clock = Arc::clone(&self.fabric.host().clock);
        let deregistered = clock
            .timeout(self.grace, self.registration.deregister())
            .await;
        errors.extend(deregistered.ok().and_then(Result::err));
        let cut = self.serving.stop(self.grace).await;
        if cut > 0 {
            let message = format!("{cut} calls did not finish within {:?}", self.grace);
            errors.push(Error::deadline_exceeded(message));
        }
        for hook in self.hooks.after_stop {
            errors.extend(hook().await.err());
        }
        hooks::joined(errors)
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
