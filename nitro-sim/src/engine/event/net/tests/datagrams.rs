//! Datagrams: what is lost, doubled, overtaken, held, and who receives what is sent to a group.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nitro::host::{Clock, Datagram};

use super::super::NetSettings;
use super::super::settings::LinkSettings;
use super::driver::{World, settings};
use crate::fault::Fault;
use crate::latency::Latency;

const PORT: u16 = 5353;

fn at(node: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node], PORT))
}

async fn socket(world: &World, node: usize) -> Box<dyn Datagram> {
    let any = SocketAddr::from(([0, 0, 0, 0], PORT));
    world.network(node).datagram(any).await.unwrap()
}

/// The first bytes of all that has come to a socket, once nothing more comes.
async fn received(world: &World, socket: &dyn Datagram) -> Vec<u8> {
    let clock: &dyn Clock = &*world.clock;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 2048]);
    let wait = Duration::from_millis(500);
    while let Ok(next) = clock.timeout(wait, socket.receive(&mut buffer)).await {
        next.unwrap();
        all.push(buffer[0]);
    }
    world.net.set_now(clock.now());
    all
}

fn with(change: impl FnOnce(&mut LinkSettings)) -> World {
    let mut link = LinkSettings::new(Latency::Constant { us: 2000 });
    change(&mut link);
    World::with(NetSettings { link, ..settings() })
}

/// How many of 100 come, sent a millisecond apart, and how many later than the one after.
fn counts(world: &World, length: usize) -> (usize, usize) {
    world.run(async {
        let (near, far) = (socket(world, 0).await, socket(world, 1).await);
        for n in 0..100 {
            near.send(&vec![n; length], at(2)).await.unwrap();
            world.sleep(Duration::from_millis(1)).await;
        }
        let all = received(world, &*far).await;
        let overtaken = all.windows(2).filter(|pair| pair[0] > pair[1]).count();
        (all.len(), overtaken)
    })
}

#[test]
fn datagrams_are_lost_doubled_and_overtaken_as_often_as_they_are_to_be() {
    assert_eq!(counts(&World::new(), 10), (100, 0));
    let (lost, _) = counts(&with(|link| link.loss = 0.2), 10);
    assert!((70..92).contains(&lost), "{lost}");
    let (doubled, _) = counts(&with(|link| link.duplicate = 0.2), 10);
    assert!((110..132).contains(&doubled), "{doubled}");
    let (all, overtaken) = counts(&with(|link| link.reorder = 0.2), 10);
    assert!(
        all == 100 && (8..30).contains(&overtaken),
        "{all} {overtaken}"
    );
}

#[test]
fn a_long_datagram_is_lost_if_any_piece_of_it_is() {
    let (short, _) = counts(&with(|link| link.loss = 0.1), 1000);
    let (long, _) = counts(&with(|link| link.loss = 0.1), 15_000);
    // Eleven pieces: 0.9 to the eleventh arrive.
    assert!(short > 80 && (18..48).contains(&long), "{short} {long}");
}

#[test]
fn a_busy_link_loses_what_would_wait_for_more_than_a_second() {
    let world = with(|link| link.bytes_per_second = Some(10_000));
    world.run(async {
        let (near, far) = (socket(&world, 0).await, socket(&world, 1).await);
        for n in 0..100 {
            near.send(&[n; 972], at(2)).await.unwrap();
        }
        let all = received(&world, &*far).await;
        assert_eq!(all, (0..=10).collect::<Vec<u8>>());
    });
}

#[test]
fn what_is_sent_to_a_group_comes_to_its_members_over_links_of_their_own() {
    let world = World::new();
    world.run(async {
        let sockets = [
            socket(&world, 0).await,
            socket(&world, 1).await,
            socket(&world, 2).await,
        ];
        let group = IpAddr::from([239, 1, 1, 1]);
        let to = SocketAddr::new(group, PORT);
        for socket in &sockets {
            socket.join(group).unwrap();
        }
        let groups = vec![vec!["a".to_owned()], vec!["b".to_owned()]];
        world.net.begin_fault("p", &Fault::Partition { groups });
        sockets[0].send(b"x", to).await.unwrap();
        let mut counts = Vec::new();
        for socket in &sockets {
            counts.push(received(&world, &**socket).await.len());
        }
        assert_eq!(counts, [1, 0, 1]);
        assert_eq!(world.recorder.touched("p"), 1);
        world.net.heal();
        sockets[2].leave(group).unwrap();
        sockets[0].send(b"x", to).await.unwrap();
        assert_eq!(received(&world, &*sockets[1]).await.len(), 1);
        assert_eq!(received(&world, &*sockets[2]).await.len(), 0);
    });
}

#[test]
fn held_datagrams_come_when_they_are_released_and_crashed_nodes_get_none() {
    let world = World::new();
    world.run(async {
        let (near, far) = (socket(&world, 0).await, socket(&world, 1).await);
        let between = [vec!["a".to_owned()], vec!["b".to_owned()]];
        world.net.begin_fault("h", &Fault::Hold { between });
        near.send(b"x", at(2)).await.unwrap();
        assert!(received(&world, &*far).await.is_empty());
        assert!(world.net.release());
        assert_eq!(received(&world, &*far).await, b"x");
        world.net.crash(1, "crash-1");
        near.send(b"x", at(2)).await.unwrap();
        world.sleep(Duration::from_millis(10)).await;
        world.net.start(1);
        let again = socket(&world, 1).await;
        assert!(received(&world, &*again).await.is_empty());
        assert_eq!(world.recorder.touched("crash-1"), 1);
        assert!(far.receive(&mut [0; 8]).await.is_err());
    });
}
