//! A store on a disk that is cut off, full, failing or damaged: it must come back whole.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use nitro::host::Host;
use nitro::host::entropy::Sequence;
use nitro::host::memory::Machine;
use nitro::store::{Commit, Condition, Fence, Select, Settings, Store};
use nitro::{Error, Kind};

use super::recorded::{Entry, Recorded, Which, put};
use super::{On, Setting};

fn host(disk: Recorded) -> Host {
    Host {
        disk: Arc::new(disk),
        ..Machine::new().host("here")
    }
}

async fn open(disk: &Recorded) -> nitro::Result<Store> {
    open_as(disk, Settings::default()).await
}

async fn open_as(disk: &Recorded, settings: Settings) -> nitro::Result<Store> {
    let settings = Settings {
        cache_bytes: 256 * 1024,
        ..settings
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
                    // What is there can be read all the while.
                    assert_eq!(last(&store).await, Some(last_good));
                }
                disk.fail(None);
                assert_eq!(last(&store).await, Some(last_good));
            }
        }
    });
}

#[test]
fn a_store_on_a_full_disk_can_be_opened_and_read_and_is_written_when_there_is_room() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        for n in 1..=10 {
            write(&store, n).await.unwrap();
        }
        drop(store);
        for after_a_crash in [false, true] {
            let disk = match after_a_crash {
                // In the middle of a commit, so that there is something to repair.
                true => disk.after_crash(disk.log_length() - 3, 5),
                false => disk.after_crash(disk.log_length(), 5),
            };
            disk.fail(Some((Which::Writes, ErrorKind::StorageFull)));
            let store = open(&disk).await.unwrap();
            let found = last(&store).await.unwrap();
            assert!(found >= 9, "{found}");
            let error = write(&store, 11).await.unwrap_err();
            assert_eq!(error.kind(), Kind::ResourceExhausted, "{error}");
            assert_eq!(last(&store).await, Some(found));
            disk.fail(None);
            write(&store, 12).await.unwrap();
            drop(store);
            let store = open(&disk).await.unwrap();
            assert_eq!(last(&store).await, Some(12));
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

#[test]
fn a_damaged_record_is_found_when_it_is_read_even_if_opening_looks_at_nothing() {
    run(async {
        let disk = Recorded::default();
        let store = open(&disk).await.unwrap();
        let table = store.table("d", "t");
        table.write("bad", "sevenfold").await.unwrap();
        table.write("good", "x").await.unwrap();
        drop((store, table));
        disk.wait_until_closed();
        {
            let mut state = disk.0.lock().unwrap();
            let file = state.names[Path::new("store")];
            let bytes = &mut state.files[file];
            let places = 0..bytes.len() - 9;
            let found: Vec<usize> = places
                .filter(|at| &bytes[*at..*at + 9] == b"sevenfold")
                .collect();
            assert!(!found.is_empty());
            for at in found {
                bytes[at + 4] ^= 1;
            }
        }
        let settings = Settings {
            check_when_opened: false,
            ..Settings::default()
        };
        let store = open_as(&disk, settings).await.unwrap();
        let table = store.table("d", "t");
        let error = table.read("bad").await.unwrap_err();
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.message().contains("bad is damaged"), "{error}");
        let unchanged = Condition::IfAbsent;
        let error = table.write_if("bad", "x", unchanged).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DataLoss);
        table.list(Select::default()).await.unwrap_err();
        // The others are well, and so is it once it is written anew on no condition.
        assert_eq!(&*table.read("good").await.unwrap().unwrap().value, b"x");
        table.write("good", "y").await.unwrap();
        table.write("bad", "mended").await.unwrap();
        assert_eq!(&*table.read("bad").await.unwrap().unwrap().value, b"mended");
        assert_eq!(
            table.list(Select::default()).await.unwrap().records.len(),
            2
        );
    });
}
