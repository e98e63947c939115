//! The whole server stack on one screen, the outermost layer first.

use std::sync::Arc;
use std::time::Duration;

use tower::{Service, ServiceBuilder};

use crate::error::Error;
use crate::host::{Clock, Host, SharedTimers};
use crate::layer::{AdaptiveLayer, CatchPanicLayer, DeadlineLayer, ShedLayer, TraceLayer};
use crate::rpc::deadline::Messages;
use crate::rpc::{Request, Response, Rpc};

/// What of the stack can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Calls under way at once; further ones are refused as overload, safe to repeat elsewhere.
    pub in_flight_max: usize,
    /// Whether calls are refused as well that would not be answered in time: while callers' time
    /// runs out, fewer of a method are let in at once. See [`adaptive`](crate::layer::adaptive).
    pub is_adaptive: bool,
    /// How long a handler and its messages may take. A caller's deadline that is sooner goes before
    /// it; one that is later does not, so that every call here has an end.
    pub timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            in_flight_max: 16 * 1024,
            is_adaptive: true,
            timeout: Duration::from_secs(60),
        }
    }
}

/// Puts the layers of a server around a router, or around any service.
pub fn stack<S>(host: &Host, settings: &ServerSettings, service: S) -> Rpc
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    // Most time limits never come: one timer for all of them.
    let timers = SharedTimers::new(host);
    let shared: Arc<dyn Clock> = Arc::new(timers.clone());
    let clock = || Arc::clone(&shared);
    let entropy = Arc::clone(&host.entropy);
    let limit = DeadlineLayer::new(timers.clone(), settings.timeout).holding(Messages);
    let outer = ServiceBuilder::new()
        // Outermost, so that whatever panics below, the caller has an answer.
        .layer(CatchPanicLayer)
        // Above shedding and deadlines, so that refused and late calls are seen too.
        .layer(TraceLayer::server(clock(), entropy))
        // Before anything that costs: an overloaded server says no at once.
        .layer(ShedLayer::new(settings.in_flight_max));
    // Close to the handler, so that the time limit drops the handler itself; a stream of answers is
    // under it as well.
    let inner = ServiceBuilder::new().layer(limit).service(service);
    if !settings.is_adaptive {
        return Rpc::new(outer.service(inner));
    }
    // Above the deadline, whose misses it learns from: a queue that is longer than callers wait
    // would have all work done for nobody.
    let adaptive = AdaptiveLayer::new(clock(), settings.in_flight_max);
    Rpc::new(outer.layer(adaptive).service(inner))
}
