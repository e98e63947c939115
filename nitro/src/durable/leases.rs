//! Leases in a store: a record for each holder, which goes with the lease.
//!
//! A record is written if it is absent, lives as long as the lease on the store's own clock, and
//! is written again to renew it. Its first version is the token: versions of a store only rise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use crate::error::{Error, Kind, Result};
use crate::host::{Clock, Host};
use crate::port::{Call, Revision};
use crate::service::Calling;
use crate::store::{Action, Condition, Record, Select, Store, Table, Watched};
use crate::sync::{Holder, Reply, Request, WAIT_MAX, not_held};
use crate::time::Instant;

/// How often a renewal or a release is tried again because the record changed meanwhile: only
/// its own holder changes it, so once or twice.
const TRIES_MAX: usize = 8;

const OWNER: &str = "owner";
const NOTE: &str = "note";
const TOKEN: &str = "token";

/// Leases in a store.
#[derive(Clone, Debug)]
pub struct StoredLeases {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    table: Table,
}

impl StoredLeases {
    /// The leases that are in a store.
    pub fn new(host: &Host, store: &Store) -> Self {
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            table: store.table("nitro", "leases"),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Service<Call<Request>> for StoredLeases {
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
                    let until = shared.until(wait_ms, call.deadline);
                    let asked = Asked {
                        owner,
                        note,
                        ttl_ms,
                    };
                    shared.acquire(&name, &asked, permits, until).await
                }
                Request::Renew {
                    name,
                    owner,
                    ttl_ms,
                } => shared.renew(&name, &owner, ttl_ms).await,
                Request::Release { name, owner } => shared.release(&name, &owner).await,
                Request::Observe {
                    name,
                    seen,
                    wait_ms,
                } => {
                    let until = shared.until(wait_ms, call.deadline);
                    shared.observe(&name, &seen, until).await
                }
            }
        })
    }
}

struct Asked {
    owner: String,
    note: String,
    ttl_ms: u64,
}

/// What the keys of a name's holders begin with. The length keeps names apart of which one is
/// the beginning of another.
fn prefix(name: &str) -> String {
    format!("{}/{name}/", name.len())
}

fn slot_key(name: &str, slot: u32) -> String {
    format!("{}{slot:04}", prefix(name))
}

fn has_owner(record: &Record, owner: &str) -> bool {
    record
        .metadata
        .get(OWNER)
        .is_some_and(|found| found == owner)
}

/// The version of the record when the lease was granted.
fn token(record: &Record) -> u64 {
    let noted = record.metadata.get(TOKEN);
    noted
        .and_then(|token| token.parse().ok())
        .unwrap_or(record.version)
}

fn action(asked: &Asked, token: Option<u64>) -> Action {
    let pairs = [(OWNER, &asked.owner), (NOTE, &asked.note)];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.clone()));
    let mut metadata = BTreeMap::from(pairs);
    metadata.extend(token.map(|token| (TOKEN.to_owned(), token.to_string())));
    Action::Put {
        value: Default::default(),
        metadata,
        ttl_ms: Some(asked.ttl_ms),
    }
}

impl Shared {
    fn until(&self, wait_ms: u64, deadline: Option<Instant>) -> Instant {
        let until = self.clock.now() + Duration::from_millis(wait_ms).min(WAIT_MAX);
        deadline.map_or(until, |by| by.min(until))
    }

    async fn held(&self, name: &str) -> Result<(Vec<Record>, Revision)> {
        let listed = self.table.list(Select::prefix(prefix(name))).await?;
        Ok((listed.records, listed.revision))
    }

    async fn acquire(
        &self,
        name: &str,
        asked: &Asked,
        permits: u32,
        until: Instant,
    ) -> Result<Reply> {
        loop {
            let (held, revision) = self.held(name).await?;
            if let Some(own) = held.iter().find(|record| has_owner(record, &asked.owner)) {
                let token = token(own);
                match self.rewrite(own, action(asked, Some(token))).await {
                    Err(error) if error.kind() == Kind::Aborted => continue,
                    written => written?,
                }
                return Ok(Reply::Granted(token));
            }
            let is_free = |slot: &u32| {
                held.iter()
                    .all(|record| record.key != slot_key(name, *slot))
            };
            let slots = match held.len() < permits as usize {
                true => 0..permits,
                false => 0..0,
            };
            if let Some(slot) = slots.into_iter().find(is_free) {
                let condition = Condition::IfAbsent;
                let write =
                    self.table
                        .prepare(slot_key(name, slot), condition, action(asked, None));
                match self.table.commit(vec![write], None).await {
                    Err(error) if error.kind() == Kind::AlreadyExists => continue,
                    written => return Ok(Reply::Granted(written?.revision.number)),
                }
            }
            if self.clock.now() >= until {
                return Ok(Reply::Busy);
            }
            self.wait_for_change(name, revision, until).await?;
        }
    }

    /// Waits for any change of a name's holders, no longer than until.
    async fn wait_for_change(&self, name: &str, after: Revision, until: Instant) -> Result<()> {
        let mut after = after;
        loop {
            let wait = until.since(self.clock.now());
            match self.table.watch(prefix(name), after, wait).await? {
                Watched::Changes { changes, revision }
                    if changes.is_empty() && self.clock.now() < until =>
                {
                    after = revision;
                }
                Watched::Changes { .. } | Watched::Reset => return Ok(()),
            }
        }
    }

    async fn rewrite(&self, record: &Record, action: Action) -> Result<()> {
        let condition = Condition::IfVersion(record.version);
        let write = self.table.prepare(&*record.key, condition, action);
        self.table.commit(vec![write], None).await.map(drop)
    }

    /// Does something with the record of a holder, again if it changed meanwhile.
    async fn change(
        &self,
        name: &str,
        owner: &str,
        action: impl Fn(&Record) -> Action,
    ) -> Result<()> {
        let mut tries = 1;
        loop {
            let (held, _) = self.held(name).await?;
            let Some(own) = held.iter().find(|record| has_owner(record, owner)) else {
                return Err(not_held(name, !held.is_empty()));
            };
            match self.rewrite(own, action(own)).await {
                Err(error) if error.kind() == Kind::Aborted && tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    async fn renew(&self, name: &str, owner: &str, ttl_ms: u64) -> Result<Reply> {
        let renewed = |record: &Record| {
            let asked = Asked {
                owner: owner.to_owned(),
                note: record.metadata.get(NOTE).cloned().unwrap_or_default(),
                ttl_ms,
            };
            action(&asked, Some(token(record)))
        };
        self.change(name, owner, renewed).await?;
        Ok(Reply::Renewed)
    }

    async fn release(&self, name: &str, owner: &str) -> Result<Reply> {
        self.change(name, owner, |_| Action::Delete).await?;
        Ok(Reply::Released)
    }

    async fn observe(&self, name: &str, seen: &[u64], until: Instant) -> Result<Reply> {
        loop {
            let (held, revision) = self.held(name).await?;
            let holder = |record: &Record| Holder {
                token: token(record),
                note: record.metadata.get(NOTE).cloned().unwrap_or_default(),
                left_ms: record.ttl_ms.unwrap_or(0),
            };
            let mut holders: Vec<Holder> = held.iter().map(holder).collect();
            holders.sort_by_key(|holder| holder.token);
            let is_same = holders.iter().map(|holder| &holder.token).eq(seen);
            if !is_same || self.clock.now() >= until {
                return Ok(Reply::Observed(holders));
            }
            self.wait_for_change(name, revision, until).await?;
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("table", self.table.name())
            .finish_non_exhaustive()
    }
}
