//! Processes that find each other by multicast DNS, here on the loopback interface alone, each
//! test on a port of its own.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use nitro::host::Host;
use nitro::mdns::{Interfaces, Mdns, Settings};
use nitro::registry::{ChangeKind, DownReason, Node, Registry, Revision, Watched};
use nitro::{Address, Kind};

use super::cases::node;
use super::{On, Setting, setting};

const LONG: Duration = Duration::from_secs(30);

/// How long a node may take to be seen, and to be seen to go.
const SOON: Duration = Duration::from_secs(5);

/// A port that no other test of this process has, and hardly any other process.
pub(super) fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (std::process::id() % 200) as u16 * 200;
    first + NEXT.fetch_add(1, Ordering::Relaxed)
}

fn start(host: &Host, port: u16) -> Mdns {
    let interfaces = Interfaces::Loopback;
    Mdns::start(host, Settings { port, interfaces }).unwrap()
}

/// The next change, which must come soon.
async fn next(registry: &Registry, after: &mut Revision) -> (String, ChangeKind, Node) {
    match registry.watch(None, *after, SOON).await.unwrap() {
        Watched::Changes { changes, .. } => {
            let change = changes.first().expect("something is heard in time").clone();
            *after = change.revision;
            (change.node.id.clone(), change.kind, change.node)
        }
        Watched::Reset(listed) => panic!("reset to {listed:?}"),
    }
}

#[test]
fn processes_find_each_other_hear_of_changes_and_of_good_byes() {
    setting::run(On::Machine, async |setting: Setting| {
        let (host, port) = (&setting.host, port());
        let (here, there) = (start(host, port), start(host, port));
        let (ours, theirs) = (here.registry(), there.registry());
        let mut after = theirs.list(None).await.unwrap().revision;
        let mut said = node("greeter", "a");
        said.version = "1.2".to_owned();
        ours.register(said.clone(), LONG).await.unwrap();
        let heard = next(&theirs, &mut after).await;
        assert_eq!(heard, ("a".to_owned(), ChangeKind::Up, said.clone()));
        said.weight = 9;
        ours.register(said.clone(), LONG).await.unwrap();
        let heard = next(&theirs, &mut after).await;
        assert_eq!(heard, ("a".to_owned(), ChangeKind::Updated, said.clone()));
        // One who comes later hears of it as well.
        let late = start(host, port);
        let listed = late.registry();
        let mut begin = listed.list(None).await.unwrap().revision;
        assert_eq!(next(&listed, &mut begin).await.2, said);
        // Others' nodes are not ours to take off or to keep.
        assert!(!theirs.deregister("greeter", "a").await.unwrap());
        let error = theirs.heartbeat("greeter", "a", LONG).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(ours.deregister("greeter", "a").await.unwrap());
        let gone = ChangeKind::Down(DownReason::Deregistered);
        for (registry, after) in [(&theirs, &mut after), (&listed, &mut begin)] {
            assert_eq!(next(registry, after).await.1, gone);
        }
        // And back, and gone with its process.
        ours.register(said, LONG).await.unwrap();
        assert_eq!(next(&theirs, &mut after).await.1, ChangeKind::Up);
        here.stop().await.unwrap();
        assert_eq!(next(&theirs, &mut after).await.1, gone);
        let error = ours.register(node("greeter", "b"), LONG).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
    });
}

#[test]
fn a_node_whose_heartbeats_stop_expires_everywhere_and_one_that_beats_stays() {
    setting::run(On::Machine, async |setting: Setting| {
        let (host, port) = (&setting.host, port());
        let (here, there) = (start(host, port), start(host, port));
        let (ours, theirs) = (here.registry(), there.registry());
        let mut after = theirs.list(None).await.unwrap().revision;
        let ttl = Duration::from_millis(1_500);
        let kept = ours.keep(host, node("greeter", "kept"), ttl);
        assert_eq!(next(&theirs, &mut after).await.0, "kept");
        ours.register(node("greeter", "left"), ttl).await.unwrap();
        assert_eq!(next(&theirs, &mut after).await.0, "left");
        let (id, kind, _) = next(&theirs, &mut after).await;
        let expired = ChangeKind::Down(DownReason::Expired);
        assert_eq!((&*id, kind), ("left", expired));
        host.clock.sleep(ttl * 2).await;
        let listed = theirs.list(None).await.unwrap().nodes;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].id, "kept");
        // Whoever comes now does not hear of the other.
        let late = start(host, port);
        host.clock.sleep(Duration::from_millis(1_500)).await;
        let listed = late.registry().list(None).await.unwrap().nodes;
        assert!(listed.iter().all(|node| node.id == "kept"), "{listed:?}");
        drop(kept);
    });
}

/// Says something as a stranger would.
fn say(daemon: &ServiceDaemon, name: &str, pairs: &[(&str, &str)]) {
    let host = format!("{name}.local.");
    let info = ServiceInfo::new("_nitro._tcp.local.", name, &host, "", 1, pairs);
    let mut info = info.unwrap().enable_addr_auto();
    info.set_requires_probe(false);
    daemon.register(info).unwrap();
}

#[test]
fn what_strangers_say_is_no_node_and_stops_nobody() {
    setting::run(On::Machine, async |setting: Setting| {
        let (host, port) = (&setting.host, port());
        let stranger = ServiceDaemon::new_with_port(port).unwrap();
        stranger.disable_interface(IfKind::All).unwrap();
        stranger.enable_interface(IfKind::LoopbackV4).unwrap();
        let (here, there) = (start(host, port), start(host, port));
        let good = [
            ("id", "a"),
            ("service", "greeter"),
            ("version", ""),
            ("address", "10.0.0.7:4000"),
            ("weight", "1"),
            ("ttl-ms", "30000"),
            ("beat", "18446744073709551615"),
        ];
        say(&stranger, "printer", &[("txtvers", "1")]);
        // All that a node says, in a name that is not its own.
        say(&stranger, "another", &good);
        let theirs = there.registry();
        let mut after = theirs.list(None).await.unwrap().revision;
        let ours = here.registry();
        ours.register(node("greeter", "b"), LONG).await.unwrap();
        assert_eq!(next(&theirs, &mut after).await.0, "b");
        host.clock.sleep(Duration::from_millis(1_500)).await;
        let listed = theirs.list(None).await.unwrap().nodes;
        assert_eq!(listed.len(), 1, "{listed:?}");
        stranger.shutdown().unwrap();
    });
}

#[test]
fn a_node_that_cannot_be_said_is_not_listed_either() {
    setting::run(On::Machine, async |setting: Setting| {
        let mdns = start(&setting.host, port());
        let registry = mdns.registry();
        let mut long = node("greeter", "a");
        for n in 0..8 {
            long.labels.insert(format!("label-{n}"), "x".repeat(200));
        }
        let near = Node {
            address: Address::memory("here"),
            ..node("greeter", "a")
        };
        for (node, expected) in [(long, "fit a packet"), (near, "this machine alone")] {
            let error = registry.register(node, LONG).await.unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.message().contains(expected), "{error}");
        }
        assert!(registry.list(None).await.unwrap().nodes.is_empty());
    });
}
