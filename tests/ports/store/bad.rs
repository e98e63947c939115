//! What no store takes, and the largest that every store takes.

use nitro::Kind;
use nitro::host::Host;
use nitro::store::{
    Action, BATCH_BYTES_MAX, Commit, Condition, Fence, KEY_BYTES_MAX, LIST_MAX, Request, Select,
    Store, TableName, VALUE_BYTES_MAX, WRITES_MAX, Write,
};

fn write(database: &str, table: &str, key: &str, action: Action) -> Write {
    Write {
        table: TableName {
            database: database.to_owned(),
            table: table.to_owned(),
        },
        key: key.to_owned(),
        condition: Condition::Always,
        action,
    }
}

fn put(ttl_ms: u64) -> Action {
    Action::Put {
        value: "v".into(),
        metadata: Default::default(),
        ttl_ms: Some(ttl_ms),
    }
}

pub(super) async fn what_cannot_be_a_key_a_name_or_a_value_is_refused_with_what_is_right(
    store: Store,
    _: Host,
) {
    let v = || Action::put("v");
    let long = "x".repeat(64 * 1024);
    let with_metadata = Action::Put {
        value: "v".into(),
        metadata: [("m".to_owned(), "x".repeat(5_000))].into(),
        ttl_ms: None,
    };
    let check = Write {
        condition: Condition::Always,
        ..write("d", "t", "k", Action::Check)
    };
    let halves = [0, 1, 2].map(|key| {
        let value = vec![0; VALUE_BYTES_MAX * 3 / 4];
        write("d", "t", &key.to_string(), Action::put(value))
    });
    let fence = |name: &str, token| Commit {
        writes: Vec::new(),
        fence: Some(Fence {
            name: name.to_owned(),
            token,
        }),
    };
    let many = (0..=WRITES_MAX).map(|key| write("d", "t", &key.to_string(), v()));
    let commit = |writes: Vec<Write>| Commit {
        writes,
        fence: None,
    };
    let one = |write| commit(vec![write]);
    let wrong = [
        (one(write("d", "t", "", v())), "the key is empty"),
        (
            one(write("d", "t", &long, v())),
            "a key of 65536 bytes: at most 1024",
        ),
        (one(write("d", "t", "a\0b", v())), "\"a\\0b\" has a NUL"),
        (
            one(write("", "t", "k", v())),
            "a database of 0 bytes: expected 1 to 255",
        ),
        (
            one(write("d", "t/u", "k", v())),
            "the table \"t/u\": expected ASCII letters",
        ),
        (one(write("d", &long, "k", v())), "a table of 65536 bytes"),
        (
            one(write(
                "d",
                "t",
                "k",
                Action::put(vec![0; VALUE_BYTES_MAX + 1]),
            )),
            "a value of 1048577 bytes: at most 1048576",
        ),
        (
            one(write("d", "t", "k", with_metadata)),
            "metadata of 5001 bytes: at most 4096",
        ),
        (
            one(write("d", "t", "k", put(0))),
            "ttl of 0 ms: expected 1 to",
        ),
        (
            one(write("d", "t", "k", put(u64::MAX))),
            "ttl of 18446744073709551615 ms",
        ),
        (one(check), "a check without a condition"),
        (commit(vec![]), "without writes and without a fence"),
        (
            commit(vec![
                write("d", "t", "k", v()),
                write("d", "t", "k", Action::Delete),
            ]),
            "\"k\" stands twice",
        ),
        (commit(many.collect()), "257 writes: at most 256"),
        (commit(halves.to_vec()), "at most 2097152"),
        (fence("", 1), "a fence of 0 bytes"),
        (
            fence("f", 1 << 63),
            "fencing token 9223372036854775808: at most 9223372036854775807",
        ),
    ];
    let before = store.revision().await.unwrap();
    for (commit, expected) in wrong {
        let error = store.commit(commit).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}: {expected}");
    }
    assert_eq!(store.revision().await.unwrap(), before);

    let table = store.table("d", "t");
    for limit in [0, LIST_MAX + 1, usize::MAX] {
        let select = Select {
            limit,
            ..Select::default()
        };
        let error = table.list(select).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("expected 1 to 1000"), "{error}");
    }
    let far = Select {
        offset: usize::MAX,
        ..Select::default()
    };
    assert!(table.list(far).await.unwrap().records.is_empty());
    for request in [
        table.list(Select::prefix("a\0")).await.unwrap_err(),
        table.list(Select::prefix(&*long)).await.unwrap_err(),
        table.read("").await.unwrap_err(),
        table
            .watch("\0", before, std::time::Duration::ZERO)
            .await
            .unwrap_err(),
    ] {
        assert_eq!(request.kind(), Kind::InvalidArgument);
    }
}

pub(super) async fn the_largest_of_everything_is_taken(store: Store, _: Host) {
    let key = "k".repeat(KEY_BYTES_MAX);
    let name = "n".repeat(255);
    let table = store.table(&*name, &*name);
    let value = vec![0xa5; VALUE_BYTES_MAX];
    table.write(&*key, value.clone()).await.unwrap();
    let read = table.read(&*key).await.unwrap().unwrap();
    assert!(read.value == value && read.key == key);
    let listed = table.list(Select::prefix(&*key)).await.unwrap();
    assert_eq!(listed.records.len(), 1);

    let table = store.table("d", "t");
    let each = BATCH_BYTES_MAX / WRITES_MAX - 10;
    let write = |index: usize| {
        let value = vec![1; each];
        table.prepare(format!("{index:04}"), Condition::Always, Action::put(value))
    };
    let after = store.revision().await.unwrap();
    let writes = (0..WRITES_MAX).map(write).collect();
    table.commit(writes, None).await.unwrap();
    let request = Request::Watch {
        table: table.name().clone(),
        prefix: String::new(),
        after,
        wait_ms: 0,
    };
    let nitro::store::Reply::Watched(nitro::store::Watched::Changes { changes, .. }) =
        store.ask(request).await.unwrap()
    else {
        panic!("nothing was missed");
    };
    assert_eq!(changes.len(), WRITES_MAX);
}
