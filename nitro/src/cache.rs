//! A cache before a store: what was read is answered from memory for a while.
//!
//! It is a store itself, so that nobody who uses one need know. Reads of one key at a time go to
//! the store once, whoever asks, and all who wait get the one answer, be it a failure. A failure
//! is not remembered: the next read asks again.
//!
//! Commits go to the store at once, and no reader gets from the cache what was there before one
//! that has been answered. What others commit, and what was still under way when its caller gave
//! up, is seen after the time to live at the latest. Lists and watches are not cached.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::OnceCell;
use tower::Service;

use crate::buggify::trick;
use crate::error::{Error, Kind, Result};
use crate::host::clock::Elapsed;
use crate::host::{Clock, Entropy, Host};
use crate::port::{Call, millis};
use crate::service::{AnyService, Calling};
use crate::store::{Record, Reply, Request, Store, TableName};
use crate::time::Instant;

/// How much a cache holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long what was read is answered, on the host's own clock: from the moment at which the
    /// store was asked, since what it answers may be as old as that.
    pub ttl: Duration,
    /// Keys at a time, those without a record among them. When there are more, those that were
    /// read from the store first go first.
    pub entries_max: usize,
    /// Bytes of keys, values and metadata at a time.
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
            entropy: Arc::clone(&host.entropy),
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
    entropy: Arc<dyn Entropy>,
    behind: AnyService<Call<Request>, Reply>,
    settings: Settings,
    state: Mutex<State>,
}

type Key = (TableName, String);
/// What the store answers, for all who wait for it.
type Loading = Arc<OnceCell<Result<Option<Record>>>>;

#[derive(Default)]
struct State {
    entries: BTreeMap<Key, Entry>,
    by_age: BTreeSet<(Instant, Key)>,
    bytes: usize,
    /// Only what somebody waits for.
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
                    // Forgotten when it is done, or given up: who has read meanwhile may have
                    // read either.
                    let _forgetting = Forgetting {
                        shared: Arc::clone(&shared),
                        keys: keys.collect(),
                    };
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

impl Drop for Forgetting {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        for key in &self.keys {
            state.remove(key);
            // Who is loading has the answer of before, and keeps it to itself.
            state.loading.remove(key);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No method leaves it half changed, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, key: Key, call: Call<Request>) -> Result<Option<Record>> {
        let Some(until) = call.deadline else {
            return self.load(key, call).await;
        };
        // Who waits for what another has asked for has a time of its own.
        let loaded = self.clock.timeout_at(until, self.load(key, call)).await;
        loaded.unwrap_or_else(|Elapsed| {
            let message = "store: a read took longer than its caller waits";
            Err(Error::deadline_exceeded(message))
        })
    }

    async fn load(&self, key: Key, call: Call<Request>) -> Result<Option<Record>> {
        let now = self.clock.now();
        let loading = {
            let mut state = self.lock();
            if trick!(self.entropy, "an entry goes before its time") {
                state.remove(&key);
            }
            if let Some(found) = state.get(&key, now, self.settings.ttl) {
                return Ok(found);
            }
            Arc::clone(state.loading.entry(key.clone()).or_default())
        };
        let waiting = Waiting {
            shared: self,
            key,
            loading,
        };
        let asking = waiting.loading.get_or_try_init(|| self.ask(call));
        let loaded = asking.await?.clone();
        let mut state = self.lock();
        if state.is_loading(&waiting.key, &waiting.loading) {
            state.loading.remove(&waiting.key);
            if let Ok(record) = &loaded {
                let key = waiting.key.clone();
                state.insert(key, record.clone(), now, &self.settings);
            }
        }
        drop(state);
        loaded
    }

    /// Asks the store. What failed for the sake of the one who asks is an error; any other
    /// failure is an answer, for all who wait: were each to ask in turn, the last would wait for
    /// as many failures as there are before it.
    async fn ask(&self, call: Call<Request>) -> Result<Result<Option<Record>>> {
        match self.behind.call(call).await {
            Ok(Reply::Read(record)) => Ok(Ok(record)),
            Ok(other) => Ok(Err(Error::internal(format!(
                "store: a read was answered {other:?}"
            )))),
            Err(own) if [Kind::Cancelled, Kind::DeadlineExceeded].contains(&own.kind()) => Err(own),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// One who waits for an answer of the store, or asks for it.
struct Waiting<'a> {
    shared: &'a Shared,
    key: Key,
    loading: Loading,
}

impl Drop for Waiting<'_> {
    /// When the last gives up nobody is left to ask, and nothing to remember.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let is_loading = state.is_loading(&self.key, &self.loading);
        // Given up while the state is held, so that one of them sees that it is the last.
        drop(std::mem::take(&mut self.loading));
        if is_loading
            && let Slot::Occupied(slot) = state.loading.entry(self.key.clone())
            && (slot.get().initialized() || Arc::strong_count(slot.get()) == 1)
        {
            slot.remove();
        }
    }
}

fn bytes(key: &Key, record: Option<&Record>) -> usize {
    let name = key.0.database.len() + key.0.table.len() + key.1.len();
    let Some(record) = record else { return name };
    let pairs = record.metadata.iter();
    let metadata: usize = pairs.map(|(name, value)| name.len() + value.len()).sum();
    name + record.value.len() + metadata
}

impl State {
    fn is_loading(&self, key: &Key, loading: &Loading) -> bool {
        let found = self.loading.get(key);
        found.is_some_and(|found| Arc::ptr_eq(found, loading))
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::memory::Machine;

    /// Everybody gives up, one before the other: what they waited for is not kept.
    #[tokio::test(start_paused = true)]
    async fn what_all_have_given_up_is_not_remembered() {
        let host = Machine::new().host("here");
        let silent = |_: Call<Request>| std::future::pending::<Result<Reply>>();
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            behind: AnyService::new(tower::service_fn(silent)),
            settings: Settings::default(),
            state: Mutex::new(State::default()),
        };
        let read = |name: &str, ms: u64| {
            let table = TableName {
                database: "d".to_owned(),
                table: "t".to_owned(),
            };
            let request = Request::Read {
                table: table.clone(),
                key: name.to_owned(),
            };
            let call = Call {
                deadline: Some(host.clock.now() + Duration::from_millis(ms)),
                ..Call::new(request)
            };
            shared.read((table, name.to_owned()), call)
        };
        let mut reading = Vec::new();
        for key in ["a", "b", "c"] {
            reading.extend([read(key, 10), read(key, 10), read(key, 20)]);
        }
        for read in futures_util::future::join_all(reading).await {
            assert_eq!(read.unwrap_err().kind(), Kind::DeadlineExceeded);
        }
        let state = shared.lock();
        assert_eq!((state.loading.len(), state.entries.len()), (0, 0));
    }
}
