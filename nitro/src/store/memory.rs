//! A store in memory: for one process, or served to others.

mod maps;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use self::maps::Maps;
use super::journal::Journal;
use super::{Committed, Listed, Reply, Request, WATCH_WAIT_MAX, commit};
use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::port::{Call, Revision};
use crate::service::Calling;
use crate::time::Instant;

/// How much a [`Memory`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records at a time.
    pub records_max: usize,
    /// Bytes of keys, values and metadata at a time.
    pub bytes_max: usize,
    /// Names under which it remembers fencing tokens.
    pub fences_max: usize,
    /// Changes that a watcher can lag behind and still be told one by one.
    pub changes_max: usize,
    /// Watchers that wait at a time.
    pub watchers_max: usize,
}

impl Default for Limits {
    /// A gigabyte at the most.
    fn default() -> Self {
        Self {
            records_max: 1_000_000,
            bytes_max: 1 << 30,
            fences_max: 100_000,
            changes_max: 4_096,
            watchers_max: 10_000,
        }
    }
}

/// A store in memory. Clones are the same store.
///
/// It has no task of its own: records expire when the next request comes, and a watcher that
/// waits wakes for the next expiry. To everyone who asks that is the same as expiring on time.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    journal: Journal,
}

struct State {
    maps: Maps,
    at: Revision,
}

impl Memory {
    /// An empty store, unlike any other before it.
    pub fn new(host: &Host, limits: Limits) -> Self {
        let at = Revision {
            epoch: host.entropy.next_u64().max(1),
            number: 0,
        };
        let clock = Arc::clone(&host.clock);
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            state: Mutex::new(State {
                maps: Maps::new(limits),
                at,
            }),
            journal: Journal::new(clock, at, limits.changes_max, limits.watchers_max),
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
                Request::Read { table, key } => {
                    let place = commit::place(&table, &key);
                    let read = |state: &mut State, now| commit::read(&state.maps, now, &place);
                    Ok(Reply::Read(shared.at_now(read)?))
                }
                Request::List { table, select } => {
                    let listed = shared.at_now(|state, now| {
                        let (records, more) = commit::list(&state.maps, now, &table, &select)?;
                        let revision = state.at;
                        Ok(Listed {
                            records,
                            more,
                            revision,
                        })
                    });
                    Ok(Reply::Listed(listed?))
                }
                Request::Commit(commit) => {
                    let committed = shared.at_now(|state, now| {
                        let applied = commit::apply(&mut state.maps, now, &mut state.at, commit)?;
                        shared.journal.push(applied.changes);
                        Ok(Committed {
                            revision: state.at,
                            existed: applied.existed,
                        })
                    });
                    Ok(Reply::Committed(committed?))
                }
                Request::Watch {
                    table,
                    prefix,
                    after,
                    wait_ms,
                } => {
                    let wait = Duration::from_millis(wait_ms).min(WATCH_WAIT_MAX);
                    let until = shared.clock.now() + wait;
                    let until = call.deadline.map_or(until, |by| by.min(until));
                    let places = commit::place(&table, &prefix);
                    let tend = || async { shared.at_now(|state, _| state.maps.next_expiry()) };
                    let watching = shared.journal.watch(&places, after, until, tend);
                    Ok(Reply::Watched(watching.await?))
                }
            }
        })
    }
}

impl Shared {
    /// Does something with the state as it is now.
    fn at_now<R>(&self, what: impl FnOnce(&mut State, u64) -> Result<R>) -> Result<R> {
        let now = self.clock.now().as_nanos();
        // Nothing in the state's methods panics half-way, so a poisoned state is a whole one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { maps, at } = &mut *state;
        self.journal.push(commit::expire(maps, now, at)?);
        what(&mut state, now)
    }
}

impl Maps {
    fn next_expiry(&self) -> Result<Option<Instant>> {
        let first = commit::RowsMut::first_expiry(self)?;
        Ok(first.map(|(at, _)| Instant::from_nanos(at)))
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
