//! A sweep goes on whatever a run does: one that hangs, one that is killed, one that panics.

use std::time::Duration;

use super::*;
use crate::explore::results::Results;
use crate::system::{Node, System};

const ROUGH: &str = r#"
name = "rough"
system = "rough"
duration_s = 1
[nodes]
node = 1
[checks]
replayed = false
"#;

/// A system whose node does as its seed says: goes on, hangs, is killed, or panics.
fn rough() -> Vec<System> {
    let node = |node: Node| async move {
        match node.host().entropy.next_u64() % 4 {
            0 => loop {
                std::hint::spin_loop();
            },
            1 => std::process::abort(),
            2 => panic!("on purpose"),
            _ => std::future::pending().await,
        }
    };
    let system = System::new("rough").role("node", node);
    let system = system.invariant("always", |_| Vec::<String>::new());
    vec![system.turn_wall_max(Duration::from_secs(1))]
}

#[test]
fn a_run_that_hangs_or_is_killed_is_a_finding_and_the_sweep_goes_on() {
    let mut desk = Desk::new(ROUGH);
    desk.systems = rough;
    let said = desk.say("explore @s.toml --seeds 10 --jobs 2 --json @r.json");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let text = std::fs::read_to_string(desk.path("r.json")).unwrap();
    let tally = Results::from_text(&text).unwrap().tally;
    assert_eq!(tally.passed + tally.failed, 10, "{}", said.out);
    for what in [
        "finished: node-# does not come back from its turn",
        "finished: the run's process ended by signal",
        "node stopped: node-# at # s: panicked: on purpose",
    ] {
        let kind = tally.failures.keys().find(|kind| kind.starts_with(what));
        assert!(kind.is_some(), "{what}: {:?}", tally.failures.keys());
    }
    assert!(tally.passed > 0);
}
