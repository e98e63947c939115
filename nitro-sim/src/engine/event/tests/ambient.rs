//! What node code takes from its surroundings is of the seed, or virtual.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what third-party code uses is what is tested"
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use super::super::Worker;
use super::*;

/// A server that notes all that could differ between two runs.
fn curious() -> System {
    lone(|node| {
        Box::pin(async move {
            let map: HashMap<u32, ()> = (0..20).map(|key| (key, ())).collect();
            node.note("map", map.into_keys().collect::<Vec<_>>());
            node.note("hash", RandomState::new().hash_one("word"));
            node.note("rand", rand::random::<u64>());
            node.note("fastrand", fastrand::u64(..));
            let mut bytes = [0u8; 16];
            getrandom::fill(&mut bytes).unwrap();
            node.note("getrandom", bytes.to_vec());
            let mut chosen = Vec::new();
            for _ in 0..30 {
                chosen.push(choose().await);
            }
            node.note("select", chosen);
            let before = (std::time::Instant::now(), SystemTime::now());
            tokio::time::sleep(ms(1500)).await;
            let passed = before.0.elapsed().as_nanos() as u64;
            node.note("instant", passed);
            let wall = before.1.elapsed().unwrap().as_nanos() as u64;
            node.note("system", wall);
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            node.note("unix", since.unwrap().as_millis() as u64);
            Ok(())
        })
    })
}

async fn choose() -> u32 {
    tokio::select! {
        () = std::future::ready(()) => 1,
        () = std::future::ready(()) => 2,
        () = std::future::ready(()) => 3,
    }
}

#[test]
fn maps_random_numbers_select_and_clocks_are_of_the_seed() {
    let system = curious();
    let text = duo(2, "");
    let run = |seed| {
        let worker = Worker::start(|| vec![curious()]).unwrap();
        worker.run(&plan(&text, seed, &system), &system)
    };
    let first = run(1);
    assert_eq!(first.ended, Ended::Finished);
    for _ in 1..10 {
        assert_eq!(first.trace.first_difference(&run(1).trace), None);
    }
    let other = run(2).trace;
    for name in ["map", "hash", "rand", "fastrand", "getrandom", "select"] {
        assert_ne!(noted(&first.trace, name), noted(&other, name), "{name}");
    }
    for name in ["instant", "system"] {
        assert_eq!(noted(&first.trace, name)[0].1, 1_500_000_000u64, "{name}");
    }
    assert_eq!(noted(&first.trace, "unix")[0].1, 1_767_225_601_500u64);
}

#[test]
fn two_nodes_of_a_run_draw_different_numbers() {
    let role = |node: Node| async move {
        node.note("rand", rand::random::<u64>());
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).unwrap();
        node.note("getrandom", bytes.to_vec());
        std::future::pending().await
    };
    let system = System::new("test")
        .role("server", role)
        .role("client", role);
    let trace = trace(&duo(1, ""), &system);
    let bytes = noted(&trace, "getrandom");
    assert_ne!(bytes[0].1, bytes[1].1);
}
