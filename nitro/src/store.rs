//! Records under keys: the port in which a service keeps its state.
//!
//! A store is one history. Every [`Commit`] that changes something is a revision of it, a commit
//! is done whole or not at all, and each record carries as its version the revision that wrote
//! it: what was read can be written back on condition that nobody has written since. Whoever
//! holds a lock writes with its [`Fence`], and a holder that has been overtaken is refused.
//!
//! What an application holds is a [`Store`], and for its work a [`Table`] of it.
//!
//! # Time to live
//!
//! A record with a time to live is gone when it has passed on the store's own clock, which never
//! jumps and stands still while the store is closed. So a record never goes early, whatever is
//! done to the time of day; one that should have gone while its store was closed goes later.

mod check;
mod commit;
mod data;
#[cfg(feature = "file")]
mod file;
mod journal;
mod memory;
mod table;

use std::time::Duration;

use tower::Service;

pub use self::data::{
    Action, Change, ChangeKind, Commit, Committed, Condition, Listed, Order, Record, Reply,
    Request, Select, TableName, Watched, Write,
};
#[cfg(feature = "file")]
pub use self::file::{FileStore, Settings, Sync};
pub use self::memory::{Limits, Memory};
pub use self::table::Table;
use crate::error::{Error, Result};
use crate::host::Host;
pub use crate::port::Fence;
use crate::port::{Call, Revision};
use crate::service::AnyService;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 1024;

/// The longest name of a database, a table or a fence.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest value. What is larger belongs into a file that a value names.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The most bytes of a record's metadata.
pub const METADATA_BYTES_MAX: usize = 4 * 1024;

/// The most writes in one commit.
pub const WRITES_MAX: usize = 256;

/// The most bytes in one commit, or in one answer: with what base64 adds it is still a message
/// that every transport carries.
pub const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;

/// The most records in one answer.
pub const LIST_MAX: usize = 1_000;

/// The longest time to live: ten years.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The longest that a store lets a watcher wait, however long it asks for.
pub const WATCH_WAIT_MAX: Duration = Duration::from_secs(60);

/// A store, whichever it is. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::store::{Condition, Store};
///
/// let store = Store::memory(&nitro::host::tokio::host());
/// let accounts = store.table("bank", "accounts");
/// accounts.write("alice", "100").await?;
///
/// // Changes what was read, unless somebody has changed it meanwhile.
/// let alice = accounts.read("alice").await?.expect("it was written");
/// let unchanged = Condition::IfVersion(alice.version);
/// accounts.write_if("alice", "90", unchanged).await?;
/// let late = accounts.write_if("alice", "80", unchanged).await.unwrap_err();
/// assert_eq!(late.kind(), nitro::Kind::Aborted);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Store(AnyService<Call<Request>, Reply>);

impl Store {
    /// A handle on any service that answers as a store does.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call<Request>, Response = Reply> + Clone + Send + std::marker::Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send,
    {
        Self(AnyService::new(service))
    }

    /// A store in this process, which ends with it.
    pub fn memory(host: &Host) -> Self {
        Self::new(Memory::new(host, Limits::default()))
    }

    /// One of its tables. It need not be made: a table is there as soon as it has a record.
    pub fn table(&self, database: impl Into<String>, table: impl Into<String>) -> Table {
        let name = TableName {
            database: database.into(),
            table: table.into(),
        };
        Table::new(self.clone(), name)
    }

    /// Makes all writes of a commit, or none.
    ///
    /// # Errors
    ///
    /// [`Aborted`](crate::Kind::Aborted) where a record has another version than a write asks
    /// for, [`AlreadyExists`](crate::Kind::AlreadyExists) where one should not exist,
    /// [`FailedPrecondition`](crate::Kind::FailedPrecondition) for a fence that has been
    /// overtaken, [`InvalidArgument`](crate::Kind::InvalidArgument) past the limits of this
    /// module, [`ResourceExhausted`](crate::Kind::ResourceExhausted) when the store is full. Any
    /// other error leaves open whether it was done.
    pub async fn commit(&self, commit: Commit) -> Result<Committed> {
        match self.ask(Request::Commit(commit)).await? {
            Reply::Committed(committed) => Ok(committed),
            other => Err(unexpected("commit", &other)),
        }
    }

    /// Where the history of the store is now.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached.
    pub async fn revision(&self) -> Result<Revision> {
        let nothing = Select {
            limit: 1,
            ..Select::default()
        };
        let table = self.table("nitro", "revision");
        Ok(table.list(nothing).await?.revision)
    }

    /// Asks any of its requests.
    ///
    /// # Errors
    ///
    /// What the request's own method says.
    pub async fn ask(&self, request: Request) -> Result<Reply> {
        self.0.call(Call::new(request)).await
    }

    /// The service behind the handle, to be served to others or put under layers.
    pub fn service(&self) -> AnyService<Call<Request>, Reply> {
        self.0.clone()
    }
}

fn unexpected(asked: &str, reply: &Reply) -> Error {
    Error::internal(format!("store: {asked} was answered with {reply:?}"))
}
