//! What redb writes to: a file of the host's disk, which remembers how the disk has failed, and
//! which is written only once it is known to be a store.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::host::File;

/// One opening of a file.
pub(super) struct Medium {
    file: Arc<dyn File>,
    /// What is to be done to the file with the first write. Opening repairs what a crash has
    /// left: that must not be done to a stranger's file, and on a full disk it cannot be done
    /// while reading still can.
    held_back: Mutex<Option<Vec<Change>>>,
    /// The disk failed to sync: what it holds is not known.
    sync_failed: AtomicBool,
    /// The disk failed in any way: nothing is written any more through this opening.
    failed: AtomicBool,
}

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Medium {
    /// A file to which nothing is done before [`Medium::release`], and which reads until then as if
    /// it had been.
    pub(super) fn held_back(file: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self {
            file,
            held_back: Mutex::new(Some(Vec::new())),
            sync_failed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        })
    }

    /// Does what was held back, in its order, and everything else at once from now on. Who reads
    /// beside it sees the file as if it had been done already.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut held = self.held();
        for change in held.iter().flatten() {
            match change {
                Change::Write(offset, bytes) => self.write(*offset, bytes)?,
                Change::Length(length) => self.set_length(*length)?,
                Change::Sync => self.sync()?,
            }
        }
        *held = None;
        Ok(())
    }

    pub(super) fn has_failed_to_sync(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Lets nothing more be written.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<Change>>> {
        self.held_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a change was held back instead of being made.
    fn hold_back(&self, change: impl FnOnce() -> Change) -> bool {
        let mut held = self.held();
        let held = held.as_mut().map(|changes| changes.push(change()));
        held.is_some()
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.fail();
        }
        outcome
    }

    fn check(&self) -> io::Result<()> {
        match self.has_failed() {
            true => Err(io::Error::other("the disk has failed before")),
            false => Ok(()),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.note(self.file.write_at(offset, bytes))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.note(self.file.set_length(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        let synced = self.note(self.file.sync());
        if synced.is_err() {
            self.sync_failed.store(true, Ordering::Release);
        }
        synced
    }
}

/// What redb is handed.
pub(super) struct Backend(pub(super) Arc<Medium>);

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let mut length = self.0.note(self.0.file.length())?;
        for change in self.0.held().iter().flatten() {
            match change {
                Change::Length(changed) => length = *changed,
                Change::Write(offset, bytes) => length = length.max(offset + bytes.len() as u64),
                Change::Sync => {}
            }
        }
        Ok(length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.0.held();
        let Some(changes) = held.as_ref().filter(|changes| !changes.is_empty()) else {
            drop(held);
            return self.0.note(self.0.file.read_at(offset, out));
        };
        // What is held back may lie past the end of the file as it is.
        let length = self.0.note(self.0.file.length())?;
        let there = length.saturating_sub(offset).min(out.len() as u64) as usize;
        out.fill(0);
        self.0
            .note(self.0.file.read_at(offset, &mut out[..there]))?;
        for change in changes {
            if let Change::Write(at, bytes) = change {
                overlay(offset, out, *at, bytes);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.0.hold_back(|| Change::Length(length)) {
            return Ok(());
        }
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.hold_back(|| Change::Sync) {
            return Ok(());
        }
        self.0.sync()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.0.hold_back(|| Change::Write(offset, bytes.to_vec())) {
            return Ok(());
        }
        self.0.write(offset, bytes)
    }
}

/// Puts the part of `bytes`, which stand at `at`, that falls into `out`, which stands at `offset`.
fn overlay(offset: u64, out: &mut [u8], at: u64, bytes: &[u8]) {
    let start = at.max(offset);
    let end = (at + bytes.len() as u64).min(offset + out.len() as u64);
    if start < end {
        let part = &bytes[(start - at) as usize..(end - at) as usize];
        out[(start - offset) as usize..(end - offset) as usize].copy_from_slice(part);
    }
}
