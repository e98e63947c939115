//! A disk in memory: it keeps what was written for as long as a handle to it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::{Disk, File, Open};

/// The longest file, so that a wild offset is an error and not the end of memory.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// Files in memory. A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
    held: AtomicBool,
}

/// A file that nobody else can open exclusively until this is dropped.
struct Held(Arc<MemoryFile>);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().expect("no panic while the tree is held")
    }
}

fn error(kind: ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut tree = self.lock();
        let found = tree.files.get(path).cloned();
        match (found, how) {
            (Some(_), Open::New) => Err(error(ErrorKind::AlreadyExists, path, "it exists")),
            (Some(file), Open::Exclusive) => Held::take(file, path),
            (Some(file), _) => Ok(file),
            (None, Open::Existing) => Err(error(ErrorKind::NotFound, path, "no such file")),
            (None, _) => {
                let file = Arc::new(MemoryFile::default());
                tree.files.insert(path.to_owned(), Arc::clone(&file));
                match how {
                    Open::Exclusive => Held::take(file, path),
                    _ => Ok(file),
                }
            }
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let tree = self.lock();
        let below = |path: &&PathBuf| path.parent() == Some(directory);
        let files = tree.files.keys().filter(below);
        let all = files.chain(tree.directories.iter().filter(below));
        let names: BTreeSet<PathBuf> = all
            .filter_map(|path| path.file_name().map(PathBuf::from))
            .collect();
        if names.is_empty() && !tree.directories.contains(directory) {
            return Err(error(ErrorKind::NotFound, directory, "no such directory"));
        }
        Ok(names.into_iter().collect())
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        let above = path.ancestors().map(Path::to_owned);
        self.lock().directories.extend(above);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.lock();
        let moved = tree.files.remove(from);
        let file = moved.ok_or_else(|| error(ErrorKind::NotFound, from, "no such file"))?;
        tree.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.lock().files.remove(path);
        removed
            .map(drop)
            .ok_or_else(|| error(ErrorKind::NotFound, path, "no such file"))
    }

    fn sync_directory(&self, _directory: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Held {
    fn take(file: Arc<MemoryFile>, path: &Path) -> io::Result<Arc<dyn File>> {
        if file.held.swap(true, Ordering::AcqRel) {
            return Err(error(ErrorKind::WouldBlock, path, "somebody else holds it"));
        }
        Ok(Arc::new(Held(file)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
    }
}

impl File for Held {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.0.set_length(bytes)
    }
}

impl MemoryFile {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes
            .lock()
            .expect("no panic while the bytes are held")
    }
}

fn index(offset: u64) -> io::Result<usize> {
    let fits = usize::try_from(offset)
        .ok()
        .filter(|_| offset <= FILE_BYTES_MAX);
    fits.ok_or_else(|| {
        let message = format!("byte {offset}: a file in memory ends at {FILE_BYTES_MAX}");
        io::Error::new(ErrorKind::StorageFull, message)
    })
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let bytes = self.lock();
        let start = index(offset)?;
        let part = bytes.get(start..start + buffer.len());
        let part = part.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let start = index(offset)?;
        let end = index(offset.saturating_add(new.len() as u64))?;
        let mut bytes = self.lock();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let length = index(length)?;
        self.lock().resize(length, 0);
        Ok(())
    }
}
