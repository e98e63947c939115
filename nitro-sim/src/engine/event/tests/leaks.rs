//! What goes on of a node after its role has returned is told, and fails the run.

use super::*;
use crate::check::{Signature, judge};

/// A server that starts a task, and stops when it is asked to.
fn beating(is_ended: bool) -> System {
    lone(move |node| {
        Box::pin(async move {
            let clock = node.host().clock.clone();
            let beat = async move {
                loop {
                    clock.sleep(ms(100)).await;
                }
            };
            let task = node.host().tasks.spawn("beat", Box::pin(beat));
            node.stop_requested().await;
            if is_ended {
                task.abort();
            }
            Ok(())
        })
    })
}

fn leaked(trace: &Trace) -> Vec<(String, u64)> {
    let events = trace.events().iter();
    let leaked = events.filter_map(|event| match &event.kind {
        EventKind::Leaked { task, count } => Some((task.clone(), *count)),
        _ => None,
    });
    leaked.collect()
}

#[test]
fn a_task_that_outlives_its_role_is_a_leak_and_one_that_is_ended_is_none() {
    let text = duo(3, "");
    let system = beating(false);
    let outcome = outcome(&text, &system);
    assert_eq!(leaked(&outcome.trace), [("beat".to_owned(), 1)]);
    let plan = plan(&text, 1, &system);
    let verdict = judge(&plan, &system, &outcome.trace, &outcome.ended, None);
    let signature = Signature::of(&verdict);
    assert_eq!(
        signature.as_ref().map(Signature::as_str),
        Some("leaked: server-# has stopped, and # of its tasks \"beat\" go on")
    );
    assert_eq!(leaked(&trace(&text, &beating(true))), []);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what a dependency spawns is what is tested"
)]
fn a_task_of_a_dependency_is_a_leak_too() {
    let system = lone(|node| {
        Box::pin(async move {
            drop(tokio::spawn(std::future::pending::<()>()));
            node.stop_requested().await;
            Ok(())
        })
    });
    let leaked = leaked(&trace(&duo(3, ""), &system));
    assert_eq!(leaked, [("(not of nitro)".to_owned(), 1)]);
}

/// As whatever only waits to be killed, or is paused or down at the end.
#[test]
fn a_role_that_does_not_stop_has_leaked_nothing_and_the_end_is_no_part_of_the_trace() {
    let system = lone(|node| {
        Box::pin(async move {
            let beat = std::future::pending();
            drop(node.host().tasks.spawn("beat", Box::pin(beat)));
            std::future::pending().await
        })
    });
    let trace = trace(&duo(3, ""), &system);
    assert_eq!(leaked(&trace), []);
    let stopped = trace.events().iter();
    let stopped = stopped.filter(|event| matches!(event.kind, EventKind::NodeStopped { .. }));
    assert_eq!(stopped.count(), 0);
    let paused = "[[fault]]\nkind = \"pause\"\nnode = \"server-1\"\nat_s = 2\n";
    let trace = super::trace(&duo(3, paused), &beating(false));
    assert_eq!(leaked(&trace), []);
}
