//! What only a store in a file promises: whose it is, what it refuses, and what comes back.

use std::time::Duration;

use nitro::Kind;
use nitro::store::{Condition, FileStore, Select, Settings, Store, Sync};

use super::{On, run};

fn each(test: impl AsyncFn(super::Setting)) {
    run(On::Memory, &test);
    run(On::Machine, &test);
}

#[test]
fn what_was_written_is_there_when_the_file_is_opened_again() {
    each(async |mut setting| {
        let path = setting.path("store");
        let store = Store::file(&setting.host, &path).await.unwrap();
        let table = store.table("d", "t");
        let version = table.write("a", "1").await.unwrap();
        let hour = Duration::from_secs(3600);
        table
            .write_for(hour, "b", "2", Condition::Always)
            .await
            .unwrap();
        let revision = store.revision().await.unwrap();
        drop((store, table));
        let store = Store::file(&setting.host, &path).await.unwrap();
        let table = store.table("d", "t");
        let again = store.revision().await.unwrap();
        assert_eq!(again.number, revision.number);
        assert_ne!(again.epoch, revision.epoch);
        assert_eq!(table.read("a").await.unwrap().unwrap().version, version);
        let left = table.read("b").await.unwrap().unwrap().ttl_ms.unwrap();
        assert!((3_590_000..=3_600_000).contains(&left), "{left}");
        assert!(table.write("a", "2").await.unwrap() > revision.number);
    });
}

#[test]
fn time_stands_still_while_a_store_is_closed() {
    run(On::Memory, async |mut setting: super::Setting| {
        let path = setting.path("store");
        let ttl = Duration::from_secs(10);
        // Six seconds of the ten it is open, then six more; in between, an hour it is closed.
        for expected in [true, false] {
            let store = Store::file(&setting.host, &path).await.unwrap();
            let table = store.table("d", "t");
            if expected {
                let written = table.write_for(ttl, "a", "1", Condition::IfAbsent).await;
                written.unwrap();
            }
            setting.host.clock.sleep(Duration::from_secs(6)).await;
            let found = table.read("a").await.unwrap().is_some();
            assert_eq!(found, expected);
            // A commit notes the time.
            table.write("b", "2").await.unwrap();
            drop((store, table));
            setting.host.clock.sleep(Duration::from_secs(3600)).await;
        }
    });
}

#[test]
fn a_second_holder_is_told_that_the_file_is_in_use() {
    each(async |mut setting| {
        let path = setting.path("store");
        let store = Store::file(&setting.host, &path).await.unwrap();
        let error = Store::file(&setting.host, &path).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(
            error
                .message()
                .contains("another process has the file open"),
            "{error}"
        );
        store.table("d", "t").write("a", "1").await.unwrap();
        drop(store);
        let store = Store::file(&setting.host, &path).await.unwrap();
        assert!(store.table("d", "t").read("a").await.unwrap().is_some());
    });
}

#[test]
fn what_has_gone_makes_room_for_what_comes() {
    run(On::Memory, async |mut setting: super::Setting| {
        let path = setting.path("store");
        let store = Store::file(&setting.host, &path).await.unwrap();
        let table = store.table("d", "t");
        let file = setting
            .host
            .disk
            .open(&path, nitro::host::disk::Open::Existing)
            .unwrap();
        let ttl = Duration::from_secs(1);
        let mut lengths = Vec::new();
        for round in 0..12 {
            for index in 0..20 {
                let key = format!("{round}/{index}");
                let value = vec![1; 50_000];
                table
                    .write_for(ttl, key, value, Condition::Always)
                    .await
                    .unwrap();
            }
            lengths.push(file.length().unwrap());
            setting.host.clock.sleep(ttl * 2).await;
        }
        let (early, late) = (lengths[2], lengths[11]);
        assert!(late <= early, "{lengths:?}");
        assert!(
            table
                .list(Select::default())
                .await
                .unwrap()
                .records
                .is_empty()
        );
    });
}

/// The bytes of a file that was made somewhere.
fn made(make: impl FnOnce(&std::path::Path)) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made");
    make(&path);
    std::fs::read(&path).unwrap()
}

fn good() -> Vec<u8> {
    made(|path| {
        run(On::Machine, async |setting: super::Setting| {
            let store = Store::file(&setting.host, path).await.unwrap();
            for n in 0..50 {
                let table = store.table("d", "t");
                table.write(format!("{n}"), vec![3; 500]).await.unwrap();
            }
        });
    })
}

fn foreign() -> Vec<u8> {
    made(|path| {
        let database = redb::Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<u64, u64>::new("theirs");
        transaction.open_table(table).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    })
}

fn newer(good: &[u8]) -> Vec<u8> {
    made(|path| {
        std::fs::write(path, good).unwrap();
        let database = redb::Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = redb::TableDefinition::<&str, u64>::new("nitro/meta");
        transaction
            .open_table(meta)
            .unwrap()
            .insert("format", 2)
            .unwrap();
        transaction.commit().unwrap();
    })
}

#[test]
fn a_file_of_another_kind_is_refused_and_left_as_it_was() {
    let good = good();
    let (foreign, newer) = (foreign(), newer(&good));
    let mut other_version = good.clone();
    other_version[64] = 0x7f;
    let mut flipped = good.clone();
    flipped[2] ^= 0x10;
    let cut = |length: usize| good[..length].to_vec();
    let zeros = vec![0; 8192];
    let wrong: [(&str, Vec<u8>, &[Kind], &str); 10] = [
        (
            "empty",
            Vec::new(),
            &[Kind::FailedPrecondition],
            "is no store",
        ),
        (
            "text",
            b"#!/bin/sh\necho hello\n".to_vec(),
            &[Kind::FailedPrecondition],
            "is no store",
        ),
        ("zeros", zeros, &[Kind::FailedPrecondition], "is no store"),
        (
            "foreign",
            foreign,
            &[Kind::FailedPrecondition],
            "some other program's database",
        ),
        (
            "newer",
            newer,
            &[Kind::FailedPrecondition],
            "format 2, and this program reads format 1",
        ),
        (
            "other",
            other_version,
            &[Kind::FailedPrecondition, Kind::DataLoss],
            "",
        ),
        (
            "a bit of its first bytes",
            flipped,
            &[Kind::DataLoss],
            "its first bytes are not quite those of a store",
        ),
        ("cut at 100", cut(100), &[Kind::DataLoss], ""),
        ("cut at 5000", cut(5_000), &[Kind::DataLoss], ""),
        ("cut in half", cut(good.len() / 2), &[Kind::DataLoss], ""),
    ];
    for (what, bytes, kinds, expected) in wrong {
        run(On::Machine, async |mut setting: super::Setting| {
            let path = setting.path("store");
            std::fs::write(&path, &bytes).unwrap();
            let error = Store::file(&setting.host, &path).await.unwrap_err();
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            assert!(error.message().contains(expected), "{what}: {error}");
            let name = path.display().to_string();
            assert!(error.message().contains(&name), "{what}: {error}");
            if kinds == [Kind::FailedPrecondition] {
                let after = std::fs::read(&path).unwrap();
                assert!(after == bytes, "{what}: the file was changed");
            }
        });
    }
}

#[test]
fn a_store_that_syncs_every_second_has_all_of_it_after_a_second() {
    run(On::Machine, async |mut setting: super::Setting| {
        let path = setting.path("store");
        let settings = Settings {
            sync: Sync::EverySecond,
            ..Settings::default()
        };
        let opened = FileStore::open(&setting.host, &path, settings).await;
        let store = Store::new(opened.unwrap());
        let table = store.table("d", "t");
        for n in 0..50 {
            table.write(format!("{n:02}"), "x").await.unwrap();
        }
        setting.host.clock.sleep(Duration::from_secs(1)).await;
        table.write("99", "the one that syncs").await.unwrap();
        let copy = setting.path("copy");
        std::fs::copy(&path, &copy).unwrap();
        let copied = Store::file(&setting.host, &copy).await.unwrap();
        let listed = copied.table("d", "t").list(Select::default()).await;
        assert_eq!(listed.unwrap().records.len(), 51);
    });
}
