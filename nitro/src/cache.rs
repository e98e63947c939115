//! A cache before a store: what was read is answered from memory for a while.
//!
//! It is a store itself, so that nobody who uses one need know. Reads of one key at a time go to
//! the store once, whoever asks; commits through the cache are seen by its readers at once, and
//! those of others after the time to live at the latest. Lists and watches are not cached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::OnceCell;
use tower::Service;

use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::port::{Call, millis};
use crate::service::{AnyService, Calling};
use crate::store::{Record, Reply, Request, Store, TableName};
use crate::time::Instant;

/// How much a cache holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long what was read is answered.
    pub ttl: Duration,
    /// Keys at a time, those without a record among them.
    pub entries_max: usize,
    /// Bytes of keys and values at a time.
    pub bytes_max: usize,
}

impl Default for Settings {
    /// Five seconds, ten thousand keys, 64 MB.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(5),
            entries_max: 10_000,
            bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Puts a cache before a store.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// let host = nitro::host::tokio::host();
/// let store = nitro::store::Store::memory(&host);
/// let cached = nitro::cache::cached(&host, &store, Default::default());
/// let table = cached.table("shop", "prices");
/// table.write("tea", "4").await?;
/// assert_eq!(&*table.read("tea").await?.expect("it was written").value, b"4");
/// # Ok(())
/// # }
/// ```
pub fn cached(host: &Host, store: &Store, settings: Settings) -> Store {
    Store::new(Cache {
        shared: Arc::new(Shared {
            clock: Arc::clone(&host.clock),
            behind: store.service(),
            settings,
            state: Mutex::new(State::default()),
        }),
    })
}

#[derive(Clone)]
struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    behind: AnyService<Call<Request>, Reply>,
    settings: Settings,
    state: Mutex<State>,
}

type Key = (TableName, String);
type Loading = Arc<OnceCell<Option<Record>>>;

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    by_age: BTreeSet<(Instant, Key)>,
    bytes: usize,
    loading: BTreeMap<Key, Loading>,
}

struct Entry {
    record: Option<Record>,
    read_at: Instant,
}

impl Service<Call<Request>> for Cache {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            match &call.request {
                Request::Read { table, key } => {
                    let key = (table.clone(), key.clone());
                    Ok(Reply::Read(shared.read(key, call).await?))
                }
                Request::Commit(commit) => {
                    let writes = commit.writes.iter();
                    let keys = writes.map(|write| (write.table.clone(), write.key.clone()));
                    let forgetting = Forgetting {
                        shared: Arc::clone(&shared),
                        keys: keys.collect(),
                    };
                    forgetting.forget();
                    // Forgotten again when it is done, or given up: who has read meanwhile may
                    // have read either.
                    shared.behind.call(call).await
                }
                Request::List { .. } | Request::Watch { .. } => shared.behind.call(call).await,
            }
        })
    }
}

/// Keys that are being written.
struct Forgetting {
    shared: Arc<Shared>,
    keys: Vec<Key>,
}

impl Forgetting {
    fn forget(&self) {
        let mut state = self.shared.lock();
        for key in &self.keys {
            state.remove(key);
            // Who is loading has the answer of before, and keeps it to itself.
            state.loading.remove(key);
        }
    }
}

impl Drop for Forgetting {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves it half changed, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, key: Key, call: Call<Request>) -> Result<Option<Record>> {
        let now = self.clock.now();
        let loading = {
            let mut state = self.lock();
            if let Some(found) = state.get(&key, now, self.settings.ttl) {
                return Ok(found);
            }
            Arc::clone(state.loading.entry(key.clone()).or_default())
        };
        let load = async || match self.behind.call(call.clone()).await? {
            Reply::Read(record) => Ok(record),
            other => Err(Error::internal(format!(
                "store: a read was answered {other:?}"
            ))),
        };
        let loaded = loading.get_or_try_init(load).await.cloned();
        let mut state = self.lock();
        let is_current = |other: &Loading| Arc::ptr_eq(other, &loading);
        if state.loading.get(&key).is_some_and(is_current) {
            state.loading.remove(&key);
            if let Ok(record) = &loaded {
                state.insert(key, record.clone(), now, &self.settings);
            }
        }
        loaded
    }
}

fn bytes(key: &Key, record: Option<&Record>) -> usize {
    let value = record.map_or(0, |record| record.value.len());
    key.0.database.len() + key.0.table.len() + key.1.len() + value
}

impl State {
    fn get(&mut self, key: &Key, now: Instant, ttl: Duration) -> Option<Option<Record>> {
        let entry = self.entries.get(key)?;
        let age = now.since(entry.read_at);
        if age >= ttl {
            self.remove(key);
            return None;
        }
        let Some(mut record) = entry.record.clone() else {
            return Some(None);
        };
        if let Some(ttl_ms) = record.ttl_ms {
            record.ttl_ms = Some(ttl_ms.saturating_sub(millis(age)));
        }
        // One whose own time has passed has gone.
        let is_there = record.ttl_ms != Some(0);
        Some(is_there.then_some(record))
    }

    fn insert(&mut self, key: Key, record: Option<Record>, now: Instant, settings: &Settings) {
        self.remove(&key);
        let size = bytes(&key, record.as_ref());
        if size > settings.bytes_max || settings.entries_max == 0 {
            return;
        }
        while self.entries.len() >= settings.entries_max || self.bytes + size > settings.bytes_max {
            let oldest = self.by_age.first().map(|(_, key)| key.clone());
            self.remove(&oldest.expect("what takes room has an age"));
        }
        self.bytes += size;
        self.by_age.insert((now, key.clone()));
        let read_at = now;
        self.entries.insert(key, Entry { record, read_at });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= bytes(key, entry.record.as_ref());
            self.by_age.remove(&(entry.read_at, key.clone()));
        }
    }
}
