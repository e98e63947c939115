//! The whole client stack on one screen, the outermost layer first.

use std::sync::Arc;
use std::time::Duration;

use tower::{Service, ServiceBuilder};

use crate::error::Error;
use crate::host::{Clock, Host, SharedTimers};
use crate::layer::{Budget, DeadlineLayer, RetryLayer, RetryPolicy, TraceLayer};
use crate::rpc::deadline::Messages;
use crate::rpc::{Request, Response, Rpc};

/// What of the stack can be set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClientSettings {
    /// How long a call may take in all, retries included, unless it says less.
    pub timeout: Duration,
    /// How often and how fast to try again.
    pub retry: RetryPolicy,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            retry: RetryPolicy::default(),
        }
    }
}

/// Puts the layers of a client around what picks a node and calls it.
pub fn stack<S>(host: &Host, settings: &ClientSettings, balance: S) -> Rpc
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    stack_over(host, settings, balance, false)
}

/// The same; over what `begins_at_once`, the time is looked at once for all of it.
pub(super) fn stack_over<S>(
    host: &Host,
    settings: &ClientSettings,
    balance: S,
    begins_at_once: bool,
) -> Rpc
where
    S: Service<Request, Response = Response> + Clone + Send + Sync + 'static,
    S::Error: Into<Error>,
    S::Future: Send,
{
    // Most time limits never come: one timer for all of them.
    let timers = SharedTimers::new(host);
    let shared: Arc<dyn Clock> = Arc::new(timers.clone());
    let clock = || Arc::clone(&shared);
    let entropy = || Arc::clone(&host.entropy);
    let budget = Budget::new(timers.now());
    let mut limit = DeadlineLayer::new(timers.clone(), settings.timeout).holding(Messages);
    if begins_at_once {
        limit = limit.handing_on();
    }
    let stack = ServiceBuilder::new()
        // Outermost, so that one span holds every attempt and the waits between.
        .layer(TraceLayer::client(clock(), entropy()))
        // One time limit for all attempts together, and for the messages that follow: a caller
        // waits once.
        .layer(limit)
        // Below the limit and above the choice of a node, so that each attempt chooses anew.
        .layer(RetryLayer::new(clock(), entropy(), settings.retry, budget))
        .service(balance);
    Rpc::new(stack)
}
