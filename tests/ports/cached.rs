//! A cache before a store: how often the store is asked, what is remembered, and for how long.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join, join_all};
use nitro::Kind;
use nitro::cache::{Settings, cached};
use nitro::host::Host;
use nitro::port::Call;
use nitro::store::{Condition, Record, Reply, Request, Store, Table};

use super::setting::{On, Setting, run};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);

/// How long the store behind takes.
const TAKES: Duration = Duration::from_millis(10);

/// A store that counts what it is asked for, takes a while to do it and to answer, and fails when
/// it is told to: before or after it has done what was asked.
#[derive(Clone)]
struct Behind {
    store: Store,
    host: Host,
    reads: Arc<AtomicUsize>,
    /// How long its answers are on their way, to reads and to others, in milliseconds.
    lags: Arc<[AtomicU64; 2]>,
    fails: Arc<Mutex<Option<Kind>>>,
    loses_answers: Arc<AtomicBool>,
}

impl Behind {
    fn new(host: &Host) -> Self {
        Self {
            store: Store::memory(host),
            host: host.clone(),
            reads: Arc::default(),
            lags: Arc::default(),
            fails: Arc::default(),
            loses_answers: Arc::default(),
        }
    }

    async fn answer(self, call: Call<Request>) -> nitro::Result<Reply> {
        let is_read = matches!(call.request, Request::Read { .. });
        self.reads.fetch_add(usize::from(is_read), Ordering::SeqCst);
        let lag = self.lags[usize::from(!is_read)].load(Ordering::SeqCst);
        self.host.clock.sleep(TAKES).await;
        if let Some(kind) = *self.fails.lock().unwrap() {
            return Err(nitro::Error::new(kind, "on purpose"));
        }
        let answered = self.store.ask(call.request).await;
        self.host.clock.sleep(Duration::from_millis(lag)).await;
        match self.loses_answers.load(Ordering::SeqCst) {
            true => Err(nitro::Error::unavailable("the answer is lost")),
            false => answered,
        }
    }

    fn cached(&self, settings: Settings) -> Table {
        let behind = self.clone();
        let store = Store::new(tower::service_fn(move |call| behind.clone().answer(call)));
        cached(&self.host, &store, settings).table("d", "t")
    }

    /// The same table without the cache, at once.
    fn table(&self) -> Table {
        self.store.table("d", "t")
    }

    fn fail(&self, kind: Option<Kind>) {
        *self.fails.lock().unwrap() = kind;
    }

    /// How often it was read since this was asked last.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::SeqCst)
    }
}

async fn value(table: &Table, key: &str) -> String {
    let record = table.read(key).await.unwrap().expect("it is there");
    String::from_utf8(record.value.to_vec()).unwrap()
}

/// A read as a layer makes it, with a deadline.
async fn read_within(host: &Host, table: &Table, time: Duration) -> nitro::Result<Option<Record>> {
    let request = Request::Read {
        table: table.name().clone(),
        key: "a".to_owned(),
    };
    let call = Call {
        deadline: Some(host.clock.now() + time),
        ..Call::new(request)
    };
    match table.store().service().call(call).await? {
        Reply::Read(record) => Ok(record),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_who_read_one_key_ask_the_store_once_until_its_time_is_over() {
    run(On::Memory, async |setting: Setting| {
        let behind = Behind::new(&setting.host);
        let table = behind.cached(Settings::default());
        behind.table().write("a", "1").await.unwrap();
        let all = join_all((0..100).map(|_| value(&table, "a"))).await;
        assert!(all.iter().all(|value| value == "1"));
        assert_eq!(behind.reads(), 1);
        // That there is nothing is remembered as well.
        for _ in 0..3 {
            assert_eq!(table.read("b").await.unwrap(), None);
        }
        assert_eq!(behind.reads(), 1);
        // Each key is asked for by itself, all at the same time.
        let started = setting.host.clock.now();
        join_all((0..100).map(|n| table.read(format!("c{}", n % 10)))).await;
        assert_eq!(behind.reads(), 10);
        assert!(setting.host.clock.now().since(started) < 2 * TAKES);
    });
}

#[test]
fn time_runs_on_the_clock_of_the_host_from_when_the_store_was_asked() {
    run(On::Memory, async |setting: Setting| {
        let clock = &setting.host.clock;
        let behind = Behind::new(&setting.host);
        let table = behind.cached(Settings::default());
        behind.table().write("a", "1").await.unwrap();
        let started = clock.now();
        assert_eq!(value(&table, "a").await, "1");
        behind.table().write("a", "2").await.unwrap();
        clock.sleep_until(started + TTL - MS).await;
        assert_eq!(value(&table, "a").await, "1");
        // Being read does not make it younger.
        clock.sleep_until(started + TTL).await;
        assert_eq!(value(&table, "a").await, "2");
        assert_eq!(behind.reads(), 2);
        // A record's own time is not made longer.
        let short = Duration::from_millis(500);
        let always = Condition::Always;
        behind
            .table()
            .write_for(short, "c", "x", always)
            .await
            .unwrap();
        let written = clock.now();
        let first = table.read("c").await.unwrap().unwrap();
        assert_eq!(first.ttl_ms, Some(490));
        clock.sleep_until(written + short - MS).await;
        let last = table.read("c").await.unwrap();
        assert!(last.is_none_or(|record| record.ttl_ms <= Some(10)));
        clock.sleep_until(written + short).await;
        assert_eq!(table.read("c").await.unwrap(), None);
    });
}

#[test]
fn a_commit_goes_to_the_store_first_and_nobody_reads_what_was_before_it() {
    run(On::Memory, async |setting: Setting| {
        let clock = &setting.host.clock;
        let behind = Behind::new(&setting.host);
        let table = behind.cached(Settings::default());
        table.write("a", "1").await.unwrap();
        // The reader starts before, with, in the middle of and after the writer, and the answers
        // of either may be late.
        for n in 2..=400_u64 {
            let [reads, writes] = &*behind.lags;
            reads.store(n % 3 * 30, Ordering::SeqCst);
            writes.store(n % 2 * 20, Ordering::SeqCst);
            let reading = async {
                clock.sleep(MS * (n % 16) as u32 * 3).await;
                value(&table, "a").await
            };
            let writing = async {
                clock.sleep(MS * (n % 5) as u32 * 5).await;
                table.write("a", n.to_string()).await.unwrap();
                // It is in the store when it is answered.
                assert_eq!(value(&behind.table(), "a").await, n.to_string());
                assert_eq!(value(&table, "a").await, n.to_string());
            };
            join(reading, writing).await;
            assert_eq!(value(&table, "a").await, n.to_string());
        }
        table.delete("a").await.unwrap();
        assert_eq!(table.read("a").await.unwrap(), None);
    });
}

#[test]
fn a_commit_that_failed_leaves_readers_with_what_the_store_has() {
    run(On::Memory, async |setting: Setting| {
        let behind = Behind::new(&setting.host);
        let table = behind.cached(Settings::default());
        table.write("a", "1").await.unwrap();
        assert_eq!(value(&table, "a").await, "1");
        // Refused: another had written.
        let version = table.read("a").await.unwrap().unwrap().version;
        behind.table().write("a", "2").await.unwrap();
        let unchanged = Condition::IfVersion(version);
        let refused = table.write_if("a", "x", unchanged).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Aborted);
        assert_eq!(value(&table, "a").await, "2");
        // Not done, and done without an answer.
        behind.fail(Some(Kind::Unavailable));
        table.write("a", "3").await.unwrap_err();
        behind.fail(None);
        assert_eq!(value(&table, "a").await, "2");
        behind.loses_answers.store(true, Ordering::SeqCst);
        table.write("a", "4").await.unwrap_err();
        behind.loses_answers.store(false, Ordering::SeqCst);
        assert_eq!(value(&table, "a").await, "4");
    });
}

#[test]
fn a_cache_holds_no_more_than_it_may_and_gives_up_the_oldest() {
    run(On::Memory, async |setting: Setting| {
        let behind = Behind::new(&setting.host);
        // Names of 3 bytes and values of 400.
        let settings = Settings {
            entries_max: 3,
            bytes_max: 1_000,
            ..Settings::default()
        };
        let table = behind.cached(settings);
        let held = async |keys: &[&str]| {
            behind.reads();
            for key in keys {
                table.read(*key).await.unwrap();
            }
            keys.len() - behind.reads()
        };
        for key in ["a", "b", "c"] {
            behind.table().write(key, vec![1; 400]).await.unwrap();
            table.read(key).await.unwrap();
        }
        // Three would be more bytes than it may: the first has gone for the third.
        assert_eq!(held(&["c", "b"]).await, 2);
        assert_eq!(held(&["a"]).await, 0);
        assert_eq!(held(&["b"]).await, 0);
        // What is read again takes its room once.
        table.write("b", vec![2; 590]).await.unwrap();
        table.read("b").await.unwrap();
        assert_eq!(held(&["b", "a"]).await, 2);
        // Nothing is an entry as well, of as many bytes as its name has.
        table.delete("b").await.unwrap();
        assert_eq!(held(&["n1", "n2"]).await, 0);
        assert_eq!(held(&["a", "n1", "n2"]).await, 3);
        assert_eq!(held(&["n3"]).await, 0);
        assert_eq!(held(&["n1", "n2", "n3"]).await, 3);
        assert_eq!(held(&["a"]).await, 0);
        // What is too large by itself is not held, and drives nothing out.
        behind.table().write("large", vec![1; 1_000]).await.unwrap();
        assert_eq!(held(&["large", "large", "a"]).await, 1);
    });
}

#[test]
fn metadata_takes_room_as_well() {
    run(On::Memory, async |setting: Setting| {
        let behind = Behind::new(&setting.host);
        let settings = Settings {
            bytes_max: 1_000,
            ..Settings::default()
        };
        let table = behind.cached(settings);
        let action = nitro::store::Action::Put {
            value: "".into(),
            metadata: [("m".to_owned(), "x".repeat(1_000))].into(),
            ttl_ms: None,
        };
        let write = table.prepare("a", Condition::Always, action);
        table.commit(vec![write], None).await.unwrap();
        for _ in 0..2 {
            table.read("a").await.unwrap().unwrap();
        }
        assert_eq!(behind.reads(), 2);
    });
}

#[test]
fn a_failure_is_told_at_once_to_all_who_wait_and_not_remembered() {
    run(On::Memory, async |setting: Setting| {
        let clock = &setting.host.clock;
        let behind = Behind::new(&setting.host);
        let table = behind.cached(Settings::default());
        behind.fail(Some(Kind::Unavailable));
        let started = clock.now();
        for read in join_all((0..100).map(|_| table.read("a"))).await {
            assert_eq!(read.unwrap_err().kind(), Kind::Unavailable);
        }
        assert_eq!(behind.reads(), 1);
        assert!(clock.now().since(started) < 2 * TAKES);
        behind.fail(None);
        assert_eq!(table.read("a").await.unwrap(), None);
        assert_eq!(behind.reads(), 1);
    });
}

#[test]
fn who_waits_for_what_another_has_asked_waits_no_longer_than_it_may() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let behind = Behind::new(host);
        let table = behind.cached(Settings::default());
        behind.table().write("a", "1").await.unwrap();
        // The first gives up in the middle; the next asks in its place, the last gives up too.
        let first = read_within(host, &table, TAKES / 2);
        let next = read_within(host, &table, 10 * TAKES);
        let last = read_within(host, &table, TAKES);
        let (first, (next, last)) = join(first, join(next, last)).await;
        assert_eq!(first.unwrap_err().kind(), Kind::DeadlineExceeded);
        assert_eq!(&*next.unwrap().unwrap().value, b"1");
        assert_eq!(last.unwrap_err().kind(), Kind::DeadlineExceeded);
        assert_eq!(behind.reads(), 2);
        // Nobody asks in vain for what came of it.
        assert_eq!(value(&table, "a").await, "1");
        assert_eq!(behind.reads(), 0);
        // A store that says that time was short says so to the one who asked.
        behind.fail(Some(Kind::DeadlineExceeded));
        join_all((0..3).map(|_| table.read("b"))).await;
        assert_eq!(behind.reads(), 3);
    });
}
