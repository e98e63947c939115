//! A store in one file: redb over the host's disk.
//!
//! # What is promised
//!
//! A commit that was answered is on the disk, and after a crash at any moment the file opens with
//! all such commits and no half one. A commit that was answered with an error of the disk may or
//! may not be there. Writes that wait at the same time are made durable together.
//!
//! Once the disk has failed to sync, no further write is acknowledged until the store is opened
//! anew: what a disk that failed so holds is not known. After any other error of the disk, such as
//! being full, the next request opens the file again from the last commit: what is there can be
//! read all the while, and written again when there is room.
//!
//! A record that the disk has damaged is an error, never another value: each has a checksum of its
//! own. The pages that lead to it are compared with theirs when the file is opened, unless
//! [`Settings::check_when_opened`] says no, and not at each read: one that is damaged later may lead
//! to what a record was before.
//!
//! The file belongs to one process at a time.
//!
//! # What it costs
//!
//! Beside redb itself a commit is one page more to write, for the revision, and two hand-overs
//! between threads: the disk blocks, and what blocks does so elsewhere. A single writer that waits
//! for each of its commits feels these; writers that commit at the same time share them, with the
//! sync.

mod backend;
mod groups;
mod open;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tower::Service;

use self::groups::Groups;
use self::open::is_held;
use super::{Reply, Request, Store, WATCH_WAIT_MAX, commit};
use crate::error::{Error, Result};
use crate::host::{Host, Tasks};
use crate::port::Call;
use crate::service::Calling;
use crate::time::Instant;

/// When a commit is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// When it is on the disk.
    #[default]
    Always,
    /// At once; about every second what was written is put on the disk together. A crash of the
    /// process or the machine may lose whole commits since then, the last ones, and does no other
    /// harm. Not for locks: their tokens could be given out twice.
    EverySecond,
}

/// How a [`FileStore`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When a commit is answered.
    pub sync: Sync,
    /// Whether opening reads the whole file and compares all checksums. Without, it does so only
    /// after a crash, and damage that came later is found when what is damaged is read.
    pub check_when_opened: bool,
    /// Bytes of the file that are kept in memory.
    pub cache_bytes: usize,
    /// Changes that a watcher can lag behind and still be told one by one.
    pub changes_max: usize,
    /// Watchers that wait at a time.
    pub watchers_max: usize,
    /// Requests that wait for the disk at a time.
    pub waiting_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sync: Sync::default(),
            check_when_opened: true,
            cache_bytes: 64 * 1024 * 1024,
            changes_max: 4_096,
            watchers_max: 10_000,
            waiting_max: 10_000,
        }
    }
}

impl Store {
    /// A store in a file, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`FileStore::open`].
    pub async fn file(host: &Host, path: impl Into<PathBuf>) -> Result<Self> {
        let opened = FileStore::open(host, path, Settings::default()).await?;
        Ok(Store::new(opened))
    }
}

/// How long opening waits for whoever had the file before: closing it is work for the disk, which
/// may go on a little after the last handle has gone.
const HANDOVER: Duration = Duration::from_secs(1);

/// A store in a file. Clones are the same store; the last to go closes the file.
#[derive(Clone)]
pub struct FileStore {
    groups: Arc<Groups>,
}

impl FileStore {
    /// Opens a file, or makes it. Making it leaves nothing at the path until it is whole.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Kind::Unavailable) when somebody else has it open,
    /// [`FailedPrecondition`](crate::Kind::FailedPrecondition) for a file of another kind or a
    /// newer format, [`DataLoss`](crate::Kind::DataLoss) for a damaged one, or what the disk
    /// says. The file is left as it was.
    pub async fn open(host: &Host, path: impl Into<PathBuf>, settings: Settings) -> Result<Self> {
        let path = path.into();
        let give_up_at = host.clock.now() + HANDOVER;
        loop {
            let (host_then, path) = (host.clone(), path.clone());
            let opening = move || Groups::open(host_then, path, settings);
            match blocking(&*host.tasks, "open a store", opening).await {
                Ok(groups) => {
                    let groups = Arc::new(groups);
                    return Ok(Self { groups });
                }
                Err(held) if is_held(&held) && host.clock.now() < give_up_at => {
                    host.clock.sleep(HANDOVER / 20).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Does work that blocks where blocking hurts nobody.
async fn blocking<T: Send + 'static>(
    tasks: &dyn Tasks,
    name: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        // Who does not wait for the answer any more does not need it.
        let _ = sender.send(work());
    };
    drop(tasks.block(name, Box::new(work)));
    receiver.await.unwrap_or_else(|_| Err(gone()))
}

fn gone() -> Error {
    Error::unavailable("store: the work on the file ended without an answer")
}

impl Service<Call<Request>> for FileStore {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let groups = Arc::clone(&self.groups);
        Box::pin(async move {
            call.request.check()?;
            match call.request {
                Request::Read { table, key } => {
                    let read = move |groups: &Groups| groups.read(&commit::place(&table, &key));
                    Ok(Reply::Read(groups.look(read).await?))
                }
                Request::List { table, select } => {
                    let list = move |groups: &Groups| groups.list(&table, &select);
                    Ok(Reply::Listed(groups.look(list).await?))
                }
                Request::Commit(commit) => Ok(Reply::Committed(groups.commit(commit).await?)),
                Request::Watch {
                    table,
                    prefix,
                    after,
                    wait_ms,
                } => {
                    let now: Instant = groups.host().clock.now();
                    let until = now + Duration::from_millis(wait_ms).min(WATCH_WAIT_MAX);
                    let until = call.deadline.map_or(until, |by| by.min(until));
                    let places = commit::place(&table, &prefix);
                    let tend = || groups.tend();
                    let watching = groups.journal().watch(&places, after, until, tend);
                    Ok(Reply::Watched(watching.await?))
                }
            }
        })
    }
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore")
            .field("path", &self.groups.path())
            .finish_non_exhaustive()
    }
}
