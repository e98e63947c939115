//! Any sequence of operations does to a store what it does to a plain map.
//!
//! For each backend 200 sequences of 50 to 60 operations: 10,000 and more.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::Kind;
use nitro::host::Host;
use nitro::port::Revision;
use nitro::store::{
    Action, ChangeKind, Commit, Condition, Fence, Order, Record, Select, Store, Table, Watched,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Backend, On, Open, Setting};

const KEYS: [&str; 6] = ["a", "a/1", "a/2", "b", "b/1", "ab"];
const PARTS: [&str; 5] = ["", "a", "a/", "1", "b"];

#[derive(Clone, Debug)]
enum Step {
    Commit {
        writes: Vec<(usize, Asked, Done)>,
        fence: Option<u64>,
    },
    List {
        parts: (usize, usize),
        offset: usize,
        limit: usize,
        is_descending: bool,
        after: Option<usize>,
    },
    Read(usize),
    Advance(u64),
    CatchUp,
}

/// A condition, on whatever the version is when it is asked.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Always,
    IfAbsent,
    IfUnchanged,
    IfOlder,
}

#[derive(Clone, Copy, Debug)]
enum Done {
    Put(u8, Option<u64>),
    Delete,
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    let asked = prop_oneof![
        3 => Just(Asked::Always),
        1 => Just(Asked::IfAbsent),
        1 => Just(Asked::IfUnchanged),
        1 => Just(Asked::IfOlder),
    ];
    let ttl = prop_oneof![2 => Just(None), 1 => (1_u64..80).prop_map(Some)];
    let done = prop_oneof![
        4 => (any::<u8>(), ttl).prop_map(|(value, ttl)| Done::Put(value, ttl)),
        2 => Just(Done::Delete),
        1 => Just(Done::Check),
    ];
    let write = (0..KEYS.len(), asked, done);
    let fence = prop_oneof![4 => Just(None), 1 => (0_u64..6).prop_map(Some)];
    let commit = (prop::collection::vec(write, 1..4), fence);
    let parts = (0..PARTS.len(), 0..PARTS.len());
    let after = prop::option::weighted(0.3, 0..KEYS.len());
    prop_oneof![
        6 => commit.prop_map(|(writes, fence)| Step::Commit { writes, fence }),
        3 => (parts, 0_usize..3, 1_usize..5, any::<bool>(), after).prop_map(
            |(parts, offset, limit, is_descending, after)| Step::List {
                parts, offset, limit, is_descending, after
            }
        ),
        3 => (0..KEYS.len()).prop_map(Step::Read),
        1 => (0_u64..60).prop_map(Step::Advance),
        1 => Just(Step::CatchUp),
    ]
}

/// What a store is, without revisions, watchers or bounds.
#[derive(Default)]
struct Model {
    now: u64,
    fence: u64,
    /// Value, version, and when it goes.
    records: BTreeMap<&'static str, (u8, u64, Option<u64>)>,
}

impl Model {
    fn version(&self, key: &str) -> Option<u64> {
        self.records.get(key).map(|record| record.1)
    }

    fn advance(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        self.records
            .retain(|_, (_, _, at)| at.is_none_or(|at| at > now));
    }

    /// Which error a commit gets, by its first condition that does not hold.
    fn refusal(&self, commit: &Commit) -> Option<Kind> {
        if commit
            .fence
            .as_ref()
            .is_some_and(|fence| fence.token < self.fence)
        {
            return Some(Kind::FailedPrecondition);
        }
        commit.writes.iter().find_map(|write| {
            let found = self.version(&write.key);
            match write.condition {
                Condition::IfAbsent => found.map(|_| Kind::AlreadyExists),
                Condition::IfVersion(asked) if found != Some(asked) => Some(Kind::Aborted),
                _ => None,
            }
        })
    }

    fn records(&self) -> Vec<Record> {
        let record = |(key, (value, version, at)): (&&str, &(u8, u64, Option<u64>))| Record {
            key: (*key).to_owned(),
            value: vec![*value].into(),
            metadata: BTreeMap::new(),
            version: *version,
            ttl_ms: at.map(|at| at - self.now),
        };
        self.records.iter().map(record).collect()
    }
}

/// Someone who knows only what watching has told.
#[derive(Default)]
struct Watcher {
    after: Revision,
    known: BTreeMap<String, u8>,
}

impl Watcher {
    async fn catch_up(&mut self, table: &Table) -> Result<(), TestCaseError> {
        match table.watch("", self.after, Duration::ZERO).await.unwrap() {
            Watched::Reset => {
                let listed = table.list(Select::default()).await.unwrap();
                let pair = |record: Record| (record.key, record.value[0]);
                self.known = listed.records.into_iter().map(pair).collect();
                self.after = listed.revision;
            }
            Watched::Changes { changes, revision } => {
                let mut last = self.after;
                for change in changes {
                    prop_assert!(change.revision > self.after && change.revision >= last);
                    last = change.revision;
                    let before = match change.kind {
                        ChangeKind::Put(record) => {
                            prop_assert_eq!(record.version, change.revision.number);
                            self.known.insert(change.key, record.value[0]);
                            continue;
                        }
                        ChangeKind::Deleted | ChangeKind::Expired => self.known.remove(&change.key),
                    };
                    prop_assert!(before.is_some(), "it went without having been there");
                }
                self.after = revision;
            }
        }
        Ok(())
    }
}

struct Pair {
    host: Host,
    table: Table,
    model: Model,
    watcher: Watcher,
}

impl Pair {
    async fn commit(
        &mut self,
        writes: Vec<(usize, Asked, Done)>,
        fence: Option<u64>,
    ) -> Result<(), TestCaseError> {
        let mut plain = BTreeMap::new();
        for (key, asked, done) in writes {
            plain.insert(KEYS[key], (asked, done));
        }
        let prepare = |(key, (asked, done)): (&&'static str, &(Asked, Done))| {
            let version = self.model.version(key);
            let condition = match (asked, done) {
                (Asked::Always, Done::Check) | (Asked::IfAbsent, _) => Condition::IfAbsent,
                (Asked::Always, _) => Condition::Always,
                (Asked::IfUnchanged, _) => Condition::IfVersion(version.unwrap_or(7)),
                (Asked::IfOlder, _) => Condition::IfVersion(version.map_or(7, |v| v - 1)),
            };
            let action = match done {
                Done::Put(value, ttl_ms) => Action::Put {
                    value: vec![*value].into(),
                    metadata: BTreeMap::new(),
                    ttl_ms: *ttl_ms,
                },
                Done::Delete => Action::Delete,
                Done::Check => Action::Check,
            };
            self.table.prepare(*key, condition, action)
        };
        let commit = Commit {
            writes: plain.iter().map(prepare).collect(),
            fence: fence.map(|token| Fence {
                name: "lock".to_owned(),
                token,
            }),
        };
        let refusal = self.model.refusal(&commit);
        let made = self.table.store().commit(commit).await;
        let kind = made.as_ref().err().map(nitro::Error::kind);
        prop_assert_eq!(kind, refusal);
        let Ok(made) = made else { return Ok(()) };
        self.model.fence = self.model.fence.max(fence.unwrap_or(0));
        for ((key, (_, done)), existed) in plain.into_iter().zip(made.existed) {
            prop_assert_eq!(existed, self.model.version(key).is_some());
            match done {
                Done::Put(value, ttl) => {
                    let record = (
                        value,
                        made.revision.number,
                        ttl.map(|ms| self.model.now + ms),
                    );
                    self.model.records.insert(key, record);
                }
                Done::Delete => drop(self.model.records.remove(key)),
                Done::Check => {}
            }
        }
        Ok(())
    }

    async fn list(&self, select: Select) -> Result<(), TestCaseError> {
        let mut expected = self.model.records();
        if select.order == Order::Descending {
            expected.reverse();
        }
        let comes = |record: &Record| match (&select.after, select.order) {
            (None, _) => true,
            (Some(after), Order::Ascending) => record.key > *after,
            (Some(after), Order::Descending) => record.key < *after,
        };
        expected.retain(|record| {
            let key = &record.key;
            key.starts_with(&select.prefix) && key.ends_with(&select.suffix) && comes(record)
        });
        let rest = expected.into_iter().skip(select.offset);
        let mut expected: Vec<Record> = rest.collect();
        let more = expected.len() > select.limit;
        expected.truncate(select.limit);
        let listed = self.table.list(select).await.unwrap();
        prop_assert_eq!(listed.records, expected);
        prop_assert_eq!(listed.more, more);
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Commit { writes, fence } => self.commit(writes, fence).await?,
            Step::List {
                parts,
                offset,
                limit,
                is_descending,
                after,
            } => {
                let select = Select {
                    prefix: PARTS[parts.0].to_owned(),
                    suffix: PARTS[parts.1].to_owned(),
                    after: after.map(|key| KEYS[key].to_owned()),
                    offset,
                    limit,
                    order: match is_descending {
                        true => Order::Descending,
                        false => Order::Ascending,
                    },
                };
                self.list(select).await?;
            }
            Step::Read(key) => {
                let mut expected = self.model.records().into_iter();
                let expected = expected.find(|record| record.key == KEYS[key]);
                let read = self.table.read(KEYS[key]).await.unwrap();
                prop_assert_eq!(read, expected);
            }
            Step::Advance(ms) => {
                self.host.clock.sleep(Duration::from_millis(ms)).await;
                self.model.advance(ms);
            }
            Step::CatchUp => self.watcher.catch_up(&self.table).await?,
        }
        Ok(())
    }
}

async fn agree(store: Store, host: Host, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut pair = Pair {
        table: store.table("d", "t"),
        host,
        model: Model::default(),
        watcher: Watcher::default(),
    };
    for step in steps {
        pair.step(step).await?;
    }
    pair.list(Select::default()).await?;
    pair.watcher.catch_up(&pair.table).await?;
    let all = pair.model.records();
    let expected: BTreeMap<String, u8> = all
        .into_iter()
        .map(|record| (record.key, record.value[0]))
        .collect();
    prop_assert_eq!(pair.watcher.known, expected);
    Ok(())
}

fn agrees(backend: Backend) {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 50..60);
    let ran = TestRunner::new(config).run(&steps, |steps| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut setting = Setting::new(On::Memory);
            let store = backend.open(&mut setting).await;
            agree(store, setting.host.clone(), steps).await
        })
    });
    ran.unwrap();
}

#[test]
fn memory_agrees_with_a_plain_map() {
    agrees(Backend::Memory);
}

#[test]
fn a_file_agrees_with_a_plain_map() {
    agrees(Backend::File);
}

#[test]
fn a_remote_store_agrees_with_a_plain_map() {
    agrees(Backend::RemoteMemory);
}

#[test]
fn a_store_behind_a_cache_agrees_with_a_plain_map() {
    agrees(Backend::Cached);
}
