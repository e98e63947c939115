//! What node code takes from its surroundings is of the seed, or virtual.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "what third-party code uses is what is tested"
)]

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use tokio::select as choose_any;

use super::*;
use crate::engine::Worker;
use crate::replay::{Verified, verify};
use std::process::Command;

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
    // By another name, because nitro's own code has to be biased.
    choose_any! {
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

/// The traces of runs in processes started by these commands are one trace.
fn assert_one_trace(system: fn() -> Vec<System>, commands: Vec<Command>) {
    let made = system().remove(0);
    let plan = plan(&duo(2, ""), 3, &made);
    let traces: Vec<Trace> = commands
        .into_iter()
        .map(|command| {
            let worker = Worker::start_as(system, command).unwrap();
            worker.run(&plan, &made).trace
        })
        .collect();
    assert!(traces[0].events().len() > 4);
    for other in &traces[1..] {
        assert_eq!(traces[0].first_difference(other), None);
    }
}

#[test]
fn directory_time_zone_and_host_name_make_no_difference() {
    let mut commands = Vec::new();
    for (directory, zone, host) in [("/", "UTC", "a"), ("/tmp", "Asia/Kolkata", "b")] {
        let mut command = Command::new("/proc/self/exe");
        command.current_dir(directory);
        command.env("TZ", zone).env("HOSTNAME", host);
        commands.push(command);
    }
    assert_one_trace(|| vec![curious()], commands);
}

/// What `verify` says of runs of this system.
fn verified(systems: fn() -> Vec<System>) -> Verified {
    let made = systems().remove(0);
    let systems = Systems::made_by(systems);
    let plan = plan(&duo(1, ""), 1, &made);
    let anew = || Ok(crate::engine::anew("event", &systems).unwrap().unwrap());
    verify(&plan, &systems, 10, anew).unwrap()
}

#[test]
fn verify_finds_an_address_in_a_log() {
    let leaky = || {
        vec![lone(|node| {
            Box::pin(async move {
                node.note("before", 1);
                node.host().clock.sleep(ms(20)).await;
                let here = Box::new(1u8);
                tracing::info!("allocated {:p}", &raw const *here);
                Ok(())
            })
        })]
    };
    let verified = verified(leaky);
    let said = verified.to_string();
    let (run, difference) = verified.parted.expect("an address differs");
    assert!(run >= 2);
    let event = difference.left.unwrap();
    assert_eq!(event.node.as_deref(), Some("server-1"));
    assert_eq!(event.at_us, 20_000);
    assert!(matches!(event.kind, EventKind::Log { .. }));
    assert!(said.contains("first on server-1 at 0.020000 s"), "{said}");
    assert_eq!(said.matches("allocated 0x").count(), 2, "{said}");
}

#[test]
fn verify_finds_the_time_of_a_real_file() {
    let leaky = || {
        vec![lone(|node| {
            Box::pin(async move {
                let file = tempfile::NamedTempFile::new()?;
                let made = file.as_file().metadata()?.modified()?;
                let since = made.duration_since(SystemTime::UNIX_EPOCH);
                node.note("made", since.unwrap().as_nanos() as u64);
                Ok(())
            })
        })]
    };
    let (_, difference) = verified(leaky).parted.expect("a file's time differs");
    assert!(matches!(
        difference.left.unwrap().kind,
        EventKind::Note { .. }
    ));
}

#[test]
fn verify_finds_nothing_where_all_is_of_the_seed() {
    let verified = verified(|| vec![curious()]);
    assert_eq!(verified.parted, None);
    assert!(verified.to_string().contains("10 runs, one trace"));
}
