//! Waiting for what is done on another thread: nobody may sleep through it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nitro::broker::{self, Broker, Consumer};
use nitro::host::Host;
use nitro::store::{FileStore, Settings, Store, Sync, Watched};
use nitro::sync::{self, Leases};

/// How often one side waits for the other. A wake-up that can be lost is, within some hundreds.
const ROUNDS: u64 = 5_000;

/// Long for what takes microseconds.
const LONG: Duration = Duration::from_secs(5);

fn on_threads<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(nitro::host::tokio::host()));
}

/// Does something on another thread each time that the last was seen.
struct Turns(Arc<AtomicU64>);

impl Turns {
    fn start<F>(host: &Host, rounds: u64, each: impl Fn(u64) -> F + Send + 'static) -> Self
    where
        F: Future + Send,
    {
        let seen = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&seen);
        let doing = async move {
            for n in 1..=rounds {
                while theirs.load(Ordering::Acquire) < n - 1 {
                    tokio::task::yield_now().await;
                }
                let _ = each(n).await;
            }
        };
        drop(host.tasks.spawn("the other side", Box::pin(doing)));
        Self(seen)
    }

    fn seen(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }
}

async fn watch_all(host: &Host, store: Store, rounds: u64) {
    let table = store.table("d", "t");
    let mut after = store.revision().await.unwrap();
    let writing = table.clone();
    let turns = Turns::start(host, rounds, move |n| {
        let table = writing.clone();
        async move { table.write("a", n.to_string()).await.unwrap() }
    });
    for n in 1..=rounds {
        let watched = table.watch("", after, LONG).await.unwrap();
        let Watched::Changes { changes, revision } = watched else {
            panic!("round {n}: {watched:?}");
        };
        assert_eq!(changes.len(), 1, "round {n}");
        after = revision;
        turns.seen(n);
    }
}

#[test]
fn no_watcher_of_a_store_sleeps_through_a_change() {
    on_threads(async |host| watch_all(&host, Store::memory(&host), ROUNDS).await);
}

#[test]
fn no_watcher_of_a_file_sleeps_through_a_change() {
    on_threads(async |host| {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            sync: Sync::EverySecond,
            ..Settings::default()
        };
        let opened = FileStore::open(&host, directory.path().join("store"), settings).await;
        watch_all(&host, Store::new(opened.unwrap()), ROUNDS / 5).await;
    });
}

#[test]
fn nobody_who_pulls_sleeps_through_a_message() {
    on_threads(async |host| {
        let broker = Broker::memory(&host);
        let subscribe = broker::Request::Subscribe {
            subscription: "g".to_owned(),
            consumer: Consumer {
                backlog_max: 10_000,
                ..Consumer::group("t", "g")
            },
        };
        broker.ask(subscribe).await.unwrap();
        let (publishing, theirs) = (broker.clone(), host.clone());
        let turns = Turns::start(&host, ROUNDS, move |n| {
            let (broker, host) = (publishing.clone(), theirs.clone());
            async move { broker.publish(&host, "t", n.to_string()).await.unwrap() }
        });
        for n in 1..=ROUNDS {
            let pull = broker::Request::Pull {
                subscription: "g".to_owned(),
                limit: 10,
                wait_ms: LONG.as_millis() as u64,
            };
            let pulled = broker.ask(pull).await.unwrap();
            let broker::Reply::Pulled(pulled) = pulled else {
                panic!("round {n}: {pulled:?}");
            };
            assert_eq!(pulled.delivered.len(), 1, "round {n}");
            turns.seen(n);
        }
    });
}

#[test]
fn nobody_who_waits_for_a_lease_sleeps_through_its_release() {
    on_threads(async |host| {
        let leases = Leases::memory(&host);
        let theirs = leases.clone();
        let turns = Turns::start(&host, ROUNDS, move |_| {
            let leases = theirs.clone();
            async move { hold(&leases, "they").await }
        });
        for n in 1..=ROUNDS {
            hold(&leases, "we").await;
            turns.seen(n);
        }
    });
}

/// Waits for a lease, and gives it back.
async fn hold(leases: &Leases, owner: &str) {
    let acquire = sync::Request::Acquire {
        name: "lock".to_owned(),
        owner: owner.to_owned(),
        note: String::new(),
        permits: 1,
        ttl_ms: 60_000,
        wait_ms: LONG.as_millis() as u64,
    };
    let granted = leases.ask(acquire).await.unwrap();
    assert!(matches!(granted, sync::Reply::Granted(_)), "{granted:?}");
    let release = sync::Request::Release {
        name: "lock".to_owned(),
        owner: owner.to_owned(),
    };
    leases.ask(release).await.unwrap();
}
