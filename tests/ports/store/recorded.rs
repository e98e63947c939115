//! A disk that can be cut at any write or sync.
//!
//! The disk keeps a log of all that was done to it. For a crash after the first n entries it
//! gives the disk that is left: everything that was synced, and of what was not, a part that a
//! seed decides, down to single sectors.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nitro::host::disk::Open;
use nitro::host::entropy::Sequence;
use nitro::host::{Disk, File};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(super) enum Entry {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Length(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDirectory,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The bytes of each file, by a number that a rename does not change.
    pub(super) files: Vec<Vec<u8>>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) log: Vec<Entry>,
    /// The files that somebody has for themselves.
    held: BTreeSet<usize>,
    /// What is answered instead of doing it, to which, once the log has this length.
    failing: Option<(Which, ErrorKind, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Which {
    Writes,
    Syncs,
    Reads,
}

/// A disk that remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorded(pub(super) Arc<Mutex<State>>);

impl Recorded {
    pub(super) fn fail(&self, failing: Option<(Which, ErrorKind)>) {
        self.fail_from(0, failing);
    }

    pub(super) fn fail_from(&self, length: usize, failing: Option<(Which, ErrorKind)>) {
        let failing = failing.map(|(which, kind)| (which, kind, length));
        self.0.lock().unwrap().failing = failing;
    }

    fn check(state: &State, which: Which) -> io::Result<()> {
        match state.failing {
            Some((failing, kind, from)) if failing == which && state.log.len() >= from => {
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }

    /// Waits until nobody has a file for themselves: a store is closed by whoever worked on it
    /// last, which may be a thread that goes on a little after the last handle has gone.
    pub(super) fn wait_until_closed(&self) {
        for _ in 0..10_000 {
            if self.0.lock().unwrap().held.is_empty() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("a file is never closed");
    }

    pub(super) fn log_length(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// The disk after a crash that let only the first entries of the log happen, of which those
    /// that were not synced may be lost or torn.
    pub(super) fn after_crash(&self, entries: usize, seed: u64) -> Recorded {
        let log = self.0.lock().unwrap().log[..entries].to_vec();
        let draw = Sequence::from_seed(seed);
        let mut left = State::default();
        let mut names_synced = BTreeMap::new();
        for (at, entry) in log.iter().enumerate() {
            let rest = &log[at + 1..];
            match entry {
                Entry::Create(path) => {
                    left.names.insert(path.clone(), left.files.len());
                    left.files.push(Vec::new());
                }
                Entry::Write(path, offset, bytes) => {
                    let is_synced = is_synced(rest, path);
                    let file = left.names[path];
                    for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                        if is_synced || draw.below(2) == 1 {
                            let at = *offset as usize + index * SECTOR;
                            put(&mut left.files[file], at, sector);
                        }
                    }
                }
                Entry::Length(path, length) => {
                    if is_synced(rest, path) || draw.below(2) == 1 {
                        let file = left.names[path];
                        left.files[file].resize(*length as usize, 0);
                    }
                }
                Entry::Rename(from, to) => {
                    let file = left.names.remove(from).unwrap();
                    left.names.insert(to.clone(), file);
                }
                Entry::Sync(_) => {}
                Entry::SyncDirectory => names_synced = left.names.clone(),
            }
        }
        if draw.below(2) == 1 {
            left.names = names_synced;
        }
        Recorded(Arc::new(Mutex::new(left)))
    }
}

fn is_synced(rest: &[Entry], path: &Path) -> bool {
    let mut path = path.to_owned();
    for entry in rest {
        match entry {
            Entry::Sync(synced) if *synced == path => return true,
            Entry::Rename(from, to) if *from == path => path = to.clone(),
            _ => {}
        }
    }
    false
}

pub(super) fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

impl Disk for Recorded {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.0.lock().unwrap();
        let number = match state.names.get(path) {
            Some(number) => *number,
            None if how == Open::Existing => return Err(ErrorKind::NotFound.into()),
            None => {
                let number = state.files.len();
                state.files.push(Vec::new());
                state.names.insert(path.to_owned(), number);
                state.log.push(Entry::Create(path.to_owned()));
                number
            }
        };
        let is_exclusive = how == Open::Exclusive;
        if is_exclusive && !state.held.insert(number) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let disk = self.clone();
        Ok(Arc::new(Handle {
            disk,
            number,
            is_exclusive,
        }))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let number = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), number);
        state
            .log
            .push(Entry::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        self.0.lock().unwrap().log.push(Entry::SyncDirectory);
        Ok(())
    }
}

struct Handle {
    disk: Recorded,
    number: usize,
    is_exclusive: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.is_exclusive {
            let disk = &self.disk.0;
            let mut state = disk.lock().unwrap_or_else(PoisonError::into_inner);
            state.held.remove(&self.number);
        }
    }
}

impl Handle {
    fn path(&self, state: &State) -> PathBuf {
        let mut names = state.names.iter();
        let (path, _) = names.find(|(_, number)| **number == self.number).unwrap();
        path.clone()
    }
}

impl File for Handle {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.0.lock().unwrap();
        Recorded::check(&state, Which::Reads)?;
        let start = offset as usize;
        let part = state.files[self.number].get(start..start + buffer.len());
        buffer.copy_from_slice(part.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        Recorded::check(&state, Which::Writes)?;
        put(&mut state.files[self.number], offset as usize, bytes);
        let entry = Entry::Write(self.path(&state), offset, bytes.to_vec());
        state.log.push(entry);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        Recorded::check(&state, Which::Syncs)?;
        let entry = Entry::Sync(self.path(&state));
        state.log.push(entry);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[self.number].len() as u64)
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        Recorded::check(&state, Which::Writes)?;
        state.files[self.number].resize(bytes as usize, 0);
        let entry = Entry::Length(self.path(&state), bytes);
        state.log.push(entry);
        Ok(())
    }
}
