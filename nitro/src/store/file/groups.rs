//! The file at work: reads beside each other, writes in groups that are made durable together.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Durability, ReadableDatabase};
use tokio::sync::oneshot;

use super::open::{self, Opened};
use super::rows::{META, RECORDS, REVISION, Seen, TIME, Written, error};
use super::{Settings, Sync, blocking, gone};
use crate::error::{Error, Kind, Result};
use crate::host::tasks::panic_message;
use crate::host::{File, Host};
use crate::port::Revision;
use crate::store::commit::{self, Logged, RowsMut};
use crate::store::journal::Journal;
use crate::store::{Commit, Committed, Listed, Record, Select, TableName};
use crate::time::Instant;

/// The most commits that are made durable together: what one transaction holds in memory.
const GROUP_MAX: usize = 128;

/// How long a commit that was answered may wait for the disk with [`Sync::EverySecond`].
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// A store's file, and who waits for it.
pub(super) struct Groups {
    host: Host,
    path: PathBuf,
    settings: Settings,
    file: Arc<dyn File>,
    /// The store's clock is this far ahead of the host's.
    ahead: u64,
    state: Mutex<State>,
    queue: Mutex<Queue>,
    journal: Journal,
    waiting: AtomicUsize,
}

struct State {
    health: Health,
    at: Revision,
    /// When the next row goes, on the store's clock.
    next_expiry: Option<u64>,
    synced: Instant,
}

enum Health {
    Good(Opened),
    /// The disk failed: the file is opened again at the next request.
    Broken,
    /// The disk failed to sync.
    Poisoned,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_worked_on: bool,
}

struct Job {
    /// What to commit; nothing to only remove what is due.
    commit: Option<Commit>,
    reply: oneshot::Sender<Result<Committed>>,
}

/// What a group of jobs came to.
struct Done {
    replies: Vec<Result<Committed>>,
    told: Vec<Vec<Logged>>,
    at: Revision,
    next_expiry: Option<u64>,
    is_synced: bool,
}

impl Groups {
    pub(super) fn open(host: Host, path: PathBuf, settings: Settings) -> Result<Self> {
        let file = open::take(&*host.disk, &path, &settings)?;
        let opened = open::open(&path, &file, &settings)?;
        let now = host.clock.now();
        let at = Revision {
            epoch: host.entropy.next_u64().max(1),
            number: opened.number,
        };
        let clock = Arc::clone(&host.clock);
        let journal = Journal::new(clock, at, settings.changes_max, settings.watchers_max);
        // Time goes on from the last commit: while the store was closed it stood still. What the
        // host's clock is ahead, wrapped around, brings it back.
        let ahead = opened.time.wrapping_sub(now.as_nanos());
        let state = State {
            health: Health::Good(opened),
            at,
            // Looked up with the first group; until then something may be due at any time.
            next_expiry: Some(0),
            synced: now,
        };
        Ok(Self {
            host,
            path,
            settings,
            file,
            ahead,
            state: Mutex::new(state),
            queue: Mutex::new(Queue::default()),
            journal,
            waiting: AtomicUsize::new(0),
        })
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The store's clock.
    fn now(&self) -> u64 {
        self.host.clock.now().as_nanos().wrapping_add(self.ahead)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks something up, beside others who do.
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        what: impl FnOnce(&Groups) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let waiting = Waiting::new(self)?;
        let groups = Arc::clone(self);
        let work = move || what(&groups);
        let looked = blocking(&*self.host.tasks, "read a store", work).await;
        drop(waiting);
        looked
    }

    pub(super) fn read(&self, place: &[u8]) -> Result<Option<Record>> {
        let (rows, _) = self.seen()?;
        commit::read(&rows, self.now(), place)
    }

    pub(super) fn list(&self, table: &TableName, select: &Select) -> Result<Listed> {
        let (rows, revision) = self.seen()?;
        let (records, more) = commit::list(&rows, self.now(), table, select)?;
        Ok(Listed {
            records,
            more,
            revision,
        })
    }

    /// The rows of this moment, and which moment it is.
    fn seen(&self) -> Result<(Seen, Revision)> {
        let (database, epoch) = {
            let mut state = self.state();
            self.revive(&mut state)?;
            match &state.health {
                Health::Good(opened) => (Arc::clone(&opened.database), state.at.epoch),
                Health::Broken | Health::Poisoned => return Err(poisoned(&self.path)),
            }
        };
        let transaction = database.begin_read().map_err(error)?;
        let meta = transaction.open_table(META).map_err(error)?;
        let number = meta.get(REVISION).map_err(error)?;
        let number = number.map_or(0, |number| number.value());
        let records = transaction.open_table(RECORDS).map_err(error)?;
        Ok((Seen(records), Revision { epoch, number }))
    }

    /// Commits, together with whoever else does at the time.
    pub(super) async fn commit(self: &Arc<Self>, commit: Commit) -> Result<Committed> {
        self.submit(Some(commit)).await
    }

    /// Removes what is due; answers when something is due next.
    pub(super) async fn tend(self: &Arc<Self>) -> Result<Option<Instant>> {
        let due = |at: u64| at <= self.now();
        if self.state().next_expiry.is_some_and(due) {
            self.submit(None).await?;
        }
        let next = self.state().next_expiry;
        Ok(next.map(|at| Instant::from_nanos(at.wrapping_sub(self.ahead))))
    }

    async fn submit(self: &Arc<Self>, commit: Option<Commit>) -> Result<Committed> {
        let waiting = Waiting::new(self)?;
        let (reply, receiver) = oneshot::channel();
        let must_start = {
            let mut queue = self.queue();
            queue.jobs.push_back(Job { commit, reply });
            !std::mem::replace(&mut queue.is_worked_on, true)
        };
        if must_start {
            let groups = Arc::clone(self);
            let work = move || groups.work();
            drop(self.host.tasks.block("write a store", Box::new(work)));
        }
        let answer = receiver.await.unwrap_or_else(|_| Err(gone()));
        drop(waiting);
        answer
    }

    /// Works until nobody waits.
    fn work(&self) {
        loop {
            let mut jobs = {
                let mut queue = self.queue();
                if queue.jobs.is_empty() {
                    queue.is_worked_on = false;
                    return;
                }
                let count = queue.jobs.len().min(GROUP_MAX);
                queue.jobs.drain(..count).collect::<Vec<_>>()
            };
            let replies = self.group(&mut jobs);
            for (job, reply) in jobs.into_iter().zip(replies) {
                // Who does not wait any more has what it asked for all the same.
                let _ = job.reply.send(reply);
            }
        }
    }

    fn group(&self, jobs: &mut [Job]) -> Vec<Result<Committed>> {
        let mut state = self.state();
        let count = jobs.len();
        let failed = |error: Error| vec![Err(error); count];
        if let Err(error) = self.revive(&mut state) {
            return failed(error);
        }
        let commits: Vec<Option<Commit>> = jobs.iter_mut().map(|job| job.commit.take()).collect();
        let Health::Good(opened) = &state.health else {
            return failed(poisoned(&self.path));
        };
        let (database, medium) = (Arc::clone(&opened.database), Arc::clone(&opened.medium));
        let (at, synced) = (state.at, state.synced);
        // Reads go on while the disk is at work.
        drop(state);
        let making = AssertUnwindSafe(|| {
            medium.release().map_err(open::explain)?;
            self.make(&database, at, synced, commits)
        });
        let made = catch_unwind(making).unwrap_or_else(|panic| {
            medium.fail();
            Err(Error::internal(format!(
                "store: a write panicked: {}",
                panic_message(&*panic)
            )))
        });
        let mut state = self.state();
        match made {
            Ok(done) => {
                (state.at, state.next_expiry) = (done.at, done.next_expiry);
                if done.is_synced {
                    state.synced = self.host.clock.now();
                }
                drop(state);
                for changes in done.told {
                    self.journal.push(changes);
                }
                done.replies
            }
            Err(error) => {
                medium.fail();
                state.health = match medium.has_failed_to_sync() {
                    true => Health::Poisoned,
                    false => Health::Broken,
                };
                failed(error)
            }
        }
    }

    /// Makes commits in one transaction. A refusal concerns one; an error concerns all.
    fn make(
        &self,
        database: &redb::Database,
        at: Revision,
        synced: Instant,
        commits: Vec<Option<Commit>>,
    ) -> Result<Done> {
        let now = self.now();
        let mut at = at;
        let mut transaction = database.begin_write().map_err(error)?;
        let is_synced =
            self.settings.sync == Sync::Always || self.host.clock.now().since(synced) >= SYNC_EVERY;
        let durability = match is_synced {
            true => Durability::Immediate,
            false => Durability::None,
        };
        transaction.set_durability(durability).map_err(error)?;
        let mut rows = Written::open(&transaction)?;
        let mut told = vec![commit::expire(&mut rows, now, &mut at)?];
        let mut replies = Vec::new();
        for commit in commits {
            let applied = match commit {
                Some(commit) => commit::apply(&mut rows, now, &mut at, commit),
                None => Ok(commit::Applied::default()),
            };
            match applied {
                Ok(applied) => {
                    told.push(applied.changes);
                    replies.push(Ok(Committed {
                        revision: at,
                        existed: applied.existed,
                    }));
                }
                Err(refusal) if is_refusal(&refusal) => replies.push(Err(refusal)),
                Err(failure) => return Err(failure),
            }
        }
        let next_expiry = rows.first_expiry()?.map(|(at, _)| at);
        drop(rows);
        {
            let mut meta = transaction.open_table(META).map_err(error)?;
            meta.insert(REVISION, at.number).map_err(error)?;
            meta.insert(TIME, now).map_err(error)?;
        }
        transaction.commit().map_err(error)?;
        Ok(Done {
            replies,
            told,
            at,
            next_expiry,
            is_synced,
        })
    }

    /// Opens the file again if it is broken.
    fn revive(&self, state: &mut State) -> Result<()> {
        match &state.health {
            Health::Good(opened) if !opened.medium.has_failed() => return Ok(()),
            Health::Good(opened) if opened.medium.has_failed_to_sync() => {
                state.health = Health::Poisoned
            }
            Health::Good(_) | Health::Broken | Health::Poisoned => {}
        }
        if matches!(state.health, Health::Poisoned) {
            return Err(poisoned(&self.path));
        }
        // What is open is closed first: it writes nothing any more.
        state.health = Health::Broken;
        let opened = open::open(&self.path, &self.file, &self.settings)?;
        state.at = Revision {
            epoch: self.host.entropy.next_u64().max(1),
            number: opened.number,
        };
        state.next_expiry = Some(0);
        self.journal.restart(state.at);
        state.health = Health::Good(opened);
        Ok(())
    }
}

/// Whether a commit was refused before it did anything.
fn is_refusal(error: &Error) -> bool {
    let kinds = [Kind::Aborted, Kind::AlreadyExists, Kind::FailedPrecondition];
    kinds.contains(&error.kind()) || commit::is_damaged(error)
}

fn poisoned(path: &Path) -> Error {
    Error::data_loss(format!(
        "store: {}: the disk failed to sync, so what it holds is not known: \
         look at the disk, then open the store again",
        path.display()
    ))
}

/// One of those who wait, counted.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(groups: &'a Groups) -> Result<Self> {
        let most = groups.settings.waiting_max;
        let before = groups.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Self(&groups.waiting);
        match before < most {
            true => Ok(waiting),
            false => Err(Error::resource_exhausted(format!(
                "store: {most} requests wait for the disk already"
            ))),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
