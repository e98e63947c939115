//! A registry in memory: for one process, or served to others.

mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::latest;
use tower::Service;

use self::state::State;
use super::{Listed, Reply, Request, Revision, TTL_MAX, WATCH_WAIT_MAX, Watched};
use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::port::Call;
use crate::service::Calling;
use crate::time::Instant;

/// How much a [`Memory`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes at a time.
    pub nodes_max: usize,
    /// Changes that a watcher can lag behind and still be told one by one.
    pub changes_max: usize,
    /// Watchers that wait at a time.
    pub watchers_max: usize,
}

impl Default for Limits {
    /// Some tens of megabytes at the most.
    fn default() -> Self {
        Self {
            nodes_max: 10_000,
            changes_max: 4_096,
            watchers_max: 10_000,
        }
    }
}

/// A registry in memory. Clones are the same registry.
///
/// It has no task of its own: nodes expire when the next request comes, and a watcher that waits
/// wakes for the next expiry. To everyone who asks that is the same as expiring on time.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes watchers at every change.
    changed: latest::Sender<()>,
    watchers_max: usize,
}

impl Memory {
    /// An empty registry, unlike any other before it.
    pub fn new(host: &Host, limits: Limits) -> Self {
        let epoch = host.entropy.next_u64().max(1);
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            state: Mutex::new(State::new(epoch, limits)),
            changed: latest::Sender::new(()),
            watchers_max: limits.watchers_max,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Service<Call<Request>> for Memory {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match call.request {
                Request::Register { node, ttl_ms } => {
                    node.check()?;
                    let ttl = checked_ttl(ttl_ms)?;
                    let revision = shared.at_now(|state, now| state.register(node, now, ttl))?;
                    Ok(Reply::Registered(revision))
                }
                Request::Heartbeat {
                    service,
                    id,
                    ttl_ms,
                } => {
                    let ttl = checked_ttl(ttl_ms)?;
                    shared.at_now(|state, now| state.heartbeat((service, id), now, ttl))?;
                    Ok(Reply::Kept)
                }
                Request::Deregister { service, id } => {
                    let was_listed = shared.at_now(|state, _| state.deregister((service, id)));
                    Ok(Reply::Deregistered(was_listed))
                }
                Request::List { service } => {
                    let listed = shared.at_now(|state, _| state.list(service.as_deref()));
                    Ok(Reply::Listed(listed))
                }
                Request::Watch {
                    service,
                    after,
                    wait_ms,
                } => {
                    let wait = Duration::from_millis(wait_ms).min(WATCH_WAIT_MAX);
                    let until = shared.clock.now() + wait;
                    let until = call.deadline.map_or(until, |by| by.min(until));
                    let watched = shared.watch(service.as_deref(), after, until).await?;
                    Ok(Reply::Watched(watched))
                }
            }
        })
    }
}

impl Shared {
    /// Does something with the state as it is now, and wakes watchers if that changed anything.
    fn at_now<R>(&self, what: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.clock.now();
        // Nothing in the state's methods panics half-way, so a poisoned state is a whole one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.revision();
        state.expire(now);
        let done = what(&mut state, now);
        if state.revision() != before {
            self.changed.set(());
        }
        done
    }

    async fn watch(
        &self,
        service: Option<&str>,
        after: Revision,
        until: Instant,
    ) -> Result<Watched> {
        let mut changed = self.changed.subscribe();
        if self.changed.receivers() > self.watchers_max {
            return Err(Error::resource_exhausted(format!(
                "registry: more than {} watchers are waiting",
                self.watchers_max
            )));
        }
        let mut after = after;
        loop {
            // Marked as seen before looking, so that no change falls in between.
            changed.mark_seen();
            let (watched, next_expiry, now) =
                self.at_now(|state, now| (state.changes(service, after), state.next_expiry(), now));
            match &watched {
                Watched::Changes { changes, revision } if changes.is_empty() && now < until => {
                    // What was passed over concerns other services.
                    after = *revision;
                }
                _ => return Ok(watched),
            }
            let wake_at = next_expiry.map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
    }
}

fn checked_ttl(ttl_ms: u64) -> Result<Duration> {
    let ttl = Duration::from_millis(ttl_ms);
    if ttl.is_zero() || ttl > TTL_MAX {
        return Err(Error::invalid_argument(format!(
            "registry: ttl of {ttl_ms} ms: expected 1 ms to a day ({} ms); \
             heartbeats keep a node listed for longer",
            TTL_MAX.as_millis()
        )));
    }
    Ok(ttl)
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Listed { nodes, revision } = self.shared.at_now(|state, _| state.list(None));
        f.debug_struct("Memory")
            .field("nodes", &nodes.len())
            .field("revision", &revision)
            .finish()
    }
}

#[cfg(test)]
mod tests;
