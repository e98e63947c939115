//! Leases in memory: for one process, or served to others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use super::{Holder, Reply, Request, WAIT_MAX, not_held};
use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::latest;
use crate::port::Call;
use crate::service::Calling;
use crate::time::Instant;

/// Tokens of one second: more than are ever granted in one.
const TOKENS_PER_SECOND: u64 = 1 << 30;

/// How much a [`Memory`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Leases at a time.
    pub leases_max: usize,
    /// Requests that wait at a time.
    pub waiters_max: usize,
}

impl Default for Limits {
    /// Some tens of megabytes at the most.
    fn default() -> Self {
        Self {
            leases_max: 100_000,
            waiters_max: 10_000,
        }
    }
}

/// Leases in memory. Clones are the same leases.
///
/// Tokens begin with the wall clock's seconds, so that they rise past a restart as well, as long
/// as that clock is not set back between the two. Leases themselves are timed by the clock that
/// never jumps.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes waiters when a lease is granted or ends.
    changed: latest::Sender<()>,
    limits: Limits,
}

struct State {
    /// The holders of each name, by token.
    names: BTreeMap<String, Vec<Held>>,
    leases: usize,
    last_token: u64,
}

struct Held {
    owner: String,
    note: String,
    token: u64,
    until: Instant,
}

impl Memory {
    /// No leases.
    pub fn new(host: &Host, limits: Limits) -> Self {
        // Seconds since 1970 fit 33 bits until the year 2242.
        let last_token = host.clock.wall().as_unix_seconds() * TOKENS_PER_SECOND;
        let state = State {
            names: BTreeMap::new(),
            leases: 0,
            last_token,
        };
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            state: Mutex::new(state),
            changed: latest::Sender::new(()),
            limits,
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
            call.request.check()?;
            match call.request {
                Request::Acquire {
                    name,
                    owner,
                    note,
                    permits,
                    ttl_ms,
                    wait_ms,
                } => {
                    let asked = Asked {
                        owner,
                        note,
                        permits: permits as usize,
                        ttl: Duration::from_millis(ttl_ms),
                    };
                    let leases_max = shared.limits.leases_max;
                    let granted = shared
                        .wait(
                            &name,
                            until(&*shared.clock, wait_ms, call.deadline),
                            |state| state.acquire(&name, &asked, shared.clock.now(), leases_max),
                        )
                        .await?;
                    if granted.is_some() {
                        // For those who observe.
                        shared.changed.set(());
                    }
                    Ok(granted.map_or(Reply::Busy, Reply::Granted))
                }
                Request::Renew {
                    name,
                    owner,
                    ttl_ms,
                } => {
                    let ttl = Duration::from_millis(ttl_ms);
                    shared.at_now(&name, |state, now| state.renew(&name, &owner, now + ttl))?;
                    Ok(Reply::Renewed)
                }
                Request::Release { name, owner } => {
                    shared.at_now(&name, |state, _| state.release(&name, &owner))?;
                    shared.changed.set(());
                    Ok(Reply::Released)
                }
                Request::Observe {
                    name,
                    seen,
                    wait_ms,
                } => {
                    let until = until(&*shared.clock, wait_ms, call.deadline);
                    let other = |state: &mut State| {
                        let holders = state.holders(&name, shared.clock.now());
                        let is_same = holders.iter().map(|holder| &holder.token).eq(&seen);
                        Ok((!is_same).then_some(holders))
                    };
                    let observed = shared.wait(&name, until, other).await?;
                    let observed = observed.map_or_else(
                        || shared.at_now(&name, |state, now| Ok(state.holders(&name, now))),
                        Ok,
                    );
                    Ok(Reply::Observed(observed?))
                }
            }
        })
    }
}

fn until(clock: &dyn Clock, wait_ms: u64, deadline: Option<Instant>) -> Instant {
    let until = clock.now() + Duration::from_millis(wait_ms).min(WAIT_MAX);
    deadline.map_or(until, |by| by.min(until))
}

impl Shared {
    /// Does something with the state as it is now.
    fn at_now<R>(
        &self,
        name: &str,
        what: impl FnOnce(&mut State, Instant) -> Result<R>,
    ) -> Result<R> {
        let now = self.clock.now();
        // Nothing in the state's methods panics half-way, so a poisoned state is a whole one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expire(name, now) {
            self.changed.set(());
        }
        what(&mut state, now)
    }

    /// Tries something whenever the leases of a name change, until it answers or time is up.
    async fn wait<R>(
        &self,
        name: &str,
        until: Instant,
        mut what: impl FnMut(&mut State) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let mut changed = self.changed.subscribe();
        if self.changed.receivers() > self.limits.waiters_max {
            return Err(Error::resource_exhausted(format!(
                "sync: more than {} requests are waiting",
                self.limits.waiters_max
            )));
        }
        loop {
            // Marked as seen before looking, so that no change falls in between.
            changed.mark_seen();
            let (done, next, now) = self.at_now(name, |state, now| {
                Ok((what(state)?, state.next_expiry(name), now))
            })?;
            if done.is_some() || now >= until {
                return Ok(done);
            }
            let wake_at = next.map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
    }
}

struct Asked {
    owner: String,
    note: String,
    permits: usize,
    ttl: Duration,
}

impl State {
    /// Ends the leases of a name whose time is over; answers whether there were any.
    fn expire(&mut self, name: &str, now: Instant) -> bool {
        let Some(held) = self.names.get_mut(name) else {
            return false;
        };
        let before = held.len();
        held.retain(|held| held.until > now);
        let ended = before - held.len();
        self.leases -= ended;
        if held.is_empty() {
            self.names.remove(name);
        }
        ended > 0
    }

    fn next_expiry(&self, name: &str) -> Option<Instant> {
        let held = self.names.get(name)?.iter();
        held.map(|held| held.until).min()
    }

    fn acquire(
        &mut self,
        name: &str,
        asked: &Asked,
        now: Instant,
        leases_max: usize,
    ) -> Result<Option<u64>> {
        let until = now + asked.ttl;
        if let Ok(held) = self.find(name, &asked.owner) {
            held.until = until;
            return Ok(Some(held.token));
        }
        if self.names.get(name).map_or(0, Vec::len) >= asked.permits {
            return Ok(None);
        }
        if self.leases >= leases_max {
            self.expire_all(now);
        }
        if self.leases >= leases_max {
            let message = format!("sync: {leases_max} leases are held, the most there can be");
            return Err(Error::resource_exhausted(message));
        }
        self.last_token += 1;
        self.leases += 1;
        let token = self.last_token;
        let held = Held {
            owner: asked.owner.clone(),
            note: asked.note.clone(),
            token,
            until,
        };
        self.names.entry(name.to_owned()).or_default().push(held);
        Ok(Some(token))
    }

    fn expire_all(&mut self, now: Instant) {
        let names: Vec<String> = self.names.keys().cloned().collect();
        for name in names {
            self.expire(&name, now);
        }
    }

    fn find(&mut self, name: &str, owner: &str) -> Result<&mut Held> {
        let held = self.names.get_mut(name);
        let is_held = held.is_some();
        let mut held = held.into_iter().flatten();
        let found = held.find(|held| held.owner == owner);
        found.ok_or_else(|| not_held(name, is_held))
    }

    fn renew(&mut self, name: &str, owner: &str, until: Instant) -> Result<()> {
        self.find(name, owner)?.until = until;
        Ok(())
    }

    fn release(&mut self, name: &str, owner: &str) -> Result<()> {
        // A lease that ends at the beginning of time has ended.
        self.find(name, owner)?.until = Instant::ORIGIN;
        self.expire(name, Instant::ORIGIN);
        Ok(())
    }

    fn holders(&self, name: &str, now: Instant) -> Vec<Holder> {
        let holder = |held: &Held| Holder {
            token: held.token,
            note: held.note.clone(),
            left_ms: crate::port::millis(held.until.since(now)),
        };
        let held = self.names.get(name).into_iter().flatten();
        held.map(holder).collect()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
