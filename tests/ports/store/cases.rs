//! What every store promises.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::host::Host;
use nitro::store::{
    Action, ChangeKind, Commit, Condition, Fence, LIST_MAX, Order, Record, Select, Store,
    WRITES_MAX, Watched,
};
use nitro::{Kind, Result};

const TTL: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_millis(20);

fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| &*record.key).collect()
}

pub(super) async fn a_record_is_read_back_as_it_was_written(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    let metadata = BTreeMap::from([("type".to_owned(), "text/plain".to_owned())]);
    let value = vec![0, 255, 13, 10, 34];
    let action = Action::Put {
        value: value.clone().into(),
        metadata: metadata.clone(),
        ttl_ms: None,
    };
    let write = table.prepare("a/b", Condition::Always, action);
    let committed = table.commit(vec![write], None).await.unwrap();
    assert_eq!(committed.existed, [false]);
    let read = table.read("a/b").await.unwrap().unwrap();
    let expected = Record {
        key: "a/b".to_owned(),
        value: value.into(),
        metadata,
        version: committed.revision.number,
        ttl_ms: None,
    };
    assert_eq!(read, expected);
    let version = table.write("a/b", "").await.unwrap();
    assert!(version > read.version);
    let read = table.read("a/b").await.unwrap().unwrap();
    assert_eq!((&*read.value, read.version), (&b""[..], version));
    assert_eq!(store.revision().await.unwrap().number, version);
}

pub(super) async fn what_is_not_there_is_neither_read_nor_deleted(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    assert_eq!(table.read("a").await.unwrap(), None);
    assert!(!table.delete("a").await.unwrap());
    let before = store.revision().await.unwrap();
    assert!(!table.delete("a").await.unwrap());
    assert_eq!(store.revision().await.unwrap(), before);
    table.write("a", "1").await.unwrap();
    assert!(table.delete("a").await.unwrap());
    assert_eq!(table.read("a").await.unwrap(), None);
    let listed = table.list(Select::default()).await.unwrap();
    assert_eq!((listed.records.len(), listed.more), (0, false));
}

pub(super) async fn a_write_on_a_condition_is_made_only_if_it_holds(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    let absent = Condition::IfAbsent;
    let version = table.write_if("a", "1", absent).await.unwrap();
    let error = table.write_if("a", "2", absent).await.unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert_eq!(error.detail("key"), Some("a"));

    let unchanged = Condition::IfVersion(version);
    let newer = table.write_if("a", "2", unchanged).await.unwrap();
    let error = table.write_if("a", "3", unchanged).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Aborted);
    let error = table.delete_if("a", unchanged).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Aborted);
    let error = table.write_if("b", "3", unchanged).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Aborted);
    assert_eq!(&*table.read("a").await.unwrap().unwrap().value, b"2");
    assert!(
        table
            .delete_if("a", Condition::IfVersion(newer))
            .await
            .unwrap()
    );
    // A record that was deleted and written again has another version.
    let again = table.write_if("a", "2", absent).await.unwrap();
    assert!(again > newer);
}

pub(super) async fn a_commit_is_made_whole_or_not_at_all(store: Store, _: Host) {
    let (from, to) = (store.table("bank", "from"), store.table("bank", "to"));
    let version = from.write("alice", "10").await.unwrap();
    let pay = |condition| Commit {
        writes: vec![
            to.prepare("bob", Condition::IfAbsent, Action::put("4")),
            from.prepare("alice", condition, Action::put("6")),
            from.prepare("carol", Condition::Always, Action::Delete),
        ],
        fence: None,
    };
    let wrong = store.commit(pay(Condition::IfVersion(version + 1))).await;
    assert_eq!(wrong.unwrap_err().kind(), Kind::Aborted);
    assert_eq!(to.read("bob").await.unwrap(), None);
    assert_eq!(&*from.read("alice").await.unwrap().unwrap().value, b"10");

    let committed = store.commit(pay(Condition::IfVersion(version))).await;
    let committed = committed.unwrap();
    assert_eq!(committed.existed, [false, true, false]);
    let bob = to.read("bob").await.unwrap().unwrap();
    let alice = from.read("alice").await.unwrap().unwrap();
    assert_eq!(bob.version, committed.revision.number);
    assert_eq!(alice.version, bob.version);

    let check = Commit {
        writes: vec![
            from.prepare("alice", Condition::IfVersion(version), Action::Check),
            to.prepare("dave", Condition::Always, Action::put("1")),
        ],
        fence: None,
    };
    let refused = store.commit(check).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Aborted);
    assert_eq!(to.read("dave").await.unwrap(), None);
}

pub(super) async fn tables_are_apart_even_when_names_run_into_each_other(store: Store, _: Host) {
    let names = [("a", "b"), ("a", "bc"), ("ab", "c"), ("a.b", "c")];
    for (database, table) in names {
        let name = format!("{database}+{table}");
        let table = store.table(database, table);
        table.write("key", name).await.unwrap();
    }
    for (database, table) in names {
        let name = format!("{database}+{table}");
        let listed = store.table(database, table).list(Select::default()).await;
        let listed = listed.unwrap();
        assert_eq!(keys(&listed.records), ["key"], "{name}");
        assert_eq!(&*listed.records[0].value, name.as_bytes());
    }
}

pub(super) async fn lists_are_cut_by_prefix_suffix_limit_offset_and_order(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    for key in ["b/2", "a/1", "b/1", "b/3", "c/1", "b"] {
        table.write(key, key.to_owned()).await.unwrap();
    }
    let list = |select: Select| {
        let table = table.clone();
        async move {
            let listed = table.list(select).await.unwrap();
            let keys = keys(&listed.records).join(" ");
            (keys, listed.more)
        }
    };
    let all = Select::default();
    let some = |keys: &str, more| (keys.to_owned(), more);
    assert_eq!(
        list(all.clone()).await,
        some("a/1 b b/1 b/2 b/3 c/1", false)
    );
    let b = Select::prefix("b/");
    assert_eq!(list(b.clone()).await, some("b/1 b/2 b/3", false));
    let with = |change: fn(&mut Select)| {
        let mut select = b.clone();
        change(&mut select);
        list(select)
    };
    assert_eq!(with(|b| b.limit = 2).await, some("b/1 b/2", true));
    assert_eq!(with(|b| b.limit = 3).await, some("b/1 b/2 b/3", false));
    assert_eq!(with(|b| b.offset = 1).await, some("b/2 b/3", false));
    assert_eq!(with(|b| b.offset = 9).await, some("", false));
    assert_eq!(
        with(|b| b.order = Order::Descending).await,
        some("b/3 b/2 b/1", false)
    );
    let last = |b: &mut Select| (b.order, b.limit, b.offset) = (Order::Descending, 1, 1);
    assert_eq!(with(last).await, some("b/2", true));
    assert_eq!(
        with(|b| b.after = Some("b/1".to_owned())).await,
        some("b/2 b/3", false)
    );
    let before = |b: &mut Select| {
        b.order = Order::Descending;
        b.after = Some("b/25".to_owned());
    };
    assert_eq!(with(before).await, some("b/2 b/1", false));
    let suffix = Select {
        suffix: "/1".to_owned(),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(list(suffix).await, some("a/1 b/1", true));
    let both = Select {
        suffix: "b".to_owned(),
        ..Select::prefix("b")
    };
    assert_eq!(list(both).await, some("b", false));
    let none = Select::prefix("d");
    assert_eq!(list(none).await, some("", false));
}

pub(super) async fn no_sign_in_a_key_has_a_meaning(store: Store, _: Host) {
    let table = store.table("shop", "odd");
    let odd = [
        "%",
        "_",
        "*",
        "..",
        "../a",
        "/",
        "//",
        " ",
        "\n",
        "a",
        "a%",
        "a_",
        "aa",
        "'; --",
        "\u{7f}",
        "é",
        "\u{10ffff}",
        "日本",
    ];
    for key in odd {
        table.write(key, key.to_owned()).await.unwrap();
    }
    let mut sorted = odd.to_vec();
    sorted.sort();
    let listed = table.list(Select::default()).await.unwrap();
    assert_eq!(keys(&listed.records), sorted);
    for key in odd {
        let read = table.read(key).await.unwrap().unwrap();
        assert_eq!(&*read.value, key.as_bytes());
        let begin = sorted.iter().filter(|other| other.starts_with(key));
        let begin: Vec<&str> = begin.copied().collect();
        let listed = table.list(Select::prefix(key)).await.unwrap();
        assert_eq!(keys(&listed.records), begin, "prefix {key:?}");
        let suffix = Select {
            suffix: key.to_owned(),
            ..Select::default()
        };
        let end = sorted.iter().filter(|other| other.ends_with(key));
        let end: Vec<&str> = end.copied().collect();
        let listed = table.list(suffix).await.unwrap();
        assert_eq!(keys(&listed.records), end, "suffix {key:?}");
    }
}

pub(super) async fn a_list_stops_before_it_is_too_long_and_goes_on_after_its_last_key(
    store: Store,
    _: Host,
) {
    let table = store.table("shop", "large");
    let value = vec![7; 600_000];
    for index in 0..8 {
        let key = format!("{index}");
        table.write(key, value.clone()).await.unwrap();
    }
    let (mut select, mut seen, mut answers) = (Select::default(), Vec::new(), 0);
    loop {
        let listed = table.list(select.clone()).await.unwrap();
        answers += 1;
        seen.extend(listed.records.into_iter().map(|record| record.key));
        select.after = seen.last().cloned();
        // What is deleted and written meanwhile does not shift what is still to come.
        table.delete("0").await.unwrap();
        if !listed.more {
            break;
        }
    }
    assert_eq!(seen.concat(), "01234567");
    assert!(answers > 1);

    let table = store.table("shop", "many");
    for part in 0..5 {
        let write = |index| {
            let key = format!("{part}/{index:03}");
            table.prepare(key, Condition::Always, Action::put("x"))
        };
        let writes = (0..250).map(write).collect();
        table.commit(writes, None).await.unwrap();
    }
    let listed = table.list(Select::default()).await.unwrap();
    assert_eq!((listed.records.len(), listed.more), (LIST_MAX, true));
}

pub(super) async fn a_record_goes_when_its_time_has_passed(store: Store, host: Host) {
    let table = store.table("shop", "carts");
    let always = Condition::Always;
    let written = host.clock.now();
    table.write_for(TTL, "a", "1", always).await.unwrap();
    table.write_for(TTL * 100, "b", "2", always).await.unwrap();
    let a = table.read("a").await.unwrap();
    // This machine may take a break of its own.
    if host.clock.now().since(written) < TTL {
        let left = a.unwrap().ttl_ms.unwrap();
        assert!((1..=150).contains(&left), "{left}");
    }
    host.clock.sleep(TTL + SOON).await;
    assert_eq!(table.read("a").await.unwrap(), None);
    let listed = table.list(Select::default()).await.unwrap();
    assert_eq!(keys(&listed.records), ["b"]);
    let left = listed.records[0].ttl_ms.unwrap();
    assert!(left < 14_900, "{left}");
    // Written again without a time, it stays.
    table.write("b", "3").await.unwrap();
    let b = table.read("b").await.unwrap().unwrap();
    assert_eq!(b.ttl_ms, None);
}

pub(super) async fn a_record_whose_time_has_passed_counts_as_absent(store: Store, host: Host) {
    let table = store.table("shop", "carts");
    let absent = Condition::IfAbsent;
    let version = table.write_for(TTL, "a", "1", absent).await.unwrap();
    host.clock.sleep(TTL + SOON).await;
    let unchanged = Condition::IfVersion(version);
    let error = table.write_if("a", "2", unchanged).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Aborted);
    assert!(!table.delete("a").await.unwrap());
    table.write_if("a", "2", absent).await.unwrap();
    // A limit counts what is there, not what has gone.
    for key in ["b", "c", "d"] {
        table.write_for(TTL, key, "x", absent).await.unwrap();
    }
    table.write("e", "5").await.unwrap();
    host.clock.sleep(TTL + SOON).await;
    let two = Select {
        limit: 2,
        ..Select::default()
    };
    let listed = table.list(two).await.unwrap();
    assert_eq!(keys(&listed.records), ["a", "e"]);
    assert!(!listed.more);
}

async fn changes(watched: Result<Watched>) -> (Vec<String>, nitro::port::Revision) {
    let Watched::Changes { changes, revision } = watched.unwrap() else {
        panic!("nothing was missed");
    };
    let word = |kind: &ChangeKind| match kind {
        ChangeKind::Put(record) => format!("={}", String::from_utf8_lossy(&record.value)),
        ChangeKind::Deleted => " deleted".to_owned(),
        ChangeKind::Expired => " expired".to_owned(),
    };
    let said = changes
        .iter()
        .map(|change| format!("{}{}", change.key, word(&change.kind)));
    (said.collect(), revision)
}

pub(super) async fn a_watcher_is_told_of_every_change_once_and_in_order(store: Store, host: Host) {
    let table = store.table("shop", "orders");
    table.write("a/0", "0").await.unwrap();
    let after = table.list(Select::default()).await.unwrap().revision;
    let wait = Duration::ZERO;
    let (none, _) = changes(table.watch("", after, wait).await).await;
    assert!(none.is_empty());

    table.write("a/1", "1").await.unwrap();
    store
        .table("shop", "other")
        .write("a/1", "x")
        .await
        .unwrap();
    table.write("b/1", "2").await.unwrap();
    table.delete("a/0").await.unwrap();
    table
        .write_for(TTL, "a/2", "3", Condition::Always)
        .await
        .unwrap();
    let (told, next) = changes(table.watch("", after, wait).await).await;
    assert_eq!(told, ["a/1=1", "b/1=2", "a/0 deleted", "a/2=3"]);
    let (told, _) = changes(table.watch("a/", after, wait).await).await;
    assert_eq!(told, ["a/1=1", "a/0 deleted", "a/2=3"]);

    // Expiry is a change like any other, and wakes who waits.
    let (told, next) = changes(table.watch("", next, TTL * 20).await).await;
    assert_eq!(told, ["a/2 expired"]);
    host.clock.sleep(SOON).await;
    let (none, same) = changes(table.watch("", next, wait).await).await;
    assert!(none.is_empty());
    assert_eq!(same, next);

    // What was committed together is told together.
    let both = ["x", "y"].map(|key| table.prepare(key, Condition::Always, Action::put("z")));
    table.commit(both.to_vec(), None).await.unwrap();
    let watched = table.watch("", next, wait).await.unwrap();
    let Watched::Changes { changes, revision } = watched else {
        panic!("nothing was missed");
    };
    assert_eq!(changes.len(), 2);
    assert!(changes.iter().all(|change| change.revision == revision));
}

pub(super) async fn a_watcher_waits_for_a_change_and_no_longer_than_it_asks(
    store: Store,
    host: Host,
) {
    let table = store.table("shop", "orders");
    let after = store.revision().await.unwrap();
    let started = host.clock.now();
    let wait = Duration::from_millis(100);
    let (none, _) = changes(table.watch("a", after, wait).await).await;
    assert!(none.is_empty());
    assert!(host.clock.now().since(started) >= wait);

    let writing = async {
        host.clock.sleep(SOON).await;
        table.write("b", "not this one").await.unwrap();
        host.clock.sleep(SOON).await;
        table.write("a", "1").await.unwrap();
    };
    let watching = table.watch("a", after, Duration::from_secs(30));
    let started = host.clock.now();
    let (watched, ()) = futures_util::future::join(watching, writing).await;
    let (told, _) = changes(watched).await;
    assert_eq!(told, ["a=1"]);
    assert!(host.clock.now().since(started) < Duration::from_secs(10));
}

pub(super) async fn a_watcher_who_has_missed_too_much_must_list_again(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    let wait = Duration::from_secs(5);
    let never = nitro::port::Revision::default();
    let watched = table.watch("", never, wait).await.unwrap();
    assert_eq!(watched, Watched::Reset);
    let mut other = store.revision().await.unwrap();
    other.epoch ^= 1;
    let watched = table.watch("", other, wait).await.unwrap();
    assert_eq!(watched, Watched::Reset);
    let now = store.revision().await.unwrap();
    let (none, _) = changes(table.watch("", now, Duration::ZERO).await).await;
    assert!(none.is_empty());
    // More than any backend keeps by default: what is left of it would have a gap.
    for _ in 0..20 {
        let put = |n| table.prepare(format!("{n}"), Condition::Always, Action::put("x"));
        let writes = (0..WRITES_MAX).map(put).collect();
        table.commit(writes, None).await.unwrap();
    }
    let watched = table.watch("", now, wait).await.unwrap();
    assert_eq!(watched, Watched::Reset);
    let now = store.revision().await.unwrap();
    let version = table.write("last", "y").await.unwrap();
    let (one, at) = changes(table.watch("", now, wait).await).await;
    assert_eq!(one, ["last=y"]);
    assert_eq!(at.number, version);
}

pub(super) async fn a_fence_that_was_overtaken_is_refused(store: Store, _: Host) {
    let table = store.table("shop", "orders");
    let fence = |token| Fence {
        name: "lock".to_owned(),
        token,
    };
    let write = |token, key: &'static str| {
        let (table, fence) = (table.clone(), fence(token));
        async move {
            table
                .write_fenced(fence, key, token.to_string(), Condition::Always)
                .await
        }
    };
    write(5, "a").await.unwrap();
    write(5, "a").await.unwrap();
    write(7, "b").await.unwrap();
    // The fence is the lock's, not the key's: a late write is refused wherever it goes.
    for key in ["a", "b", "c"] {
        let error = write(6, key).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert_eq!(error.detail("reason"), Some("fenced"));
    }
    assert_eq!(&*table.read("a").await.unwrap().unwrap().value, b"5");
    // A commit that is refused for another reason does not raise the fence.
    let condition = Condition::IfAbsent;
    let refused = table.write_fenced(fence(9), "a", "9", condition).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::AlreadyExists);
    write(8, "a").await.unwrap();
    // A commit without writes shuts the former holder out before anything is written.
    table.commit(Vec::new(), Some(fence(20))).await.unwrap();
    assert!(write(19, "a").await.is_err());
    // Deleting what was fenced does not lower the fence.
    table.delete("a").await.unwrap();
    assert!(write(8, "a").await.is_err());
    write(i64::MAX as u64, "a").await.unwrap();
    assert!(write(20, "a").await.is_err());
}

pub(super) async fn writers_who_check_versions_lose_no_update(store: Store, _: Host) {
    let table = store.table("shop", "counters");
    table.write("n", "0").await.unwrap();
    let add = |_| {
        let table = table.clone();
        async move {
            let mut made = 0;
            while made < 20 {
                let record = table.read("n").await.unwrap().unwrap();
                let n: u64 = String::from_utf8_lossy(&record.value).parse().unwrap();
                let unchanged = Condition::IfVersion(record.version);
                match table.write_if("n", (n + 1).to_string(), unchanged).await {
                    Ok(_) => made += 1,
                    Err(error) => assert_eq!(error.kind(), Kind::Aborted),
                }
            }
        }
    };
    futures_util::future::join_all((0..5).map(add)).await;
    let record = table.read("n").await.unwrap().unwrap();
    assert_eq!(&*record.value, b"100");
}
