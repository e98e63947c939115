//! What every registry promises.

use std::time::Duration;

use nitro::host::Host;
use nitro::registry::{Change, ChangeKind, DownReason, Node, Registry, Revision, Watched};
use nitro::{Address, Kind};

const TTL: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(30);

pub(super) fn node(service: &str, id: &str) -> Node {
    let mut node = Node::new(service, id, Address::tcp("10.0.0.7", 4000));
    node.labels.insert("zone".to_owned(), "eu".to_owned());
    node
}

async fn ids(registry: &Registry, service: Option<&str>) -> Vec<String> {
    let nodes = registry.list(service).await.unwrap().nodes;
    nodes.into_iter().map(|node| node.id).collect()
}

fn told(watched: Watched) -> (Vec<Change>, Revision) {
    match watched {
        Watched::Changes { changes, revision } => (changes, revision),
        Watched::Reset(listed) => panic!("reset to {listed:?}"),
    }
}

pub(super) async fn a_node_is_listed_as_it_was_registered(registry: Registry, _: Host) {
    assert!(ids(&registry, None).await.is_empty());
    let mut first = node("greeter", "b");
    first.version = "1.2".to_owned();
    first.weight = 7;
    first
        .labels
        .insert("rack".to_owned(), "a=1, \u{e9}".to_owned());
    let second = node("greeter", "a");
    let other = node("greeter2", "c");
    for node in [&first, &second, &other] {
        registry.register(node.clone(), LONG).await.unwrap();
    }
    let listed = registry.list(Some("greeter")).await.unwrap().nodes;
    assert_eq!(listed, [second, first.clone()]);
    assert_eq!(ids(&registry, None).await, ["a", "b", "c"]);
    assert!(ids(&registry, Some("nobody")).await.is_empty());
    // In place of what was listed.
    first.address = Address::tcp("greeter.example", 4001);
    registry.register(first.clone(), LONG).await.unwrap();
    let listed = registry.list(Some("greeter")).await.unwrap().nodes;
    assert_eq!(listed[1], first);
}

pub(super) async fn a_node_goes_when_its_heartbeats_stop(registry: Registry, host: Host) {
    registry.register(node("greeter", "a"), TTL).await.unwrap();
    registry.register(node("greeter", "b"), TTL).await.unwrap();
    for _ in 0..4 {
        host.clock.sleep(TTL / 2).await;
        registry.heartbeat("greeter", "a", TTL).await.unwrap();
    }
    assert_eq!(ids(&registry, None).await, ["a"]);
    let error = registry.heartbeat("greeter", "b", TTL).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    host.clock.sleep(TTL + TTL / 2).await;
    assert!(ids(&registry, None).await.is_empty());
    // It can come back.
    registry.register(node("greeter", "b"), TTL).await.unwrap();
    assert_eq!(ids(&registry, None).await, ["b"]);
}

pub(super) async fn a_node_that_leaves_is_gone_at_once(registry: Registry, _: Host) {
    registry.register(node("greeter", "a"), LONG).await.unwrap();
    assert!(!registry.deregister("greeter", "b").await.unwrap());
    assert!(!registry.deregister("other", "a").await.unwrap());
    assert!(registry.deregister("greeter", "a").await.unwrap());
    assert!(ids(&registry, None).await.is_empty());
    assert!(!registry.deregister("greeter", "a").await.unwrap());
    let error = registry.heartbeat("greeter", "a", LONG).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

pub(super) async fn a_watcher_is_told_of_every_change_once_and_in_order(
    registry: Registry,
    host: Host,
) {
    let start = registry.list(None).await.unwrap().revision;
    let mut heavier = node("greeter", "a");
    heavier.weight = 2;
    registry.register(node("greeter", "a"), LONG).await.unwrap();
    registry.register(node("other", "x"), LONG).await.unwrap();
    // The same again is no change, and no heartbeat is.
    registry.register(node("greeter", "a"), LONG).await.unwrap();
    registry.heartbeat("greeter", "a", LONG).await.unwrap();
    registry.register(heavier, LONG).await.unwrap();
    registry.deregister("greeter", "a").await.unwrap();
    registry.register(node("greeter", "b"), TTL).await.unwrap();
    host.clock.sleep(TTL * 2).await;
    let expected = [
        ("a", ChangeKind::Up),
        ("a", ChangeKind::Updated),
        ("a", ChangeKind::Down(DownReason::Deregistered)),
        ("b", ChangeKind::Up),
        ("b", ChangeKind::Down(DownReason::Expired)),
    ];
    let watched = registry.watch(Some("greeter"), start, Duration::ZERO).await;
    let (changes, revision) = told(watched.unwrap());
    let kinds: Vec<(&str, ChangeKind)> = changes
        .iter()
        .map(|change| (&*change.node.id, change.kind))
        .collect();
    assert_eq!(kinds, expected);
    assert!(changes.is_sorted_by(|one, next| one.revision < next.revision));
    // From the middle on, and from the end.
    let middle = changes[2].revision;
    let rest = registry
        .watch(Some("greeter"), middle, Duration::ZERO)
        .await;
    assert_eq!(told(rest.unwrap()).0, changes[3..]);
    let none = registry
        .watch(Some("greeter"), revision, Duration::ZERO)
        .await;
    assert!(told(none.unwrap()).0.is_empty());
    let all = registry.watch(None, start, Duration::ZERO).await;
    assert_eq!(told(all.unwrap()).0.len(), expected.len() + 1);
}

pub(super) async fn a_watcher_waits_for_a_change_and_no_longer_than_it_asks(
    registry: Registry,
    host: Host,
) {
    let start = registry.list(None).await.unwrap().revision;
    let asked_at = host.clock.now();
    let nothing = registry.watch(Some("greeter"), start, TTL).await.unwrap();
    assert!(told(nothing).0.is_empty());
    assert!(host.clock.now().since(asked_at) >= TTL);
    let watching = registry.watch(Some("greeter"), start, LONG);
    let registering = async {
        host.clock.sleep(TTL / 4).await;
        registry.register(node("other", "x"), LONG).await.unwrap();
        host.clock.sleep(TTL / 4).await;
        registry.register(node("greeter", "a"), TTL).await.unwrap();
    };
    let (watched, ()) = futures_util::future::join(watching, registering).await;
    let (changes, revision) = told(watched.unwrap());
    assert_eq!(changes.len(), 1);
    // Nobody asks for anything, and it is told that the time is over.
    let expired = registry.watch(Some("greeter"), revision, LONG).await;
    let down = ChangeKind::Down(DownReason::Expired);
    assert_eq!(told(expired.unwrap()).0[0].kind, down);
    assert!(host.clock.now().since(asked_at) < LONG);
}

pub(super) async fn a_watcher_who_comes_from_elsewhere_is_told_how_it_is(
    registry: Registry,
    _: Host,
) {
    registry.register(node("greeter", "a"), LONG).await.unwrap();
    let now = registry.list(None).await.unwrap();
    let other = Revision {
        epoch: now.revision.epoch ^ 1,
        ..now.revision
    };
    for after in [Revision::default(), other] {
        let watched = registry.watch(None, after, LONG).await.unwrap();
        assert_eq!(watched, Watched::Reset(now.clone()));
    }
}

pub(super) async fn what_nobody_could_find_or_call_is_refused_with_what_is_right(
    registry: Registry,
    _: Host,
) {
    let at = |address| Node {
        address,
        ..node("greeter", "a")
    };
    let day = Duration::from_secs(24 * 60 * 60);
    for (node, ttl, expected) in [
        (node("", "a"), LONG, "service is empty"),
        (node("greeter", ""), LONG, "id is empty"),
        (node(&"x".repeat(256), "a"), LONG, "at most 255"),
        (at(Address::tcp("0.0.0.0", 1)), LONG, "advertise"),
        (at(Address::tcp("10.0.0.7", 0)), LONG, "listen first"),
        (node("greeter", "a"), Duration::ZERO, "1 ms to a day"),
        (node("greeter", "a"), day * 2, "1 ms to a day"),
    ] {
        let error = registry.register(node, ttl).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}");
    }
    assert!(ids(&registry, None).await.is_empty());
}

pub(super) async fn who_keeps_a_node_registered_and_who_follows_it_agree(
    registry: Registry,
    host: Host,
) {
    let mut following = registry.follow(&host, "greeter");
    following.ready().await.unwrap();
    assert!(following.nodes().is_empty());
    let mut kept = registry.keep(&host, node("greeter", "a"), TTL);
    kept.registered().await.unwrap();
    host.clock.sleep(TTL * 3).await;
    assert_eq!(following.nodes().len(), 1);
    kept.deregister().await.unwrap();
    host.clock.sleep(TTL / 2).await;
    assert!(following.nodes().is_empty());
}
