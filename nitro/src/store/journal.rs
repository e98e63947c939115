//! The last changes of a store, and those who wait for the next.

#[cfg(feature = "file")]
mod restart;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::commit::Logged;
use super::{BATCH_BYTES_MAX, Change, ChangeKind, LIST_MAX, Watched};
use crate::error::{Error, Result};
use crate::host::Clock;
use crate::latest;
use crate::port::Revision;
use crate::time::Instant;

/// The most bytes of values that are kept for watchers who lag behind.
const LOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The changes since a store was opened, as far as they are kept.
pub(super) struct Journal {
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    /// Wakes watchers at every change.
    changed: latest::Sender<()>,
    watchers_max: usize,
}

struct Log {
    /// The last revision told.
    last: Revision,
    /// The revisions up to `last`, without gaps, each with what it changed.
    entries: VecDeque<Vec<Logged>>,
    changes: usize,
    bytes: usize,
    changes_max: usize,
}

impl Journal {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        last: Revision,
        changes_max: usize,
        watchers_max: usize,
    ) -> Self {
        let log = Log {
            last,
            entries: VecDeque::new(),
            changes: 0,
            bytes: 0,
            changes_max,
        };
        Self {
            clock,
            log: Mutex::new(log),
            changed: latest::Sender::new(()),
            watchers_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // No method leaves a log half changed, so a poisoned one is whole.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what a revision changed; revisions are told in order.
    pub(super) fn push(&self, changes: Vec<Logged>) {
        if changes.is_empty() {
            return;
        }
        self.lock().push(changes);
        self.changed.set(());
    }

    /// What changed after a revision at the places that begin so. `tend` removes what is due and
    /// says when it wants to be asked again.
    pub(super) async fn watch<F, Fut>(
        &self,
        places: &[u8],
        after: Revision,
        until: Instant,
        tend: F,
    ) -> Result<Watched>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<Instant>>>,
    {
        let mut changed = self.changed.subscribe();
        if self.changed.receivers() > self.watchers_max {
            return Err(Error::resource_exhausted(format!(
                "store: more than {} watchers are waiting",
                self.watchers_max
            )));
        }
        let mut after = after;
        loop {
            let next_expiry = tend().await?;
            // Marked as seen before looking, so that no change falls in between.
            changed.mark_seen();
            let watched = self.lock().after(places, after);
            match &watched {
                Watched::Changes { changes, revision }
                    if changes.is_empty() && self.clock.now() < until =>
                {
                    // What was passed over is at other places.
                    after = after.max(*revision);
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

impl Log {
    fn push(&mut self, changes: Vec<Logged>) {
        self.last.number += 1;
        self.changes += changes.len();
        self.bytes += changes.iter().map(bytes).sum::<usize>();
        self.entries.push_back(changes);
        while self.changes > self.changes_max || self.bytes > LOG_BYTES_MAX {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            self.changes -= oldest.len();
            self.bytes -= oldest.iter().map(bytes).sum::<usize>();
        }
    }

    fn after(&self, places: &[u8], after: Revision) -> Watched {
        let oldest = self.last.number - self.entries.len() as u64;
        if after.epoch != self.last.epoch || after.number < oldest {
            return Watched::Reset;
        }
        // A list may have seen a revision that is about to be told: then there is nothing yet.
        let missed = self.last.number.saturating_sub(after.number);
        let missed = usize::try_from(missed).expect("at most the log's length");
        let mut changes: Vec<Change> = Vec::new();
        let mut size = 0;
        let mut revision = after.max(self.last);
        for entry in self.entries.range(self.entries.len() - missed..) {
            let wanted = entry
                .iter()
                .filter(|logged| logged.place.starts_with(places));
            let before = changes.len();
            changes.extend(wanted.map(|logged| logged.change.clone()));
            size += entry.iter().map(bytes).sum::<usize>();
            if changes.len() > before && (changes.len() >= LIST_MAX || size > BATCH_BYTES_MAX) {
                revision = changes[before].revision;
                break;
            }
        }
        Watched::Changes { changes, revision }
    }
}

fn bytes(logged: &Logged) -> usize {
    let value = match &logged.change.kind {
        ChangeKind::Put(record) => record.value.len(),
        ChangeKind::Deleted | ChangeKind::Expired => 0,
    };
    logged.place.len() * 2 + value
}
