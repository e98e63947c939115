//! A disk that can be cut at any write or sync, and a store on it that must come back whole.
//!
//! The disk keeps a log of all that was done to it. For a crash after the first n entries it
//! gives the disk that is left: everything that was synced, and of what was not, a part that a
//! seed decides, down to single sectors.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nitro::host::disk::Open;
use nitro::host::entropy::Sequence;
use nitro::host::memory::Machine;
use nitro::host::{Disk, File, Host};
use nitro::store::{Commit, Condition, Fence, Select, Settings, Store};
use nitro::{Error, Kind};

use super::{On, Setting};

/// What a disk writes in one piece.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Entry {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Length(PathBuf, u64),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    SyncDirectory,
}

#[derive(Debug, Default)]
struct State {
    /// The bytes of each file, by a number that a rename does not change.
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    log: Vec<Entry>,
    /// What is answered instead of doing it, to which, once the log has this length.
    failing: Option<(Which, ErrorKind, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Writes,
    Syncs,
    Reads,
}

/// A disk that remembers.
#[derive(Clone, Debug, Default)]
struct Recorded(Arc<Mutex<State>>);

impl Recorded {
    fn fail(&self, failing: Option<(Which, ErrorKind)>) {
        self.fail_from(0, failing);
    }

    fn fail_from(&self, length: usize, failing: Option<(Which, ErrorKind)>) {
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

    fn log_length(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// The disk after a crash that let only the first entries of the log happen, of which those
    /// that were not synced may be lost or torn.
    fn after_crash(&self, entries: usize, seed: u64) -> Recorded {
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

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
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
        let disk = self.clone();
        Ok(Arc::new(Handle { disk, number }))
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

fn host(disk: Recorded) -> Host {
    Host {
        disk: Arc::new(disk),
        ..Machine::new().host("here")
    }
}

async fn open(disk: &Recorded) -> nitro::Result<Store> {
    let settings = Settings {
        cache_bytes: 256 * 1024,
        ..Settings::default()
    };
    let host = host(disk.clone());
    let opened = nitro::store::FileStore::open(&host, "store", settings).await;
    opened.map(Store::new)
}

/// The pair of records that each commit writes: equal in every state that is whole.
async fn write(store: &Store, n: u64) -> Result<(), Error> {
    let (one, two) = (store.table("d", "one"), store.table("d", "two"));
    let pad = "x".repeat((n as usize * 977) % 6_000);
    let value = format!("{n} {pad}");
    let put = || nitro::store::Action::put(value.clone());
    let key = format!("key-{}", n % 7);
    let commit = Commit {
        writes: vec![
            one.prepare("last", Condition::Always, put()),
            two.prepare("last", Condition::Always, put()),
            one.prepare(key, Condition::Always, put()),
        ],
        fence: Some(Fence {
            name: "writer".to_owned(),
            token: n,
        }),
    };
    store.commit(commit).await.map(drop)
}

async fn last(store: &Store) -> Option<u64> {
    let mut found = Vec::new();
    for table in ["one", "two"] {
        let record = store.table("d", table).read("last").await.unwrap();
        found.push(record.map(|record| {
            let text = String::from_utf8(record.value.to_vec()).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        }));
    }
    assert_eq!(found[0], found[1], "a commit was done by half");
    found[0]
}

fn run<F: Future<Output = ()>>(test: F) {
    super::run(On::Memory, async |_: Setting| test.await);
}

#[test]
fn after_a_crash_at_any_write_or_sync_a_store_has_all_it_acknowledged_and_nothing_by_half() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        // What was acknowledged when the log had that length.
        let mut acknowledged = vec![(disk.log_length(), 0)];
        for n in 1..=25 {
            write(&store, n).await.unwrap();
            acknowledged.push((disk.log_length(), n));
        }
        drop(store);
        let entries = disk.log_length();
        assert!(entries > 100, "{entries} entries");
        for cut in 0..=entries {
            for seed in 0..3 {
                let left = disk.after_crash(cut, seed ^ (cut as u64) << 8);
                let until_cut = acknowledged.iter().rev();
                let promised = until_cut.clone().find(|(at, _)| *at <= cut);
                let store = open(&left).await.unwrap_or_else(|error| {
                    panic!("cut after {cut} of {entries}, seed {seed}: {error}")
                });
                let found = last(&store).await.unwrap_or(0);
                let least = promised.map_or(0, |(_, n)| *n);
                assert!(
                    (least..=least + 1).contains(&found),
                    "cut after {cut} of {entries}, seed {seed}: {found} was the last, {least} was acknowledged"
                );
                // It goes on: what is written now is there, and fences hold.
                if found > 0 {
                    let stale = write(&store, found - 1).await.unwrap_err();
                    assert_eq!(stale.kind(), Kind::FailedPrecondition);
                }
                write(&store, found + 1).await.unwrap();
                assert_eq!(last(&store).await, Some(found + 1));
            }
        }
    });
}

#[test]
fn a_crash_while_opening_after_a_crash_does_no_further_harm() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        for n in 1..=10 {
            write(&store, n).await.unwrap();
        }
        let crashed = disk.after_crash(disk.log_length(), 1);
        crashed.0.lock().unwrap().log.clear();
        let before = crashed.0.lock().unwrap().files.clone();
        drop(open(&crashed).await.unwrap());
        let repair = crashed.0.lock().unwrap().log.clone();
        for cut in 0..=repair.len() {
            let half = Recorded::default();
            {
                let mut state = half.0.lock().unwrap();
                state.files = before.clone();
                state.names = crashed.0.lock().unwrap().names.clone();
                for entry in &repair[..cut] {
                    match entry {
                        Entry::Write(path, offset, bytes) => {
                            let file = state.names[path];
                            put(&mut state.files[file], *offset as usize, bytes);
                        }
                        Entry::Length(path, length) => {
                            let file = state.names[path];
                            state.files[file].resize(*length as usize, 0);
                        }
                        _ => {}
                    }
                }
            }
            let store = open(&half).await.unwrap();
            assert_eq!(last(&store).await, Some(10), "cut after {cut}");
        }
    });
}

#[test]
fn a_failed_sync_ends_all_acknowledgement_until_the_store_is_opened_again() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        write(&store, 1).await.unwrap();
        disk.fail(Some((Which::Syncs, ErrorKind::Other)));
        write(&store, 2).await.unwrap_err();
        // The disk says that all is well again: that proves nothing.
        disk.fail(None);
        for _ in 0..3 {
            let error = write(&store, 3).await.unwrap_err();
            assert_eq!(error.kind(), Kind::DataLoss);
            assert!(error.message().contains("failed to sync"), "{error}");
        }
        let error = store.table("d", "one").read("last").await.unwrap_err();
        assert_eq!(error.kind(), Kind::DataLoss);
        drop(store);
        let store = open(&disk).await.unwrap();
        assert!([Some(1), Some(2)].contains(&last(&store).await));
        write(&store, 4).await.unwrap();
    });
}

#[test]
fn a_disk_that_is_full_or_failing_gives_errors_and_the_store_recovers_with_it() {
    run(async {
        for (which, kind, expected) in [
            (
                Which::Writes,
                ErrorKind::StorageFull,
                Kind::ResourceExhausted,
            ),
            (Which::Writes, ErrorKind::Other, Kind::Unavailable),
        ] {
            let disk = Recorded::default();
            let store = open(&disk).await.unwrap();
            let mut last_good = 0;
            let mut n = 0;
            for round in 0..4 {
                for _ in 0..5 {
                    n += 1;
                    write(&store, n).await.unwrap();
                    last_good = n;
                }
                disk.fail(Some((which, kind)));
                for _ in 0..3 {
                    n += 1;
                    let error = write(&store, n).await.unwrap_err();
                    assert_eq!(error.kind(), expected, "round {round}: {error}");
                }
                disk.fail(None);
                assert_eq!(last(&store).await, Some(last_good));
            }
        }
    });
}

#[test]
fn a_full_disk_at_any_write_loses_nothing_that_was_acknowledged() {
    run(async {
        let whole = {
            let disk = Recorded::default();
            let store = open(&disk).await.unwrap();
            let start = disk.log_length();
            for n in 1..=12 {
                write(&store, n).await.unwrap();
            }
            disk.log_length() - start
        };
        for allowed in 0..whole {
            let disk = Recorded::default();
            let store = open(&disk).await.unwrap();
            let start = disk.log_length();
            disk.fail_from(
                start + allowed,
                Some((Which::Writes, ErrorKind::StorageFull)),
            );
            let (mut acknowledged, mut refused) = (0, 0);
            for n in 1..=12 {
                match write(&store, n).await {
                    Ok(()) => acknowledged = n,
                    Err(error) => {
                        assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
                        refused += 1;
                        disk.fail(None);
                    }
                }
            }
            assert!(refused <= 1, "allowed {allowed}: {refused} refused");
            disk.fail(None);
            let found = last(&store).await.unwrap_or(0);
            assert!(
                found >= acknowledged,
                "allowed {allowed}: {found} of {acknowledged}"
            );
            drop(store);
            let store = open(&disk).await.unwrap();
            assert_eq!(last(&store).await.unwrap_or(0), found);
        }
    });
}

#[test]
fn damage_is_found_and_never_read_as_something_else() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        for n in 1..=30 {
            write(&store, n).await.unwrap();
        }
        let all = store.table("d", "one").list(Select::default()).await;
        let all = all.unwrap().records;
        drop(store);
        let draw = Sequence::from_seed(9);
        let (mut found, mut harmless) = (0, 0);
        for _ in 0..300 {
            let copy = disk.after_crash(disk.log_length(), 1);
            {
                let mut state = copy.0.lock().unwrap();
                let file = state.names[Path::new("store")];
                let bytes = &mut state.files[file];
                let at = draw.below(bytes.len());
                bytes[at] ^= 1 << draw.below(8);
            }
            let Ok(store) = open(&copy).await else {
                found += 1;
                continue;
            };
            match store.table("d", "one").list(Select::default()).await {
                Ok(listed) => {
                    assert_eq!(listed.records, all);
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::DataLoss, "{error}");
                    found += 1;
                }
            }
        }
        assert!(
            found > 20 && harmless > 20,
            "{found} found, {harmless} harmless"
        );
    });
}
