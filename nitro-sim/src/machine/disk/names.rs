//! The names on a disk: what the node sees, and what would be left of them after a power cut.
//!
//! Changes are kept in the order they were made, and become durable in that order, as in a file
//! system with a journal.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::inode::Inode;
use crate::draw::Draw;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Entry {
    File(Arc<Mutex<Inode>>),
    Directory,
}

/// Names set and removed in one step.
type Change = Vec<(PathBuf, Option<Entry>)>;

/// The names on a disk.
#[derive(Default)]
pub(super) struct Names {
    seen: BTreeMap<PathBuf, Entry>,
    durable: BTreeMap<PathBuf, Entry>,
    pending: Vec<Change>,
}

fn error(kind: ErrorKind, path: &Path, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}

/// Whether a path is the root, which needs no name.
fn is_root(path: &Path) -> bool {
    path.parent().is_none() || path.as_os_str().is_empty()
}

impl Names {
    pub(super) fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Inode>>> {
        match self.seen.get(path) {
            Some(Entry::File(file)) => Ok(Arc::clone(file)),
            Some(Entry::Directory) => Err(error(ErrorKind::IsADirectory, path, "a directory")),
            None => Err(error(ErrorKind::NotFound, path, "no such file")),
        }
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.seen.contains_key(path)
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        match self.seen.get(path) {
            _ if is_root(path) => Ok(()),
            Some(Entry::Directory) => Ok(()),
            Some(Entry::File(_)) => Err(error(ErrorKind::NotADirectory, path, "a file")),
            None => Err(error(ErrorKind::NotFound, path, "no such directory")),
        }
    }

    /// Creates a file in a directory that exists.
    pub(super) fn create(&mut self, path: &Path, inode: Inode) -> io::Result<Arc<Mutex<Inode>>> {
        self.directory(path.parent().unwrap_or(path))?;
        let file = Arc::new(Mutex::new(inode));
        self.change(vec![(
            path.to_owned(),
            Some(Entry::File(Arc::clone(&file))),
        )]);
        Ok(file)
    }

    pub(super) fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.directory(directory)?;
        let within = self
            .seen
            .keys()
            .filter(|path| path.parent() == Some(directory));
        let names = within.filter_map(|path| path.file_name().map(PathBuf::from));
        Ok(names.collect())
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let mut above: Vec<&Path> = path.ancestors().filter(|path| !is_root(path)).collect();
        above.reverse();
        for path in above {
            match self.seen.get(path) {
                Some(Entry::Directory) => {}
                Some(Entry::File(_)) => {
                    return Err(error(ErrorKind::AlreadyExists, path, "a file"));
                }
                None => self.change(vec![(path.to_owned(), Some(Entry::Directory))]),
            }
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.file(from)?;
        self.directory(to.parent().unwrap_or(to))?;
        if let Some(Entry::Directory) = self.seen.get(to) {
            return Err(error(ErrorKind::IsADirectory, to, "a directory"));
        }
        if from != to {
            let set = (to.to_owned(), Some(Entry::File(file)));
            self.change(vec![(from.to_owned(), None), set]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.change(vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.seen, change.clone());
        self.pending.push(change);
    }

    /// Makes the names in a directory durable, and with them all changes before theirs.
    pub(super) fn sync(&mut self, directory: &Path) -> io::Result<()> {
        self.directory(directory)?;
        let is_within = |(path, _): &(PathBuf, Option<Entry>)| path.parent() == Some(directory);
        let last = self
            .pending
            .iter()
            .rposition(|change| change.iter().any(is_within));
        for change in self.pending.drain(..last.map_or(0, |last| last + 1)) {
            apply(&mut self.durable, change);
        }
        Ok(())
    }

    /// Fails to: the machine takes the names in the directory for durable, and they are not.
    pub(super) fn fail_sync(&mut self, directory: &Path) {
        self.pending.retain(|change| {
            let mut paths = change.iter().map(|(path, _)| path.parent());
            !paths.all(|parent| parent == Some(directory))
        });
    }

    /// The power is cut: of the changes that were not synced, the first few are durable.
    pub(super) fn cut_power(&mut self, draw: &mut Draw) {
        let kept = draw.whole(0, self.pending.len() as u64) as usize;
        for change in std::mem::take(&mut self.pending).into_iter().take(kept) {
            apply(&mut self.durable, change);
        }
        self.seen = self.durable.clone();
        for entry in self.seen.values() {
            if let Entry::File(file) = entry {
                file.lock()
                    .expect("no panic while a file is held")
                    .cut_power(draw);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, change: Change) {
    for (path, entry) in change {
        match entry {
            Some(entry) => drop(names.insert(path, entry)),
            None => drop(names.remove(&path)),
        }
    }
}
