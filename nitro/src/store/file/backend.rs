//! What redb writes to: a file of the host's disk, which remembers how the disk has failed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use crate::host::File;

/// How the disk has failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    /// It failed to sync: what it holds is not known.
    sync: AtomicBool,
    /// It failed in any way: nothing is written any more through this opening of the file.
    any: AtomicBool,
}

impl Failures {
    pub(super) fn has_sync(&self) -> bool {
        self.sync.load(Ordering::Acquire)
    }

    pub(super) fn has_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Lets nothing more be written.
    pub(super) fn fail(&self) {
        self.any.store(true, Ordering::Release);
    }

    fn note<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.fail();
        }
        outcome
    }

    fn check(&self) -> io::Result<()> {
        match self.has_any() {
            true => Err(io::Error::other("the disk has failed before")),
            false => Ok(()),
        }
    }
}

pub(super) struct Backend {
    pub(super) file: Arc<dyn File>,
    pub(super) failures: Arc<Failures>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.failures.note(self.file.length())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.failures.note(self.file.read_at(offset, out))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.failures.check()?;
        self.failures.note(self.file.set_length(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.failures.check()?;
        let synced = self.failures.note(self.file.sync());
        if synced.is_err() {
            self.failures.sync.store(true, Ordering::Release);
        }
        synced
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.failures.check()?;
        self.failures.note(self.file.write_at(offset, bytes))
    }
}
