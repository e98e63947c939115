//! A registry in memory against a plain model, and its watchers against its lists.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::error::Kind;
use crate::registry::{Change, ChangeKind, DownReason, Node, Registry};

fn machine() -> Host {
    crate::host::memory::Machine::new().host("registry")
}

fn registry(limits: Limits) -> Registry {
    Registry::new(Memory::new(&machine(), limits))
}

fn node(service: &str, id: &str, weight: u32) -> Node {
    let address = crate::Address::tcp("10.0.0.7", 4000);
    Node {
        weight,
        ..Node::new(service, id, address)
    }
}

fn changes(watched: Watched) -> Vec<Change> {
    match watched {
        Watched::Changes { changes, .. } => changes,
        Watched::Reset(listed) => panic!("reset to {listed:?}"),
    }
}

fn kinds(changes: &[Change]) -> Vec<(&str, ChangeKind)> {
    let kind = |change: &'_ Change| change.kind;
    changes
        .iter()
        .map(|change| (change.node.id.as_str(), kind(change)))
        .collect()
}

const TTL: Duration = Duration::from_secs(10);
const EXPIRED: ChangeKind = ChangeKind::Down(DownReason::Expired);
const DEREGISTERED: ChangeKind = ChangeKind::Down(DownReason::Deregistered);

#[tokio::test(start_paused = true)]
async fn every_change_describes_the_node_it_concerns() {
    let registry = registry(Limits::default());
    let start = registry.list(None).await.unwrap().revision;
    registry.register(node("s", "a", 1), TTL).await.unwrap();
    registry.register(node("s", "b", 1), TTL * 2).await.unwrap();
    registry.register(node("s", "a", 1), TTL).await.unwrap();
    registry.register(node("s", "a", 2), TTL).await.unwrap();
    assert!(registry.deregister("s", "a").await.unwrap());
    assert!(!registry.deregister("s", "a").await.unwrap());
    tokio::time::advance(TTL * 2).await;
    let seen = changes(
        registry
            .watch(Some("s"), start, Duration::ZERO)
            .await
            .unwrap(),
    );
    let expected = [
        ("a", ChangeKind::Up),
        ("b", ChangeKind::Up),
        ("a", ChangeKind::Updated),
        ("a", DEREGISTERED),
        ("b", EXPIRED),
    ];
    assert_eq!(kinds(&seen), expected);
    assert_eq!(seen[2].node.weight, 2);
    assert_eq!(seen[3].node.weight, 2, "as it was last");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_watcher_hears_of_a_change_and_of_an_expiry_when_they_happen() {
    let registry = registry(Limits::default());
    let clock = machine().clock;
    let start = registry.list(None).await.unwrap().revision;
    let watch = |after| registry.watch(Some("s"), after, WATCH_WAIT_MAX);
    let later = async {
        clock.sleep(Duration::from_secs(1)).await;
        registry
            .register(node("other", "x", 1), TTL * 5)
            .await
            .unwrap();
        clock.sleep(Duration::from_secs(1)).await;
        registry.register(node("s", "a", 1), TTL).await.unwrap()
    };
    let began = clock.now();
    let (watched, revision) = tokio::join!(watch(start), later);
    assert_eq!(kinds(&changes(watched.unwrap())), [("a", ChangeKind::Up)]);
    assert_eq!(clock.now().since(began).as_secs(), 2);

    let watched = watch(revision).await.unwrap();
    assert_eq!(kinds(&changes(watched)), [("a", EXPIRED)]);
    assert_eq!(clock.now().since(began).as_secs(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_without_news_is_answered_when_its_wait_is_over() {
    let registry = registry(Limits::default());
    let clock = machine().clock;
    let start = registry.list(None).await.unwrap().revision;
    let began = clock.now();
    let watched = registry.watch(None, start, Duration::from_secs(7)).await;
    assert_eq!(changes(watched.unwrap()), []);
    assert_eq!(clock.now().since(began).as_secs(), 7);
    let watched = registry.watch(None, start, Duration::MAX).await;
    assert_eq!(changes(watched.unwrap()), []);
    assert_eq!(clock.now().since(began).as_secs(), 67);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_that_lags_too_far_or_comes_from_another_registry_is_reset() {
    let limits = Limits {
        changes_max: 2,
        ..Limits::default()
    };
    let registry = registry(limits);
    let start = registry.list(None).await.unwrap().revision;
    for id in ["a", "b"] {
        registry.register(node("s", id, 1), TTL).await.unwrap();
    }
    let watch = |after| registry.watch(Some("s"), after, Duration::ZERO);
    assert_eq!(changes(watch(start).await.unwrap()).len(), 2);
    let revision = registry.register(node("t", "c", 1), TTL).await.unwrap();
    let ahead = Revision {
        number: revision.number + 1,
        ..revision
    };
    let elsewhere = Revision {
        epoch: revision.epoch ^ 1,
        ..revision
    };
    for after in [start, ahead, elsewhere, Revision::default()] {
        let Watched::Reset(listed) = watch(after).await.unwrap() else {
            panic!("{after:?} was answered with changes");
        };
        assert_eq!(listed.nodes, [node("s", "a", 1), node("s", "b", 1)]);
        assert_eq!(listed.revision, revision);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_or_too_much_is_refused_by_name() {
    let limits = Limits {
        nodes_max: 1,
        watchers_max: 1,
        ..Limits::default()
    };
    let registry = registry(limits);
    let refused = async |node: Node, ttl| registry.register(node, ttl).await.unwrap_err();
    for ttl in [Duration::ZERO, TTL_MAX + Duration::from_millis(1)] {
        let error = refused(node("s", "a", 1), ttl).await;
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(
            error.message().contains("expected 1 ms to a day"),
            "{error}"
        );
    }
    let error = refused(node("s", "", 1), TTL).await;
    assert_eq!(error.kind(), Kind::InvalidArgument);
    registry.register(node("s", "a", 1), TTL_MAX).await.unwrap();
    let error = refused(node("s", "b", 1), TTL).await;
    assert_eq!(error.kind(), Kind::ResourceExhausted);
    registry.register(node("s", "a", 2), TTL).await.unwrap();
    let error = registry.heartbeat("s", "b", TTL).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);

    let now = registry.list(None).await.unwrap();
    let one = registry.watch(None, now.revision, TTL / 2);
    let two = registry.watch(None, now.revision, TTL / 2);
    let (one, two) = tokio::join!(one, two);
    assert!(one.is_ok());
    assert_eq!(two.unwrap_err().kind(), Kind::ResourceExhausted);
}

#[derive(Clone, Debug)]
enum Step {
    Register {
        node: Node,
        ttl_ms: u64,
    },
    Heartbeat {
        service: &'static str,
        id: &'static str,
        ttl_ms: u64,
    },
    Deregister {
        service: &'static str,
        id: &'static str,
    },
    Advance {
        ms: u64,
    },
    Watch {
        watcher: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let service = || prop_oneof![Just("s"), Just("t")];
    let id = || prop_oneof![Just("a"), Just("b"), Just("c")];
    let ttl_ms = 1_u64..100;
    prop_oneof![
        (service(), id(), 1_u32..3, ttl_ms.clone()).prop_map(|(service, id, weight, ttl_ms)| {
            let node = node(service, id, weight);
            Step::Register { node, ttl_ms }
        }),
        (service(), id(), ttl_ms).prop_map(|(service, id, ttl_ms)| Step::Heartbeat {
            service,
            id,
            ttl_ms
        }),
        (service(), id()).prop_map(|(service, id)| Step::Deregister { service, id }),
        (0_u64..60).prop_map(|ms| Step::Advance { ms }),
        (0_usize..3).prop_map(|watcher| Step::Watch { watcher }),
    ]
}

/// What a registry is, without revisions, watchers or bounds.
#[derive(Default)]
struct Model {
    now_ms: u64,
    nodes: BTreeMap<(String, String), (Node, u64)>,
}

impl Model {
    fn live(&mut self) -> &mut BTreeMap<(String, String), (Node, u64)> {
        let now_ms = self.now_ms;
        self.nodes.retain(|_, (_, until_ms)| *until_ms > now_ms);
        &mut self.nodes
    }

    fn list(&mut self, service: Option<&str>) -> Vec<Node> {
        let nodes = self.live().values().map(|(node, _)| node.clone());
        nodes
            .filter(|node| service.is_none_or(|service| service == node.service))
            .collect()
    }
}

/// Someone who knows only what watching has told.
struct Watcher {
    service: Option<&'static str>,
    after: Revision,
    known: BTreeMap<(String, String), Node>,
}

impl Watcher {
    async fn catch_up(&mut self, registry: &Registry) -> Result<(), TestCaseError> {
        let watched = registry
            .watch(self.service, self.after, Duration::ZERO)
            .await
            .unwrap();
        let key = |node: &Node| (node.service.clone(), node.id.clone());
        match watched {
            Watched::Reset(listed) => {
                self.known = listed
                    .nodes
                    .into_iter()
                    .map(|node| (key(&node), node))
                    .collect();
                self.after = listed.revision;
            }
            Watched::Changes { changes, revision } => {
                for change in changes {
                    prop_assert!(change.revision > self.after, "told twice");
                    self.after = change.revision;
                    let (key, before) = (key(&change.node), self.known.get(&key(&change.node)));
                    match change.kind {
                        ChangeKind::Up => prop_assert_eq!(before, None),
                        ChangeKind::Updated => {
                            prop_assert!(before.is_some_and(|node| *node != change.node))
                        }
                        ChangeKind::Down(_) => prop_assert_eq!(before, Some(&change.node)),
                    }
                    match change.kind {
                        ChangeKind::Down(_) => self.known.remove(&key),
                        _ => self.known.insert(key, change.node),
                    };
                }
                self.after = revision;
            }
        }
        Ok(())
    }
}

async fn agree(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let limits = Limits {
        changes_max: 4,
        ..Limits::default()
    };
    let registry = registry(limits);
    let mut model = Model::default();
    let watcher = |service| Watcher {
        service,
        after: Revision::default(),
        known: BTreeMap::new(),
    };
    let mut watchers = [watcher(None), watcher(Some("s")), watcher(Some("t"))];
    for step in steps {
        match step {
            Step::Register { node, ttl_ms } => {
                let key = (node.service.clone(), node.id.clone());
                let until_ms = model.now_ms + ttl_ms;
                model.live().insert(key, (node.clone(), until_ms));
                registry
                    .register(node, Duration::from_millis(ttl_ms))
                    .await
                    .unwrap();
            }
            Step::Heartbeat {
                service,
                id,
                ttl_ms,
            } => {
                let until_ms = model.now_ms + ttl_ms;
                let lease = model.live().get_mut(&(service.to_owned(), id.to_owned()));
                let ttl = Duration::from_millis(ttl_ms);
                let kept = registry.heartbeat(service, id, ttl).await;
                prop_assert_eq!(kept.is_ok(), lease.is_some());
                if let Some((_, until)) = lease {
                    *until = until_ms;
                }
            }
            Step::Deregister { service, id } => {
                let key = (service.to_owned(), id.to_owned());
                let was_listed = model.live().remove(&key).is_some();
                prop_assert_eq!(registry.deregister(service, id).await.unwrap(), was_listed);
            }
            Step::Advance { ms } => {
                model.now_ms += ms;
                tokio::time::advance(Duration::from_millis(ms)).await;
            }
            Step::Watch { watcher } => watchers[watcher].catch_up(&registry).await?,
        }
        prop_assert_eq!(registry.list(None).await.unwrap().nodes, model.list(None));
        prop_assert_eq!(
            registry.list(Some("s")).await.unwrap().nodes,
            model.list(Some("s"))
        );
    }
    for watcher in &mut watchers {
        watcher.catch_up(&registry).await?;
        let known: Vec<Node> = watcher.known.values().cloned().collect();
        prop_assert_eq!(known, model.list(watcher.service));
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_agrees_with_a_plain_model_and_watchers_end_with_the_list(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(agree(steps))?;
    }
}
