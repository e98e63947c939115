//! The ports beside what they are built on: store, broker, leases.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nitro::broker::{BATCH_MAX, Broker, Consumer, Message, Request};
use nitro::host::{Host, tokio::host};
use nitro::store::{Condition, FileStore, Settings, Store, Sync};
use nitro::sync::{Leases, Terms};
use tokio::runtime::{Builder, Runtime};

const VALUE: [u8; 100] = [7; 100];

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime starts")
}

fn memory_store(criterion: &mut Criterion) {
    let (runtime, host) = (runtime(), host());
    let table = Store::memory(&host).table("d", "t");
    let value = Bytes::from_static(&VALUE);
    let mut group = criterion.benchmark_group("memory store, through the handle");
    runtime.block_on(async {
        for n in 0..10_000 {
            let written = table.write(format!("key-{n:05}"), value.clone()).await;
            written.expect("there is room");
        }
    });
    group.bench_function("read, of 10,000", |bencher| {
        bencher.iter(|| runtime.block_on(table.read(black_box("key-05000"))));
    });
    group.bench_function("write, of 10,000", |bencher| {
        bencher.iter(|| runtime.block_on(table.write("key-05000", value.clone())));
    });
    group.bench_function("write if unchanged", |bencher| {
        let mut version = runtime
            .block_on(table.write("one", value.clone()))
            .expect("there is room");
        bencher.iter(|| {
            let unchanged = Condition::IfVersion(version);
            let written = runtime.block_on(table.write_if("one", value.clone(), unchanged));
            version = written.expect("nobody else writes");
        });
    });
    group.finish();
}

fn opened(runtime: &Runtime, host: &Host, path: &std::path::Path, sync: Sync) -> Store {
    let settings = Settings {
        sync,
        ..Settings::default()
    };
    let opened = runtime.block_on(FileStore::open(host, path, settings));
    Store::new(opened.expect("the file is new"))
}

/// Bare redb, with the same rows and the same durability.
struct Bare(redb::Database);

impl Bare {
    const ROWS: redb::TableDefinition<'static, &'static [u8], &'static [u8]> =
        redb::TableDefinition::new("rows");

    fn write(&self, key: &[u8], durability: redb::Durability) {
        let mut transaction = self.0.begin_write().expect("it is open");
        transaction
            .set_durability(durability)
            .expect("there are no savepoints");
        {
            let mut rows = transaction.open_table(Self::ROWS).expect("it is a table");
            rows.insert(key, &VALUE[..]).expect("there is room");
        }
        transaction.commit().expect("there is room");
    }
}

fn file_store(criterion: &mut Criterion) {
    let (runtime, host) = (runtime(), host());
    let directory = tempfile::tempdir().expect("there is room");
    let value = Bytes::from_static(&VALUE);
    let mut group = criterion.benchmark_group("file store, one write");
    group.sample_size(20);
    group.throughput(Throughput::Elements(1));
    let bare = redb::Database::create(directory.path().join("bare")).expect("the file is new");
    let bare = Bare(bare);
    for (name, sync, durability) in [
        ("synced", Sync::Always, redb::Durability::Immediate),
        ("every second", Sync::EverySecond, redb::Durability::None),
    ] {
        let path = directory.path().join(name);
        let table = opened(&runtime, &host, &path, sync).table("d", "t");
        group.bench_function(format!("{name}, nitro"), |bencher| {
            bencher.iter(|| runtime.block_on(table.write("key", value.clone())));
        });
        group.bench_function(format!("{name}, bare redb"), |bencher| {
            bencher.iter(|| bare.write(b"d\0t\0key", durability));
        });
        group.throughput(Throughput::Elements(64));
        group.bench_function(format!("{name}, nitro, 64 at once"), |bencher| {
            bencher.iter(|| {
                let write = |n| table.write(format!("key-{n}"), value.clone());
                runtime.block_on(futures_util::future::join_all((0..64).map(write)))
            });
        });
        group.throughput(Throughput::Elements(1));
    }
    group.finish();
}

const MESSAGES: u64 = 1024;

fn broker(criterion: &mut Criterion) {
    let (runtime, host) = (runtime(), host());
    let body = Bytes::from_static(&VALUE);
    let mut group = criterion.benchmark_group("1,024 messages to one receiver");
    group.throughput(Throughput::Elements(MESSAGES));
    for batch in [1, BATCH_MAX] {
        let broker = Broker::memory(&host);
        let mut subscription = runtime
            .block_on(broker.subscribe(&host, Consumer::group("t", "g")))
            .expect("there is room");
        group.bench_function(
            format!("nitro in memory, published by {batch}"),
            |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        for _ in 0..MESSAGES / BATCH_MAX as u64 {
                            for _ in 0..BATCH_MAX / batch {
                                let message = || Message::new(&host, "t", body.clone());
                                let messages = (0..batch).map(|_| message()).collect();
                                let request = Request::Publish {
                                    messages,
                                    wait_ms: 0,
                                };
                                broker.ask(request).await.expect("there is room");
                            }
                            for _ in 0..BATCH_MAX {
                                let delivery = subscription.next().await.expect("it is there");
                                delivery.acknowledge().await.expect("it is out");
                            }
                        }
                    })
                });
            },
        );
    }
    group.bench_function("bare tokio mpsc", |bencher| {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(BATCH_MAX);
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..MESSAGES / BATCH_MAX as u64 {
                    for _ in 0..BATCH_MAX {
                        sender.send(body.clone()).await.expect("it is received");
                    }
                    for _ in 0..BATCH_MAX {
                        black_box(receiver.recv().await);
                    }
                }
            })
        });
    });
    group.bench_function("bare tokio broadcast", |bencher| {
        let (sender, mut receiver) = tokio::sync::broadcast::channel::<Bytes>(BATCH_MAX);
        bencher.iter(|| {
            runtime.block_on(async {
                for _ in 0..MESSAGES / BATCH_MAX as u64 {
                    for _ in 0..BATCH_MAX {
                        sender.send(body.clone()).expect("it is received");
                    }
                    for _ in 0..BATCH_MAX {
                        black_box(receiver.recv().await.expect("none is missed"));
                    }
                }
            })
        });
    });
    group.finish();
}

fn leases(criterion: &mut Criterion) {
    let (runtime, host) = (runtime(), host());
    let mut group = criterion.benchmark_group("a lock acquired and released");
    group.throughput(Throughput::Elements(1));
    let store = Store::memory(&host);
    for (name, leases) in [
        ("in memory", Leases::memory(&host)),
        ("in a memory store", nitro::durable::leases(&host, &store)),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let guard = leases.acquire(&host, "lock", Terms::default()).await;
                    let released = guard.expect("it is free").release().await;
                    released.expect("it is held");
                })
            });
        });
    }
    let mutex = Arc::new(tokio::sync::Mutex::new(()));
    group.bench_function("bare tokio mutex", |bencher| {
        bencher.iter(|| runtime.block_on(async { drop(black_box(mutex.lock().await)) }));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = memory_store, file_store, broker, leases
}
criterion_main!(benches);
