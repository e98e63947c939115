//! Streams, datagrams and names where something is wrong.

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::future::join;
use nitro::address::Address;
use nitro::host::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::NetSettings;
use super::super::settings::LinkSettings;
use super::driver::{World, settings};
use crate::fault::{Fault, StaleAnswer};
use crate::latency::Latency;
use crate::trace::{EventKind, MessageOutcome};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn between() -> [Vec<String>; 2] {
    [names(&["a"]), names(&["b"])]
}

fn partition() -> Fault {
    let groups = between().to_vec();
    Fault::Partition { groups }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The kind of the error of what must fail.
fn failed<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it must not succeed"),
        Err(error) => error.kind(),
    }
}

#[test]
fn opening_in_a_partition_is_silence_and_then_a_time_out() {
    let world = World::new();
    world.run(async {
        let _listener = world.listen(1).await;
        world.net.begin_fault("p", &partition());
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(
            (failed(opened), world.now_ms()),
            (ErrorKind::TimedOut, 20_000)
        );
        // Each of the five times it was asked for.
        assert_eq!(world.recorder.touched("p"), 5);
        // The third node is in no group.
        assert!(
            world
                .network(2)
                .connect(&Address::tcp("b", 80))
                .await
                .is_ok()
        );
    });
}

#[test]
fn opening_goes_through_when_it_is_asked_for_again_after_the_heal() {
    let world = World::new();
    world.run(async {
        let _listener = world.listen(1).await;
        world.net.begin_fault("p", &partition());
        let network = world.network(0);
        let to = Address::tcp("b", 80);
        let heal = async {
            world.sleep(secs(5)).await;
            world.net.end_fault("p");
        };
        let (opened, ()) = join(network.connect(&to), heal).await;
        opened.unwrap();
        // Asked at 0, 1, 3 and 7 seconds.
        assert_eq!(world.now_ms(), 7_004);
    });
}

#[test]
fn bytes_written_in_a_partition_arrive_after_it_heals() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        world.net.begin_fault("p", &partition());
        let start = world.now_ms();
        near.write_all(b"hello").await.unwrap();
        near.write_all(b"again").await.unwrap();
        let heal = async {
            world.sleep(secs(2)).await;
            assert!(world.net.heal());
        };
        let mut bytes = [0; 10];
        let (read, ()) = join(far.read_exact(&mut bytes), heal).await;
        read.unwrap();
        // Sent again after 200, 600, 1400 and 3000 ms.
        assert_eq!((&bytes, world.now_ms() - start), (b"helloagain", 3_002));
        assert!(world.recorder.touched("p") >= 2);
    });
}

#[test]
fn a_stream_times_out_after_a_minute_of_silence_and_says_so_once() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        world.net.begin_fault("p", &partition());
        let start = world.now_ms();
        near.write_all(b"hello").await.unwrap();
        assert_eq!(failed(near.read(&mut [0; 8]).await), ErrorKind::TimedOut);
        assert_eq!(world.now_ms() - start, 60_000);
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(failed(near.write(b"x").await), ErrorKind::BrokenPipe);
        // The other end knows nothing of it until it writes.
        let clock: &dyn Clock = &*world.clock;
        let mut byte = [0; 1];
        assert!(clock.timeout(secs(300), far.read(&mut byte)).await.is_err());
        world.net.set_now(clock.now());
        world.net.heal();
        far.write_all(b"x").await.unwrap();
        assert_eq!(
            failed(far.read(&mut [0; 8]).await),
            ErrorKind::ConnectionReset
        );
    });
    let broken = world.events();
    let broken = broken
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Broken { .. }));
    assert_eq!(broken.count(), 2);
}

#[test]
fn one_way_silence_lets_bytes_through_and_loses_the_answer() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let (from, to) = (names(&["b"]), names(&["a"]));
        world
            .net
            .begin_fault("p", &Fault::PartitionOneWay { from, to });
        let start = world.now_ms();
        near.write_all(b"hello").await.unwrap();
        far.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(world.now_ms() - start, 2);
        assert_eq!(failed(near.read(&mut [0; 8]).await), ErrorKind::TimedOut);
        assert_eq!(world.now_ms() - start, 60_002);
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(failed(opened), ErrorKind::TimedOut);
    });
}

#[test]
fn what_is_held_arrives_when_it_is_released() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, mut listener) = world.pair().await;
        world
            .net
            .begin_fault("h", &Fault::Hold { between: between() });
        near.write_all(b"hello").await.unwrap();
        let network = world.network(0);
        let to = Address::tcp("b", 80);
        let release = async {
            world.sleep(ms(9_500)).await;
            let at = world.now_ms();
            assert!(world.net.release());
            at
        };
        let mut bytes = [0; 5];
        let (read, (opened, at)) = join(
            far.read_exact(&mut bytes),
            join(network.connect(&to), release),
        )
        .await;
        read.unwrap();
        opened.unwrap();
        assert_eq!(world.now_ms(), at + 4);
        listener.accept().await.unwrap();
        assert!(!world.net.release());
    });
}

#[test]
fn a_crash_is_silence_and_the_next_life_answers_with_a_reset() {
    let world = World::new();
    world.run(async {
        let (mut near, far, listener) = world.pair().await;
        world.net.crash(1, "crash-1");
        drop((far, listener));
        let clock: &dyn Clock = &*world.clock;
        let mut byte = [0; 1];
        assert!(
            clock
                .timeout(secs(500), near.read(&mut byte))
                .await
                .is_err()
        );
        world.net.set_now(clock.now());
        assert_eq!(world.recorder.touched("crash-1"), 0);
        near.write_all(b"hello").await.unwrap();
        let start = world.now_ms();
        let restart = async {
            world.sleep(ms(1_000)).await;
            world.net.start(1);
        };
        let (read, ()) = join(near.read(&mut byte), restart).await;
        assert_eq!(failed(read), ErrorKind::ConnectionReset);
        // Lost on arrival and sent again after 200, 400 and 800 ms.
        assert_eq!(world.now_ms() - start, 1_410);
        assert!(world.recorder.touched("crash-1") >= 3);
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(failed(opened), ErrorKind::ConnectionRefused);
    });
    drop(world);
}

#[test]
fn a_stream_to_a_crashed_node_cannot_be_opened_until_it_restarts() {
    let world = World::new();
    world.run(async {
        world.net.crash(1, "crash-1");
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(
            (failed(opened), world.now_ms()),
            (ErrorKind::TimedOut, 20_000)
        );
        assert_eq!(world.recorder.touched("crash-1"), 5);
        assert_eq!(world.net.start(1), 2);
        let _listener = world.listen(1).await;
        assert!(
            world
                .network(0)
                .connect(&Address::tcp("b", 80))
                .await
                .is_ok()
        );
    });
}

#[test]
fn a_process_that_ends_closes_its_streams_and_its_machine_refuses() {
    let world = World::new();
    world.run(async {
        let (mut near, far, mut listener) = world.pair().await;
        let mut unread = world
            .network(0)
            .connect(&Address::tcp("b", 80))
            .await
            .unwrap();
        let kept = listener.accept().await.unwrap();
        unread.write_all(b"hello").await.unwrap();
        world.sleep(ms(10)).await;
        world.net.stop(1);
        drop((far, kept, listener));
        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(
            failed(unread.read(&mut [0; 8]).await),
            ErrorKind::ConnectionReset
        );
        let opened = world.network(0).connect(&Address::tcp("b", 80)).await;
        assert_eq!(failed(opened), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn the_end_of_a_process_in_a_partition_is_heard_after_it_heals() {
    let world = World::new();
    world.run(async {
        let (mut near, far, _listener) = world.pair().await;
        world.net.begin_fault("p", &partition());
        world.net.stop(1);
        drop(far);
        let start = world.now_ms();
        let heal = async {
            world.sleep(ms(700)).await;
            world.net.end_fault("p");
        };
        let mut byte = [0; 1];
        let (read, ()) = join(near.read(&mut byte), heal).await;
        assert_eq!(read.unwrap(), 0);
        assert_eq!(world.now_ms() - start, 1_402);
    });
}

#[test]
fn one_percent_loss_delays_one_percent_of_messages_and_breaks_no_stream() {
    let world = World::new();
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let loss = Fault::Loss {
            between: between(),
            loss: 0.01,
        };
        world.net.begin_fault("l", &loss);
        let send = async {
            for n in 0..5_000_u32 {
                near.write_all(&n.to_be_bytes()).await.unwrap();
                world.sleep(ms(3)).await;
            }
        };
        let mut late = 0;
        let receive = async {
            let start = world.now_ms();
            for n in 0..5_000 {
                assert_eq!(far.read_u32().await.unwrap(), n);
                late += u32::from(world.now_ms() > start + u64::from(n) * 3 + 150);
            }
        };
        join(send, receive).await;
        // Those that wait behind a lost one are late too, by less.
        assert!((400..1_800).contains(&late), "{late}");
    });
    let delayed = world.events();
    let delayed = delayed.iter().filter(|event| {
        matches!(&event.kind, EventKind::Message { outcome, .. }
            if *outcome == MessageOutcome::Delayed)
    });
    let delayed = delayed.count();
    assert!((25..80).contains(&delayed), "{delayed}");
    assert!(world.recorder.touched("l") >= delayed as u64);
}

#[test]
fn a_stream_survives_heavy_loss_with_every_byte_in_place() {
    let mut link = LinkSettings::new(Latency::Uniform {
        min_us: 500,
        max_us: 9_000,
    });
    link.loss = 0.2;
    let world = World::with(NetSettings { link, ..settings() });
    world.run(async {
        let (mut near, mut far, _listener) = world.pair().await;
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
        let send = async {
            near.write_all(&sent).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut all = Vec::new();
        let ((), read) = join(send, far.read_to_end(&mut all)).await;
        read.unwrap();
        assert!(all == sent);
    });
}

#[test]
fn a_full_window_in_a_partition_times_out_too() {
    let world = World::new();
    world.run(async {
        let (mut near, _far, _listener) = world.pair().await;
        let clock: &dyn Clock = &*world.clock;
        let fill = vec![7; 64 * 1024];
        while clock.timeout(secs(1), near.write(&fill)).await.is_ok() {}
        world.net.set_now(clock.now());
        // A reader that is slow for long is asked again and again, and breaks nothing.
        assert!(clock.timeout(secs(1_000), near.write(&fill)).await.is_err());
        world.net.set_now(clock.now());
        world.net.begin_fault("p", &partition());
        assert_eq!(failed(near.write(&fill).await), ErrorKind::TimedOut);
    });
}

#[test]
fn a_stale_name_leads_to_nobody_to_silence_or_to_another_node() {
    let world = World::new();
    world.run(async {
        let mut listener = world.listen(2).await;
        let node = "b".to_owned();
        let stale = |answer| Fault::StaleName {
            node: node.clone(),
            answer,
        };
        let network = world.network(0);
        let to = Address::tcp("b", 80);
        world.net.begin_fault("n", &stale(StaleAnswer::Nothing));
        assert_eq!(failed(network.lookup("b").await), ErrorKind::NotFound);
        world.net.end_fault("n");
        world.net.begin_fault("o", &stale(StaleAnswer::OldAddress));
        assert_ne!(
            network.lookup("b").await.unwrap(),
            network.lookup("10.0.0.2").await.unwrap()
        );
        assert_eq!(failed(network.connect(&to).await), ErrorKind::TimedOut);
        world.net.end_fault("o");
        let other = StaleAnswer::AddressOf("c".to_owned());
        world.net.begin_fault("w", &stale(other));
        let (opened, accepted) = join(network.connect(&to), listener.accept()).await;
        assert!(opened.is_ok() && accepted.is_ok());
        world.net.end_fault("w");
        assert_eq!(
            failed(network.connect(&to).await),
            ErrorKind::ConnectionRefused
        );
        let touched = ["n", "o", "w"].map(|fault| world.recorder.touched(fault));
        assert_eq!(touched, [1, 2, 1]);
    });
}
