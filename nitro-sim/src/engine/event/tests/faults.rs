//! What is done to nodes: crashes, pauses, slowness, and clocks that are wrong.

use std::sync::Arc;

use super::*;

/// A server that notes every 100 ms, by its own clock.
fn ticking() -> System {
    lone(|node| {
        Box::pin(async move {
            let clock = &node.host().clock;
            for tick in 0u64.. {
                clock.sleep(ms(100)).await;
                node.note("tick", tick);
                node.note("wall_ms", clock.wall().as_unix_nanos() / 1_000_000);
            }
            Ok(())
        })
    })
}

fn fault(kind: &str, added: &str) -> String {
    duo(
        4,
        &format!("[[fault]]\nkind = \"{kind}\"\nnode = \"server-1\"\nat_s = 1\n{added}"),
    )
}

/// When ticks came, in milliseconds.
fn ticks(trace: &Trace) -> Vec<u64> {
    noted(trace, "tick").iter().map(|(at, _)| *at).collect()
}

fn touches(trace: &Trace) -> u64 {
    trace.touches().map(|(_, count)| count).sum()
}

#[test]
fn a_crashed_node_does_nothing_and_a_restarted_one_begins_anew() {
    let trace = trace(&fault("crash", "restart_after_s = 1"), &ticking());
    let ticks = ticks(&trace);
    assert!(
        ticks.iter().all(|at| *at <= 1000 || *at >= 2100),
        "{ticks:?}"
    );
    let counts = noted(&trace, "tick");
    let again = counts.iter().find(|(at, _)| *at == 2100).unwrap();
    assert_eq!(again.1, 0);
    let starts = trace.events().iter().filter_map(|event| match event.kind {
        EventKind::NodeStarted { incarnation } => Some((event.at_us, incarnation)),
        _ => None,
    });
    assert_eq!(starts.collect::<Vec<_>>(), [(0, 1), (0, 1), (2_000_000, 2)]);
}

#[test]
fn what_a_crashed_nodes_tasks_do_while_they_are_dropped_has_no_effect() {
    struct Last(Node);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.note("dropped", 1);
            tracing::info!("dropped");
        }
    }
    let system = lone(|node| {
        Box::pin(async move {
            let _last = Last(node);
            std::future::pending().await
        })
    });
    let trace = trace(&fault("crash", ""), &system);
    assert!(noted(&trace, "dropped").is_empty());
    let logs = |kind: &EventKind| matches!(kind, EventKind::Log { .. });
    assert!(!trace.events().iter().any(|event| logs(&event.kind)));
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "that third-party code may use it is what is tested"
)]
fn a_task_of_tokios_may_spawn_while_a_crash_drops_it() {
    struct Last(Node, std::path::PathBuf);
    impl Drop for Last {
        fn drop(&mut self) {
            let never = Box::pin(async { panic!("its node is gone") });
            drop(self.0.host().tasks.spawn("never", never));
            std::fs::write(&self.1, "dropped").unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dropped");
    let into = path.clone();
    let system = lone(move |node| {
        let last = Last(node, into.clone());
        Box::pin(async move {
            drop(tokio::spawn(async move {
                let _last = last;
                std::future::pending::<()>().await
            }));
            std::future::pending().await
        })
    });
    trace(&fault("crash", ""), &system);
    assert!(path.exists(), "its destructor came to its end");
}

#[test]
fn a_paused_node_stands_still_and_goes_on_with_what_was_due() {
    let trace = trace(&fault("pause", "for_s = 1"), &ticking());
    let ticks = ticks(&trace);
    let before: Vec<u64> = (1..=10).map(|tick| tick * 100).collect();
    let paused: Vec<&u64> = ticks
        .iter()
        .filter(|at| (1001..2000).contains(*at))
        .collect();
    assert_eq!(&ticks[..9], &before[..9]);
    assert!(paused.is_empty(), "{paused:?}");
    assert!(ticks.contains(&2000), "{ticks:?}");
    assert!(touches(&trace) > 0);
}

/// A server whose connection is a task of tokio's, and a client that asks it once, while it is
/// paused.
#[expect(
    clippy::disallowed_methods,
    reason = "that third-party code may use it is what is tested"
)]
fn asked_once() -> System {
    use nitro::address::Address;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    System::new("test")
        .role("server", |node: Node| async move {
            let any = Address::tcp("0.0.0.0", 80);
            let mut listener = node.host().network.listen(&any).await?;
            let (mut stream, _) = listener.accept().await?;
            let noting = node.clone();
            drop(tokio::spawn(async move {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.unwrap();
                noting.note("tick", byte[0]);
            }));
            std::future::pending().await
        })
        .role("client", |node: Node| async move {
            let server = Address::tcp("server-1", 80);
            let mut stream = node.host().network.connect(&server).await?;
            node.host().clock.sleep(ms(1_500)).await;
            stream.write_all(&[1]).await?;
            std::future::pending().await
        })
}

#[test]
fn a_task_of_tokios_that_is_woken_while_its_node_is_paused_runs_when_it_goes_on() {
    let trace = trace(&fault("pause", "for_s = 1"), &asked_once());
    assert_eq!(ticks(&trace), [2000]);
}

#[test]
fn a_pause_ends_by_a_resume() {
    let resume = "[[fault]]\nkind = \"resume\"\nnode = \"server-1\"\nat_s = 3\n";
    let trace = trace(&fault("pause", resume), &ticking());
    let ticks = ticks(&trace);
    assert!(
        !ticks.iter().any(|at| (1001..3000).contains(at)),
        "{ticks:?}"
    );
    assert!(ticks.iter().any(|at| *at >= 3000));
}

#[test]
fn a_slow_node_is_late_by_the_cost_of_its_turns() {
    let trace = trace(&fault("slow", "factor = 50\nfor_s = 1"), &ticking());
    let late = ticks(&trace)
        .into_iter()
        .filter(|at| !at.is_multiple_of(100));
    let late: Vec<u64> = late.collect();
    assert!(late.iter().any(|at| (1001..2010).contains(at)), "{late:?}");
    assert!(touches(&trace) > 0);
}

#[test]
fn a_wall_clock_that_jumps_leaves_the_monotonic_one_alone() {
    let trace = trace(&fault("clock_jump", "by_ms = -5000"), &ticking());
    let walls: Vec<i64> = noted(&trace, "wall_ms")
        .iter()
        .map(|(_, wall)| wall.as_i64().unwrap())
        .collect();
    let jumps: Vec<i64> = walls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(jumps.iter().filter(|jump| **jump == 100 - 5000).count(), 1);
    assert!(ticks(&trace).iter().all(|at| at.is_multiple_of(100)));
    assert!(touches(&trace) > 0);
}

#[test]
fn a_clock_that_is_off_is_right_again_afterwards() {
    let trace = trace(
        &fault("clock_offset", "by_ms = 70000\nfor_s = 1"),
        &ticking(),
    );
    let off: Vec<u64> = noted(&trace, "wall_ms")
        .iter()
        .filter(|(at, wall)| wall.as_u64().unwrap() > 1_767_225_600_000 + 60_000 + at)
        .map(|(at, _)| *at)
        .collect();
    assert!(off.iter().all(|at| (1000..=2000).contains(at)), "{off:?}");
    assert!(off.len() >= 9);
}

#[test]
fn a_drifting_clock_makes_timers_early_or_late() {
    let trace = trace(
        &fault("clock_drift", "parts_per_million = -100000"),
        &ticking(),
    );
    let ticks = ticks(&trace);
    // From 1 s on, 100 ms of the node take 111 ms.
    let later: Vec<u64> = ticks.iter().copied().filter(|at| *at > 1200).collect();
    let gaps: Vec<u64> = later.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| (110..=113).contains(gap)), "{gaps:?}");
    assert!(touches(&trace) > 0);
}

#[test]
fn a_node_asked_to_stop_ends_in_its_own_order() {
    let system = lone(|node| {
        Box::pin(async move {
            node.stop_requested().await;
            node.host().clock.sleep(ms(300)).await;
            node.note("bye", 1);
            Ok(())
        })
    });
    let trace = trace(&fault("stop", ""), &system);
    assert_eq!(noted(&trace, "bye"), [(1300, Value::from(1))]);
    let stopped = EventKind::NodeStopped { error: None };
    assert!(trace.events().iter().any(|event| event.kind == stopped));
    assert_eq!(touches(&trace), 1);
}

#[test]
fn a_disk_called_without_a_thread_to_block_stops_its_node_for_as_long_as_it_takes() {
    let system = lone(|node| {
        Box::pin(async move {
            let (ticker, clock) = (node.clone(), Arc::clone(&node.host().clock));
            let ticking = async move {
                for tick in 1u64.. {
                    ticker
                        .host()
                        .clock
                        .sleep_until(Instant::ORIGIN + ms(tick))
                        .await;
                    ticker.note("tick", tick);
                }
            };
            drop(node.host().tasks.spawn("tick", Box::pin(ticking)));
            let disk = &node.host().disk;
            let file = disk.open("log".as_ref(), nitro::host::disk::Open::New)?;
            clock.sleep_until(Instant::ORIGIN + ms(10)).await;
            for _ in 0..10 {
                file.sync()?;
            }
            std::future::pending().await
        })
    });
    let late = |added: &str| {
        let trace = trace(&duo(1, added), &system);
        let ticks = ticks(&trace);
        let after = ticks.iter().find(|at| **at > 10).copied();
        assert!(ticks.contains(&10), "{ticks:?}");
        after.unwrap()
    };
    // Ten syncs of half a millisecond each.
    assert_eq!(late(""), 15);
    let slow = "[[fault]]\nkind = \"disk_slow\"\nnode = \"server-1\"\nat_s = 0.001\nfactor = 10\n";
    assert_eq!(late(slow), 60);
}
