//! Leases that are broken on purpose: they end by the wall clock, which may jump.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use nitro::error::{Error, Result};
use nitro::host::{Clock, Host};
use nitro::port::Call;
use nitro::service::Calling;
use nitro::sync::{Reply, Request};
use tower::Service;

/// How often it is looked whether a lease has ended.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub(super) struct WallClock {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    token: u64,
    /// The owner and the token of each name, and when the lease ends.
    held: BTreeMap<String, (String, u64, u64)>,
}

impl WallClock {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            clock: Arc::clone(&host.clock),
            state: Arc::default(),
        }
    }

    fn take(&self, name: &str, owner: &str, ttl_ms: u64) -> Option<u64> {
        let now = self.clock.wall().as_unix_nanos() / 1_000_000;
        let mut state = self.state.lock().expect("no panic while it is held");
        if let Some((holder, _, until)) = state.held.get(name)
            && *until > now
            && holder != owner
        {
            return None;
        }
        state.token += 1;
        let mut token = state.token;
        if let Some((holder, held, _)) = state.held.get(name)
            && holder == owner
        {
            token = *held;
        }
        let held = (owner.to_owned(), token, now + ttl_ms);
        state.held.insert(name.to_owned(), held);
        Some(token)
    }

    fn holds(&self, name: &str, owner: &str) -> Result<()> {
        let state = self.state.lock().expect("no panic while it is held");
        let found = state.held.get(name);
        match found.is_some_and(|(holder, ..)| holder == owner) {
            true => Ok(()),
            false => Err(Error::not_found("the lease is another's")),
        }
    }
}

impl Service<Call<Request>> for WallClock {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let leases = self.clone();
        Box::pin(async move {
            match call.request {
                Request::Acquire {
                    name,
                    owner,
                    ttl_ms,
                    wait_ms,
                    ..
                } => {
                    let until = leases.clock.now() + Duration::from_millis(wait_ms);
                    let until = call.deadline.map_or(until, |by| by.min(until));
                    loop {
                        if let Some(token) = leases.take(&name, &owner, ttl_ms) {
                            return Ok(Reply::Granted(token));
                        }
                        if leases.clock.now() >= until {
                            return Ok(Reply::Busy);
                        }
                        leases.clock.sleep(PAUSE).await;
                    }
                }
                Request::Renew {
                    name,
                    owner,
                    ttl_ms,
                } => {
                    leases.holds(&name, &owner)?;
                    leases.take(&name, &owner, ttl_ms);
                    Ok(Reply::Renewed)
                }
                Request::Release { name, owner } => {
                    leases.holds(&name, &owner)?;
                    let mut state = leases.state.lock().expect("no panic while it is held");
                    state.held.remove(&name);
                    Ok(Reply::Released)
                }
                Request::Observe { .. } => Err(Error::unimplemented("nobody observes here")),
            }
        })
    }
}
