//! Runs in short say what whole runs do, and a pool outlives whatever a run does.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::*;
use crate::builtin;
use crate::check::Signature;
use crate::engine;
use crate::engine::by_name;
use crate::plan::Buggify;
use crate::scenario::Scenario;
use crate::system::Node;
use crate::trace::EventKind;

const ROUGH: &str = r#"
name = "rough"
system = "rough"
duration_s = 1
[nodes]
node = 1
[checks]
replayed = false
"#;

/// A system whose node does as its seed says: goes on, panics, or ends its process.
fn rough() -> System {
    let node = |node: Node| async move {
        match node.parameter::<u64>("what")? {
            1 => panic!("on purpose"),
            2 => std::process::abort(),
            _ => std::future::pending().await,
        }
    };
    let system = System::new("rough").role("node", node);
    system.invariant("always", |_| Vec::<String>::new())
}

fn plan(systems: &Systems, text: &str, seed: u64) -> Plan {
    let scenario = Scenario::parse("test.toml", text, &systems.catalogue());
    Plan::new(&scenario.unwrap_or_else(|error| panic!("{error}")), seed).unwrap()
}

fn rough_plan(systems: &Systems, what: u64) -> Plan {
    let text = format!("{ROUGH}[parameters]\nwhat = {what}\n");
    plan(systems, &text, what)
}

#[test]
fn a_run_in_short_says_what_a_whole_one_does_on_each_engine() {
    let systems = Systems::made_by(builtin::systems);
    let text = include_str!("../../../scenarios/echo_partition.toml");
    let plan = plan(&systems, text, 7);
    for name in engine::NAMES {
        let engine = by_name(name).unwrap();
        let whole = run(&plan, &systems, &*engine).unwrap();
        let pool = Pool::new(&systems, name, 1);
        let short = pool.one(plan.clone(), Twice::Yes).unwrap();
        assert_eq!(short.verdict, whole.verdict);
        assert_eq!(short.events, whole.outcome.trace.events().len());
        assert_eq!(short.touches.len(), plan.fault_ids().len());
        assert!(short.is_compared);
        let again = pool.one(plan.clone(), Twice::No).unwrap();
        assert!(!again.is_compared);
        assert_eq!(again.digest, short.digest, "{name}");
    }
}

/// A system that says of itself what holds, and now and then goes another way.
fn candid() -> System {
    let node = |node: Node| async move {
        let what = node.parameter::<u64>("what")?;
        nitro::always!(what < 3, "what is small", "it is {what}");
        nitro::sometimes!(what == 2, "what is two");
        if what == 4 {
            nitro::unreachable!("what is four");
        }
        nitro::reachable!("a node has looked");
        let host = node.host();
        for _ in 0..900 {
            host.clock.sleep(Duration::from_millis(1)).await;
            if nitro::buggify!(host.entropy, "a step is noted") {
                node.note("tricked", serde_json::json!(true));
            }
        }
        std::future::pending().await
    };
    let system = System::new("rough").role("node", node);
    system.invariant("any", |_| Vec::<String>::new())
}

#[test]
fn what_a_service_says_of_itself_is_heard_on_each_engine() {
    let systems = Systems::made_by(|| vec![candid()]);
    for name in engine::NAMES {
        let summary = |what| {
            let pool = Pool::new(&systems, name, 1);
            pool.one(rough_plan(&systems, what), Twice::No).unwrap()
        };
        let two = summary(2);
        assert_eq!(two.verdict, Verdict::Pass);
        let met = two.points.iter();
        let met: Vec<(&str, bool)> = met.map(|met| (met.name.as_str(), met.holds)).collect();
        let held = [
            ("what is small", true),
            ("what is two", true),
            ("a node has looked", true),
        ];
        assert_eq!(met, held, "{name}");
        let four = summary(4);
        assert_eq!(
            four.signature().as_ref().map(Signature::as_str),
            Some("always: what is small; unreachable: what is four"),
            "{name}"
        );
        let first = four.verdict.reasons()[0].what.clone();
        let (when, what) = first.split_once(" s, in ").unwrap();
        assert!(when.starts_with("node-1 at 0.00"), "{first}");
        assert_eq!(what, "nitro_sim::run::tests: it is 4", "{first}");
        assert!(
            four.points
                .iter()
                .any(|met| met.name == "what is two" && !met.holds)
        );
    }
}

#[test]
fn tricks_are_played_where_the_plan_says_so_and_the_trace_has_each() {
    let systems = Systems::made_by(|| vec![candid()]);
    let site = "nitro_sim::run::tests: a step is noted";
    let plan = |until_ms, sites: &[&str]| Plan {
        buggify: Some(Buggify {
            until_ms,
            sites: sites.iter().map(|site| (*site).to_owned()).collect(),
        }),
        ..rough_plan(&systems, 0)
    };
    for name in engine::NAMES {
        let engine = by_name(name).unwrap();
        let played = |plan: &Plan| {
            let run = run(plan, &systems, &*engine).unwrap();
            let trace = run.outcome.trace;
            let tricks = trace.events().iter();
            let tricks = tricks.filter(|event| matches!(event.kind, EventKind::Trick { .. }));
            let last = tricks.clone().map(|event| event.at_us).max();
            assert_eq!(tricks.count(), trace.notes("tricked").count());
            (trace.notes("tricked").count(), last, trace.digest())
        };
        let (count, last, digest) = played(&plan(400, &[site]));
        assert!((60..140).contains(&count), "{name}: {count}");
        assert!(last < Some(400_000), "{name}: {last:?}");
        assert_eq!(played(&plan(400, &[site])).2, digest);
        assert_eq!(played(&plan(400, &[])).0, 0);
        assert_eq!(played(&rough_plan(&systems, 0)).0, 0);
        let unknown = run(&plan(400, &[site, "gone"]), &systems, &*engine).unwrap_err();
        assert_eq!(unknown, RunError::UnknownTrick("gone".to_owned()));
    }
}

#[test]
fn what_ends_a_process_is_a_result_and_the_others_go_on() {
    let systems = Systems::made_by(|| vec![rough()]);
    let pool = Pool::new(&systems, "event", 2);
    let mut heard = BTreeMap::new();
    pool.run(
        0..9,
        |what| Ok((rough_plan(&systems, what % 3), Twice::No)),
        |said| {
            if let Heard::Run(item, judged) = said {
                heard.insert(item, judged.unwrap());
            }
            ControlFlow::Continue(())
        },
    );
    assert_eq!(heard.len(), 9);
    for (item, summary) in heard {
        let signature = summary.signature();
        let signature = signature.as_ref().map(Signature::as_str);
        match item % 3 {
            1 => assert_eq!(
                signature,
                Some("node stopped: node-# at # s: panicked: on purpose")
            ),
            2 => assert!(matches!(summary.ended, Ended::Died { .. }), "{summary:?}"),
            _ => assert_eq!(summary.verdict, Verdict::Pass),
        }
    }
}

#[test]
fn a_pool_that_is_stopped_starts_nothing_more_and_can_go_on_later() {
    let systems = Systems::made_by(|| vec![rough()]);
    let pool = Pool::new(&systems, "event", 2);
    let mut count = 0;
    let plan_of = |what: &u64| Ok((rough_plan(&systems, what % 2), Twice::No));
    pool.run(0..1000, plan_of, |said| {
        count += usize::from(matches!(said, Heard::Run(..)));
        if count < 3 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert_eq!(count, 3);
    let later = pool.one(rough_plan(&systems, 0), Twice::No).unwrap();
    assert_eq!(later.verdict, Verdict::Pass);
}

#[test]
fn what_cannot_be_run_is_told_from_what_fails() {
    let systems = Systems::made_by(|| vec![rough()]);
    let mut plan = rough_plan(&systems, 0);
    plan.system = "another".to_owned();
    let refused = Pool::new(&systems, "event", 1).one(plan, Twice::No);
    assert!(refused.unwrap_err().contains("is not registered"));
}
