//! The engine as a role sees it; streams and datagrams behave as they do on turmoil.

#[expect(clippy::duplicate_mod, reason = "one set of tests for two engines")]
#[path = "../turmoil/tests/datagrams.rs"]
mod datagrams;
#[expect(clippy::duplicate_mod, reason = "one set of tests for two engines")]
#[path = "../turmoil/tests/streams.rs"]
mod streams;

use std::time::Duration;

use super::Madsim;
use crate::builtin::echo;
use crate::engine::turmoil::tests::lone;
use crate::engine::turmoil::tests::{CRASH, duo, echoes, ms, noted, plan};
use crate::engine::{Ended, Engine, NAMES, Outcome, accepts};
use crate::system::{Node, System};
use crate::trace::EventKind;

fn outcome(text: &str, system: &System) -> Outcome {
    Madsim.run(&plan(text, 1, system), system)
}

#[test]
fn the_engine_is_the_default_of_a_program_that_is_built_for_it() {
    assert_eq!(NAMES[0], "madsim");
    assert_eq!(
        outcome(&echoes(20, 2), &echo::system())
            .trace
            .header()
            .engine,
        "madsim"
    );
}

#[test]
fn one_seed_gives_one_digest_in_ten_runs_and_other_seeds_others() {
    let system = echo::system();
    let run = |seed| Madsim.run(&plan(&echoes(20, 2), seed, &system), &system);
    let digest = |seed| run(seed).trace.digest();
    assert_eq!(run(7).ended, Ended::Finished);
    let first = digest(7);
    assert!((0..9).all(|_| digest(7) == first));
    let mut others: Vec<String> = (100..120).map(digest).collect();
    others.push(first);
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 21);
}

/// The order in which four tasks that are ready at once come to run.
fn order(seed: u64) -> Vec<u64> {
    let system = lone(|node: Node| {
        Box::pin(async move {
            for number in 0..4_u64 {
                let own = node.clone();
                let task = async move {
                    own.host().clock.sleep(Duration::from_millis(5)).await;
                    own.note("ran", number);
                };
                drop(node.host().tasks.spawn("one", Box::pin(task)));
            }
            std::future::pending().await
        })
    });
    // Whether a task yields is not what is looked at here.
    let text = format!("{}[schedule]\nyields = \"off\"\n", duo(1, ""));
    let trace = Madsim.run(&plan(&text, seed, &system), &system).trace;
    let ran = noted(&trace, "ran").into_iter();
    ran.filter_map(|(_, number)| number.as_u64()).collect()
}

#[test]
fn the_seed_draws_which_task_runs_next() {
    assert_eq!(order(1), order(1));
    let mut orders: Vec<Vec<u64>> = (0..12).map(order).collect();
    assert!(orders.iter().all(|order| order.len() == 4));
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 4, "{orders:?}");
}

#[test]
fn the_order_of_a_hash_map_is_the_seeds() {
    let system = lone(|node: Node| {
        Box::pin(async move {
            #[expect(clippy::disallowed_types, reason = "its order is what is looked at")]
            let map: std::collections::HashMap<u64, ()> = (0..20).map(|key| (key, ())).collect();
            node.note("keys", map.into_keys().collect::<Vec<u64>>());
            std::future::pending().await
        })
    });
    let keys = |seed| {
        let trace = Madsim.run(&plan(&duo(1, ""), seed, &system), &system).trace;
        noted(&trace, "keys")
    };
    assert_eq!(keys(1).len(), 1);
    assert_eq!(keys(1), keys(1));
    assert_ne!(keys(1), keys(2));
}

#[test]
fn a_task_that_panics_ends_alone() {
    let system = lone(|node: Node| {
        Box::pin(async move {
            let failing = async { panic!("with a reason") };
            let task = node.host().tasks.spawn("fails", Box::pin(failing));
            node.note("failed", format!("{:?}", task.join().await));
            std::future::pending().await
        })
    });
    let outcome = outcome(&duo(1, ""), &system);
    assert_eq!(outcome.ended, Ended::Finished);
    let failed = noted(&outcome.trace, "failed");
    assert!(
        failed[0].1.to_string().contains("with a reason"),
        "{failed:?}"
    );
    let panics = outcome.trace.events().iter();
    let panics = panics.filter(|e| matches!(e.kind, EventKind::TaskPanicked { .. }));
    assert_eq!(panics.count(), 1);
}

#[test]
fn a_loop_that_waits_for_nothing_ends_the_run_by_node() {
    let system = lone(|_| {
        Box::pin(std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }))
    });
    let ended = outcome(&duo(60, ""), &system).ended;
    let is_told = |ended: &Ended| matches!(ended, Ended::Spun { node, .. } if node == "server-1");
    assert!(is_told(&ended), "{ended}");
}

#[test]
fn a_node_that_stands_still_does_nothing_and_goes_on() {
    let system = lone(|node: Node| {
        Box::pin(async move {
            loop {
                node.host().clock.sleep(Duration::from_millis(100)).await;
                node.note("tick", true);
            }
        })
    });
    let pause = "[[fault]]\nkind = \"pause\"\nnode = \"server-1\"\nat_s = 1\nfor_s = 2\n";
    let trace = outcome(&duo(4, pause), &system).trace;
    let ticks = noted(&trace, "tick");
    let during = |at: u64| at > 1_001 && at < 3_000;
    assert!(!ticks.iter().any(|(at, _)| during(*at)), "{ticks:?}");
    assert!(ticks.len() >= 16, "{ticks:?}");
    assert!(
        trace
            .touches()
            .any(|(fault, count)| fault == "fault-1" && count > 0)
    );
}

#[test]
fn what_madsim_cannot_do_is_refused_by_name_before_the_run() {
    let of = |fault: &str| {
        let text = format!("[[fault]]\nnode = \"server-1\"\nat_s = 1\n{fault}\n");
        let system = lone(|_| Box::pin(std::future::pending()));
        accepts(&Madsim, &plan(&duo(4, &text), 1, &system)).unwrap_err()
    };
    for (fault, expected) in [
        ("kind = \"slow\"\nfactor = 3\nfor_s = 1", "slow a node down"),
        (
            "kind = \"clock_jump\"\nby_ms = 5",
            "one clock for all nodes",
        ),
        (
            "kind = \"stale_name\"\nanswer = \"nothing\"\nfor_s = 1",
            "no name that is stale",
        ),
    ] {
        let told = of(fault).to_string();
        assert!(
            told.contains("the engine madsim refuses the plan"),
            "{told}"
        );
        assert!(told.contains(expected), "{told}");
    }
}
