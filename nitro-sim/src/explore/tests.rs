//! Sweeps: what is counted as one, what does not depend on how it was run, and what does not merge.

mod tally;

use super::results::{MergeError, Results, ResultsError};
use super::table::{Commands, write};
use super::*;
use crate::check::Reason;
use crate::engine::NAMES;
use crate::system::{Node, System};

const ROUGH: &str = r#"
name = "rough"
system = "rough"
duration_s = 1
[nodes]
node = 2
[network]
latency_ms = 1
[parameters]
what = [0, 3]
[[fault]]
kind = "partition"
groups = [["node-1"], ["node-2"]]
at_s = 0.2
for_s = [0.1, 0.5]
probability = 0.5
[checks]
replayed = false
"#;

/// A system whose nodes do as their seed says: go on, fail in one of two ways, or end the process.
fn rough() -> Vec<System> {
    let node = |node: Node| async move {
        match node.parameter::<u64>("what")? {
            1 => panic!("on purpose at {}", node.name()),
            2 => Err(nitro::error::Error::unavailable("not now")),
            3 => std::process::abort(),
            _ => std::future::pending().await,
        }
    };
    let system = System::new("rough").role("node", node);
    vec![system.invariant("always", |_| Vec::<String>::new())]
}

fn sweep<'s>(scenario: &'s Scenario, systems: &'s Systems, seeds: &str) -> Sweep<'s> {
    Sweep {
        scenario,
        systems,
        engine: NAMES[0],
        seeds: seeds.parse().unwrap(),
        jobs: 2,
        swarm: false,
        stop_at: None,
    }
}

fn scenario(systems: &Systems) -> Scenario {
    Scenario::parse("rough.toml", ROUGH, &systems.catalogue()).unwrap()
}

fn tally(sweep: Sweep<'_>) -> Tally {
    sweep.run(|_| ControlFlow::Continue(()))
}

#[test]
fn failures_of_one_kind_count_once_whatever_the_jobs_and_a_crash_is_one_of_them() {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    let all = sweep(&scenario, &systems, "40");
    let mut new = Vec::new();
    let tally = all.run(|step| {
        new.extend(
            step.new
                .map(|(signature, kind)| (kind.first, signature.to_owned())),
        );
        ControlFlow::Continue(())
    });
    assert_eq!(tally.done.to_string(), "0..40");
    assert_eq!(tally.failures.len(), 3, "{:?}", tally.failures);
    assert_eq!(tally.passed + tally.inconclusive + tally.failed, 40);
    let counted: u64 = tally.failures.values().map(|kind| kind.count).sum();
    assert_eq!(counted, tally.failed);
    // Each kind is told once, at its first seed.
    assert_eq!(new.len(), 3);
    for (first, signature) in new {
        assert_eq!(tally.failures[&signature].first, first);
    }
    let jobs = 1;
    assert_eq!(self::tally(Sweep { jobs, ..all }), tally);
}

#[test]
fn a_sweep_ends_after_so_many_kinds_and_keeps_nothing_that_ran_ahead() {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    let stop_at = Some(2);
    let all = sweep(&scenario, &systems, "1000");
    let one = tally(Sweep {
        stop_at,
        jobs: 1,
        ..all
    });
    let three = tally(Sweep {
        stop_at,
        jobs: 3,
        ..all
    });
    assert_eq!(one.failures.len(), 2);
    assert_eq!(one, three);
}

#[test]
fn a_sweep_that_is_interrupted_keeps_what_has_run() {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    let mut steps = 0;
    let tally = sweep(&scenario, &systems, "1000").run(|step| {
        steps += u64::from(step.tally.done.count() > 0);
        if steps < 5 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    let done = tally.done.count();
    assert!((1..20).contains(&done), "{done}");
    assert_eq!(done, tally.passed + tally.inconclusive + tally.failed);
}

#[test]
fn the_parts_of_a_sweep_merge_into_the_whole_and_none_of_them_twice() {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    let results = |seeds| {
        let sweep = sweep(&scenario, &systems, seeds);
        let mut results = Results::of(&sweep, "rough.toml", ROUGH);
        results.tally = tally(sweep);
        Results::from_text(&results.to_text()).unwrap()
    };
    let (whole, first, second) = (results("20"), results("0..13"), results("13..20"));
    let mut merged = second.clone();
    merged.merge(&first).unwrap();
    assert_eq!(merged, whole);
    let error = merged.merge(&first).unwrap_err();
    assert!(matches!(error, MergeError::Shared(_)));
    assert_eq!(merged, whole);
    let error = merged
        .merge(&Results {
            swarm: true,
            ..second
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "is of another sweep: its swarm is on, the others' off"
    );
}

#[test]
fn results_of_another_sweep_do_not_merge_whatever_it_is_that_differs() {
    let own = results();
    let name = || "another".to_owned();
    let others = [
        (
            "scenario is",
            Results {
                scenario: name(),
                ..own.clone()
            },
        ),
        (
            "scenario file's digest is",
            Results {
                digest: name(),
                ..own.clone()
            },
        ),
        (
            "engine is",
            Results {
                engine: name(),
                ..own.clone()
            },
        ),
        (
            "swarm is",
            Results {
                swarm: !own.swarm,
                ..own.clone()
            },
        ),
    ];
    for (what, other) in others {
        let mut merged = own.clone();
        let error = merged.merge(&other).unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
        assert_eq!(merged, own);
    }
    // Where the file lies is no part of what it says.
    let elsewhere = Results {
        file: name(),
        ..own.clone()
    };
    assert_eq!(own.clone().merge(&elsewhere), Ok(()));
}

#[test]
fn one_seed_in_twenty_is_run_twice() {
    let twice = (0..10_000).filter(|seed| twice(*seed) == Twice::Yes);
    let count = twice.count();
    assert!((400..600).contains(&count), "{count}");
}

#[test]
fn a_seed_draws_which_faults_are_on_only_where_that_is_asked_for() {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    for swarm in [true, false] {
        let sweep = Sweep {
            swarm,
            ..sweep(&scenario, &systems, "9")
        };
        assert_eq!(sweep.plan(3).unwrap().swarm.is_some(), swarm);
    }
}

fn results() -> Results {
    let systems = Systems::made_by(rough);
    let scenario = scenario(&systems);
    let sweep = sweep(&scenario, &systems, "1000");
    Results::of(&sweep, "scenarios/rough.toml", ROUGH)
}

#[test]
fn every_cut_every_edit_and_every_other_file_is_known() {
    let text = results().to_text();
    for end in 20..text.len() - 2 {
        let error = Results::from_text(&text[..end]).unwrap_err();
        assert_eq!(error, ResultsError::Truncated, "{end}");
    }
    let edited = text.replace("\"passed\": 0", "\"passed\": 7");
    assert_eq!(
        Results::from_text(&edited).unwrap_err(),
        ResultsError::Edited
    );
    let newer = text.replace("\"sweep\": 2", "\"sweep\": 3");
    assert_eq!(
        Results::from_text(&newer).unwrap_err(),
        ResultsError::Format(3)
    );
    for other in ["", "{}", "[1]", "format = 1\n", "{\"a\": "] {
        let error = Results::from_text(other).unwrap_err();
        assert_eq!(error, ResultsError::NotResults, "{other}");
    }
}

#[test]
fn the_table_tells_what_failed_how_often_and_how_to_see_it_again() {
    let mut results = results();
    results.swarm = true;
    let kind = |count, first, reasons: &[(&str, &str)]| Kind {
        count,
        first,
        reasons: reasons
            .iter()
            .map(|(check, what)| Reason::new(*check, *what))
            .collect(),
        digest: String::new(),
    };
    let tally = &mut results.tally;
    for seed in 0..900 {
        tally.done.add(seed);
        tally.behaviours.add(seed, &[(seed + 1).ilog2().into()]);
    }
    (tally.passed, tally.failed, tally.inconclusive) = (840, 41, 18);
    (tally.refused, tally.compared, tally.events) = (1, 44, 7_012_555);
    let lost = [
        (
            "no addition is lost",
            "counter-0: versions 815 and 839 both added up to 121",
        ),
        (
            "no addition is lost",
            "counter-1: versions 8 and 9 both added up to 12",
        ),
        (
            "no stale token is accepted",
            "counter-0: version 839 with token 804 after 810, which no holder of the lock may use",
        ),
    ];
    let both = "no addition is lost; no stale token is accepted by any of the counters at all";
    tally.failures.insert(both.to_owned(), kind(37, 14, &lost));
    let died = [("finished", "the run's process ended by signal 6")];
    tally.failures.insert(
        "finished: the run's process ended by signal #".to_owned(),
        kind(4, 2, &died),
    );
    let touched = [(
        "touched",
        "fault-1 touched nothing (partition node-1 | node-2)",
    )];
    tally
        .doubts
        .insert("touched".to_owned(), kind(18, 3, &touched));
    tally.refusals.insert(
        "fault-2 is of any node, and at 9 ms every node is down".to_owned(),
        kind(1, 77, &[]),
    );
    let count = FaultCount {
        planned: 470,
        touched: 452,
    };
    tally.faults.insert("fault-1".to_owned(), count);
    let commands = Commands {
        program: "nitro-sim".to_owned(),
        flags: " --swarm".to_owned(),
    };
    let mut out = Vec::new();
    write(&mut out, &results, &commands, &[]).unwrap();
    let text = String::from_utf8(out).unwrap();
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}");
    insta::assert_snapshot!(text);
}
