//! Streams where nothing is wrong: what they cost, and how long things take.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join;
use nitro::address::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::NetSettings;
use super::super::settings::LinkSettings;
use super::driver::{World, settings};
use crate::latency::Latency;
use crate::trace::EventKind;

#[test]
fn a_message_takes_the_latency_and_opening_a_round_trip() {
    let world = World::new();
    world.run(async {
        let mut listener = world.listen(1).await;
        let mut near = world
            .network(0)
            .connect(&Address::tcp("b", 80))
            .await
            .unwrap();
        assert_eq!(world.now_ms(), 4);
        let (mut far, from) = listener.accept().await.unwrap();
        assert_eq!(world.now_ms(), 6);
        assert!(from.to_string().starts_with("10.0.0.1:"), "{from}");
        near.write_all(b"hello").await.unwrap();
        let mut bytes = [0; 5];
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!((&bytes, world.now_ms()), (b"hello", 8));
    });
}

#[test]
fn where_nobody_listens_opening_is_refused_after_a_round_trip() {
    let world = World::new();
    world.run(async {
        let opened = world.network(0).connect(&Address::tcp("b", 81)).await;
        assert_eq!(opened.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(world.now_ms(), 4);
    });
}

#[test]
fn a_listener_on_loopback_is_heard_on_its_own_node_only() {
    let world = World::new();
    world.run(async {
        let at = Address::tcp("127.0.0.1", 80);
        let _listener = world.network(1).listen(&at).await.unwrap();
        assert!(world.network(1).connect(&at).await.is_ok());
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(opened.err().unwrap().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn nothing_is_left_of_streams_that_were_closed_both_ways() {
    let world = World::new();
    world.run(async {
        for round in 0..40_000 {
            let (mut near, mut far, listener) = world.pair().await;
            near.write_all(b"x").await.unwrap();
            far.read_u8().await.unwrap();
            match round % 3 {
                0 => drop((near, far)),
                1 => drop((far, near)),
                _ => {
                    far.write_all(b"never read").await.unwrap();
                    world.sleep(Duration::from_millis(5)).await;
                    drop((near, far));
                }
            }
            drop(listener);
            world.sleep(Duration::from_millis(10)).await;
        }
    });
    let left = world.net.with(|state| {
        let ports: usize = state.nodes.iter().map(|node| node.ports.len()).sum();
        let ends: usize = state.nodes.iter().map(|node| node.ends.len()).sum();
        [state.connections.len(), state.listeners.len(), ports, ends]
    });
    assert_eq!(left, [0, 0, 0, 0]);
    assert_eq!(world.net.next_due(), None);
}

#[test]
fn an_opening_that_nobody_waits_for_leaves_nothing() {
    let world = World::new();
    world.run(async {
        let mut listener = world.listen(1).await;
        for wait in [0, 1, 3, 5] {
            let network = world.network(0);
            let to = Address::tcp("b", 80);
            let opening = network.connect(&to);
            let clock = &*world.clock as &dyn nitro::host::Clock;
            let time = Duration::from_millis(wait);
            let _ = clock.timeout(time, opening).await;
            world.net.set_now(nitro::host::Clock::now(&*world.clock));
            world.sleep(Duration::from_millis(100)).await;
        }
        // The last one was open before it was let go: it is accepted and has ended.
        let (mut far, _) = listener.accept().await.unwrap();
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
        drop((far, listener));
        world.sleep(Duration::from_secs(30)).await;
    });
    assert_eq!(world.net.with(|state| state.connections.len()), 0);
}

#[test]
fn bytes_that_meet_a_closed_end_are_answered_by_a_reset() {
    let world = World::new();
    world.run(async {
        let (mut near, far, _listener) = world.pair().await;
        near.write_all(b"on its way").await.unwrap();
        drop(far);
        // The end set out before the bytes arrived, so it is heard first.
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        world.sleep(Duration::from_millis(10)).await;
        let written = near.write(b"x").await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_listener_leaves_unanswered_what_it_has_no_room_for() {
    let world = World::with(NetSettings {
        backlog: 3,
        ..settings()
    });
    world.run(async {
        let mut listener = world.listen(1).await;
        let (network, to) = (world.network(0), Address::tcp("b", 80));
        let mut all = Vec::new();
        for _ in 0..4 {
            all.push(network.connect(&to).await.unwrap());
        }
        let start = world.now_ms();
        let room = async {
            world.sleep(Duration::from_millis(500)).await;
            listener.accept().await
        };
        let (opened, accepted) = join(network.connect(&to), room).await;
        assert!(opened.is_ok() && accepted.is_ok());
        // It is asked for again after a second.
        assert_eq!(world.now_ms() - start, 1_004);
        let opened = network.connect(&to).await;
        assert_eq!(opened.err().unwrap().kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_writer_waits_for_a_reader_and_goes_on_a_latency_after_it() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let mut taken = 0;
        let clock = world.clock.clone();
        let clock: &dyn nitro::host::Clock = &*clock;
        let fill = vec![7; 64 * 1024];
        while let Ok(count) = clock
            .timeout(Duration::from_secs(1), near.write(&fill))
            .await
        {
            taken += count.unwrap();
        }
        assert_eq!(taken, 128 * 1024);
        world.net.set_now(clock.now());
        let before = clock.now();
        let mut half = vec![0; 40 * 1024];
        far.read_exact(&mut half).await.unwrap();
        near.write_all(b"more").await.unwrap();
        // The word that there is room travels to the writer; what is sent for it travels back,
        // and its acknowledgement makes room for more.
        assert_eq!(clock.now().since(before), Duration::from_millis(6));
    });
}

#[test]
fn bandwidth_bounds_what_a_link_carries() {
    let mut link = LinkSettings::new(Latency::Constant { us: 1000 });
    link.bytes_per_second = Some(100_000);
    let world = World::with(NetSettings { link, ..settings() });
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let start = world.now_ms();
        let send = async {
            near.write_all(&vec![1; 300_000]).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut all = Vec::new();
        let ((), count) = join(send, far.read_to_end(&mut all)).await;
        assert_eq!(count.unwrap(), 300_000);
        let took = world.now_ms() - start;
        assert!((3_000..3_100).contains(&took), "{took}");
    });
}

#[test]
fn bytes_keep_their_order_whatever_the_latency() {
    let latency = Latency::LogNormal {
        median_us: 2_000,
        p99_us: 200_000,
    };
    let world = World::with(NetSettings {
        link: LinkSettings::new(latency),
        ..settings()
    });
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let send = async {
            for n in 0..2_000_u32 {
                near.write_all(&n.to_be_bytes()).await.unwrap();
                world.sleep(Duration::from_millis(1)).await;
            }
        };
        let receive = async {
            for n in 0..2_000 {
                assert_eq!(far.read_u32().await.unwrap(), n);
            }
        };
        join(send, receive).await;
    });
}

#[test]
fn an_event_of_a_message_costs_one_event_of_the_schedule() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        for _ in 0..100 {
            near.write_all(b"ping").await.unwrap();
            assert!(world.net.next_due().is_some());
            far.read_exact(&mut [0; 4]).await.unwrap();
            assert_eq!(world.net.next_due(), None);
        }
    });
    let messages = world.events();
    let messages = messages
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Message { .. }));
    assert_eq!(messages.count(), 100);
}
