//! Files. Calls block for as long as the disk does: make them inside [`Tasks::block`].
//!
//! Nothing is durable until it is synced: a file's bytes by [`File::sync`], the creation,
//! renaming and removal of names by [`Disk::sync_directory`].
//!
//! [`Tasks::block`]: super::Tasks::block

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to open a file; it is always readable and writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Existing,
    /// It is created if it does not exist.
    OrCreate,
    /// It must not exist.
    New,
    /// It is created if it does not exist, and while it is open nobody else can open it so,
    /// in this process or another. The operating system lets go of it with the process.
    Exclusive,
}

/// The disk of a host.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, `AlreadyExists`, `WouldBlock` for a file that somebody holds
    /// [exclusively](Open::Exclusive), or what the disk says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// The names in a directory, sorted.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the disk says.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;

    /// Creates a directory and those above it; no error if it exists.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn create_directory(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing the target in one step.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// `NotFound`, or what the disk says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    ///
    /// After a failure nothing unsynced may be relied on, and trying again proves nothing.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Fills `buffer` from an offset.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` when the file ends before the buffer is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at an offset; a gap before it reads as zeros.
    ///
    /// # Errors
    ///
    /// `StorageFull`, or what the disk says; any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all that was written durable, and the length.
    ///
    /// # Errors
    ///
    /// After a failure nothing unsynced may be relied on, and trying again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    ///
    /// What the disk says.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
}
