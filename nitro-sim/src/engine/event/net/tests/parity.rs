//! The same socket programs over this machine's loopback and over the model see the same: bytes,
//! ends and kinds of errors. What they see is recorded in a snapshot, which is the parity table.
//! The model is like Linux, and this engine is built for nothing else.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use nitro::host::tokio::host;

use super::driver::World;
use super::programs::{PROGRAMS, Place, Program};

/// How often a program runs over loopback until it sees what the model shows.
const LOOPBACK_ATTEMPTS: usize = 5;

/// What a program sees of this machine's loopback.
fn on_loopback(program: Program) -> Vec<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let host = host();
        let mut place = Place {
            server: Arc::clone(&host.network),
            client: host.network,
            clock: host.clock,
            name: "127.0.0.1".to_owned(),
            seen: Vec::new(),
        };
        program(&mut place).await;
        place.seen
    })
}

/// What it sees of the model, between two nodes.
fn on_the_model(program: Program) -> Vec<String> {
    let world = World::new();
    world.run(async {
        let mut place = Place {
            server: world.network(1),
            client: world.network(0),
            clock: Arc::clone(&world.clock) as _,
            name: "10.0.0.2".to_owned(),
            seen: Vec::new(),
        };
        program(&mut place).await;
        place.seen
    })
}

#[test]
fn programs_see_the_same_over_loopback_and_over_the_model() {
    let mut table = String::new();
    let mut differences = String::new();
    for (name, program) in PROGRAMS {
        let model = on_the_model(*program);
        // A loaded machine may be late for what the programs take to have happened by now.
        let attempts = (0..LOOPBACK_ATTEMPTS).map(|_| on_loopback(*program));
        let mut seen: Vec<Vec<String>> = Vec::new();
        for real in attempts {
            let is_same = real == model;
            seen.push(real);
            if is_same {
                break;
            }
        }
        let real = seen.pop().unwrap_or_default();
        writeln!(table, "{name}: {}", real.join("; ")).unwrap();
        if real != model {
            let (real, model) = (real.join("; "), model.join("; "));
            writeln!(
                differences,
                "{name}\n  loopback: {real}\n  model:    {model}"
            )
            .unwrap();
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
    insta::assert_snapshot!(table);
}

#[test]
fn a_minute_of_the_model_takes_no_time_of_this_machine() {
    let wall = host().clock;
    let before = wall.now();
    let world = World::new();
    world.run(world.sleep(Duration::from_secs(60)));
    assert!(wall.now().since(before) < Duration::from_secs(1));
}
