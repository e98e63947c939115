//! Each step of shrinking does its part, and stops where it would go too far.

use super::*;
use crate::plan::{Expected, Recorded, Swarm};
use crate::scenario::Yields;
use crate::shrink::passes::times;

/// Whether a plan has one of the things that a step is rid of.
type Has = fn(&Plan) -> bool;

/// Whether a fault of a kind sets in and ends.
fn ends(plan: &Plan, kind: &str) -> bool {
    let is_end = |planned: &PlannedFault| planned.phase == Phase::End;
    let mut faults = plan.faults.iter();
    faults.any(|planned| is_end(planned) && planned.fault.kind() == kind)
}

#[test]
fn of_the_network_stays_what_the_failure_needs_and_nothing_else() {
    let settings: [(&str, Has); 8] = [
        ("yields", |plan| plan.schedule.yields != Yields::Off),
        ("latency", |plan| plan.network.latency.name() != "constant"),
        ("loss", |plan| plan.network.loss > 0.0),
        ("duplicate", |plan| plan.network.duplicate > 0.0),
        ("reorder", |plan| plan.network.reorder > 0.0),
        ("speed", |plan| plan.network.bytes_per_second.is_some()),
        ("mtu", |plan| plan.network.mtu_bytes.is_some()),
        ("links", |plan| !plan.network.links.is_empty()),
    ];
    // These go together or not at all.
    let pairs = [["duplicate", "reorder"], ["speed", "mtu"]];
    let mut plan = plan(7);
    (plan.network.duplicate, plan.network.reorder) = (0.1, 0.1);
    (plan.network.bytes_per_second, plan.network.mtu_bytes) = (Some(100_000), Some(1_500));
    for (needed, has_needed) in settings {
        // All nodes stay: with one of its sides a link would go by itself.
        let judge = |less: &Plan| {
            let is_lost = less.nodes == plan.nodes && has_needed(less);
            is_lost.then_some("it is lost")
        };
        let after = shrunk(&plan, judge).after;
        for (name, has) in settings {
            let stays = name == needed
                || pairs
                    .iter()
                    .any(|two| two.contains(&name) && two.contains(&needed));
            assert_eq!(has(&after), stays, "{name}, where {needed} is needed");
        }
    }
}

#[test]
fn a_check_with_nothing_left_to_hold_of_goes_unless_it_is_the_one_that_fails() {
    let mut plan = plan(7);
    plan.checks.converged_within_ms = Some(1_000);
    let check = |after: &Plan| after.checks.converged_within_ms;
    assert_eq!(check(&shrunk(&plan, lost_update).after), None);
    // An operation that comes after it is what it holds of.
    let late = |plan: &Plan| {
        let calm_ms = plan.calm_from_ms() + 1_000;
        let is_late = plan.operations.iter().any(|one| one.at_ms > calm_ms);
        is_late.then_some("an update is lost")
    };
    assert_eq!(check(&shrunk(&plan, late).after), Some(1_000));
    // One that comes sooner is not.
    let soon = |plan: &Plan| {
        let calm_ms = plan.calm_from_ms();
        let is_soon =
            |one: &PlannedOperation| (1..1_000).contains(&one.at_ms.saturating_sub(calm_ms));
        let is_lost = has_fault(plan, "pause") && plan.operations.iter().any(is_soon);
        is_lost.then_some("an update is lost")
    };
    assert_eq!(check(&shrunk(&plan, soon).after), None);
    let stuck = |plan: &Plan| has_fault(plan, "pause").then_some("converged");
    assert_eq!(check(&shrunk(&plan, stuck).after), Some(1_000));
}

#[test]
fn a_fault_lasts_as_short_as_does_and_many_times_between_events_stay() {
    // So many that the times between them are left alone.
    let judge = |least: usize| {
        move |plan: &Plan| {
            let asked: BTreeSet<u64> = plan.operations.iter().map(|one| one.at_ms).collect();
            let is_lost = ends(plan, "pause") && asked.len() >= least;
            is_lost.then_some("an update is lost")
        }
    };
    let plan = plan(7);
    let moved_ms = |after: &Plan| {
        let by_id = |id: u64| plan.operations.iter().find(|one| one.id == id);
        let moved = after.operations.iter();
        let moved = moved.map(|one| by_id(one.id).unwrap().at_ms - one.at_ms);
        moved.max().unwrap()
    };
    let many = shrunk(&plan, judge(45)).after;
    assert!(times(&many).len() > 40);
    assert!(moved_ms(&many) < 1_000, "{} ms", moved_ms(&many));
    let lasts_ms = |after: &Plan| after.faults[1].at_ms - after.faults[0].at_ms;
    assert_eq!(many.faults.len(), 2);
    assert!(lasts_ms(&many) <= 100, "{} ms", lasts_ms(&many));
    let few = shrunk(&plan, judge(35)).after;
    assert!(moved_ms(&few) > 1_000, "{} ms", moved_ms(&few));
}

#[test]
fn operations_have_as_little_time_as_does_unless_that_they_fail_is_the_failure() {
    let slowest = |plan: &Plan| plan.operations.iter().map(|one| one.timeout_ms).max();
    let with = |failure: &'static str| {
        let judge = move |plan: &Plan| (slowest(plan) >= Some(150)).then_some(failure);
        slowest(&shrunk(&plan(7), judge).after)
    };
    assert_eq!(with("an update is lost"), Some(200));
    for failure in ["converged", "min_ok", "max_failed"] {
        assert_eq!(with(failure), Some(500), "{failure}");
    }
}

#[test]
fn nothing_happens_sooner_than_the_first_thing_did() {
    let mut plan = plan(7);
    plan.operations.retain(|one| one.at_ms > 5_300);
    plan.faults.retain(|fault| fault.fault.kind() == "pause");
    let first_ms = times(&plan).first().copied().unwrap();
    let after = shrunk(&plan, lost_update).after;
    let earliest_ms = times(&after).first().copied().unwrap();
    // It may be rounded down, to whole seconds at the most.
    assert!(
        earliest_ms >= first_ms - first_ms % 1_000,
        "{first_ms} -> {earliest_ms}"
    );
}

#[test]
fn times_are_as_round_as_the_failure_lets_them_be() {
    let mut plan = plan(7);
    plan.faults.clear();
    plan.operations.truncate(1);
    plan.operations[0].at_ms = 5_789;
    for (least_ms, expected_ms) in [
        (5_000, 5_000),
        (5_100, 5_500),
        (5_600, 5_700),
        (5_750, 5_780),
        (5_785, 5_789),
    ] {
        let judge = |plan: &Plan| {
            let is_late = plan.operations.iter().any(|one| one.at_ms >= least_ms);
            is_late.then_some("it is lost")
        };
        let after = shrunk(&plan, judge).after;
        assert_eq!(
            after.operations[0].at_ms, expected_ms,
            "at {least_ms} at the least"
        );
    }
}

#[test]
fn a_role_keeps_a_node_that_is_there_in_the_end() {
    let servers = |after: &Plan| {
        let servers = after.nodes.iter().filter(|node| node.role == "server");
        servers.count()
    };
    let crashes = |plan: &Plan| has_fault(plan, "crash").then_some("it is lost");
    let starts = |plan: &Plan| ends(plan, "crash").then_some("it is lost");
    let mut plan = plan(7);
    assert_eq!(servers(&shrunk(&plan, starts).after), 1, "it starts again");
    plan.faults
        .retain(|planned| planned.fault.kind() != "crash" || planned.phase == Phase::Begin);
    assert_eq!(servers(&shrunk(&plan, crashes).after), 2, "it is gone");
    let stops = |plan: &Plan| has_fault(plan, "stop").then_some("it is lost");
    let mut stopped = plan.clone();
    for planned in &mut stopped.faults {
        if let Fault::Crash { node } = planned.fault.clone() {
            planned.fault = Fault::Stop { node };
        }
    }
    assert_eq!(servers(&shrunk(&stopped, stops).after), 2, "it has stopped");
    plan.faults.push(PlannedFault {
        id: "fault-99".to_owned(),
        at_ms: 25_000,
        phase: Phase::Begin,
        fault: Fault::Restart {
            node: "server-2".to_owned(),
        },
    });
    let both = |plan: &Plan| {
        let is_lost = has_fault(plan, "crash") && has_fault(plan, "restart");
        is_lost.then_some("it is lost")
    };
    assert_eq!(
        servers(&shrunk(&plan, both).after),
        1,
        "it is started again"
    );
}

#[test]
fn two_runs_are_compared_on_the_way_only_where_they_differ_and_in_the_end_as_before() {
    let compared = |failure: &'static str, before: bool| {
        let mut plan = plan(7);
        plan.checks.replayed = before;
        let mut asked = BTreeSet::new();
        let mut is_first = true;
        let shrunk = shrunk(&plan, |plan| {
            if !std::mem::take(&mut is_first) {
                asked.insert(plan.checks.replayed);
            }
            has_fault(plan, "pause").then_some(failure)
        });
        assert_eq!(shrunk.after.checks.replayed, before);
        asked.into_iter().collect::<Vec<bool>>()
    };
    assert_eq!(compared("an update is lost", true), [false]);
    assert_eq!(compared("replayed", true), [true]);
    assert_eq!(compared("an update is lost", false), [false]);
}

#[test]
fn what_is_left_says_nothing_of_the_seed_the_run_or_what_the_plan_was_kept_for() {
    let mut plan = plan(7);
    plan.swarm = Some(Swarm::default());
    plan.recorded = Some(Recorded {
        engine: "event".to_owned(),
        trace: "0".repeat(32),
        verdict: "fail".to_owned(),
    });
    plan.expected = Some(Expected::Failure("an update is lost".to_owned()));
    let after = shrunk(&plan, lost_update).after;
    assert_eq!(
        (after.swarm, after.recorded, after.expected),
        (None, None, None)
    );
}

#[test]
fn no_plan_is_run_twice_but_what_comes_of_it() {
    let mut plan = plan(7);
    plan.checks.replayed = false;
    let mut runs = Vec::new();
    let shrunk = shrunk(&plan, |plan| {
        runs.push(plan.digest());
        lost_update(plan)
    });
    assert_eq!(runs.len(), shrunk.runs as usize);
    let last = runs.split_off(runs.len() - VERIFIED_RUNS as usize);
    assert!(last.iter().all(|digest| *digest == shrunk.after.digest()));
    let once: BTreeSet<&String> = runs.iter().collect();
    assert_eq!(once.len(), runs.len());
}

/// All that is at once tried, so that it need not be one by one.
#[test]
fn what_needs_little_takes_few_runs() {
    let plan = plan(7);
    let nothing = shrunk(&plan, |_| Some("it is lost"));
    let of_server = plan.operations.iter().rfind(|one| one.timeout_ms == 100);
    let last = of_server.unwrap().id;
    let needs_last = |plan: &Plan| {
        let is_asked = plan.operations.iter().any(|one| one.id == last);
        is_asked.then_some("it is lost")
    };
    let one = shrunk(&plan, needs_last);
    let runs = (nothing.runs, one.runs);
    assert!(runs.0 <= 21 && runs.1 <= 41, "{runs:?}");
}

#[test]
fn what_becomes_needless_when_something_else_has_gone_goes_as_well() {
    let plan = plan(7);
    let last = plan.operations.last().unwrap().id;
    // A pause matters only while much is asked.
    let judge = |plan: &Plan| {
        let is_asked = plan.operations.iter().any(|one| one.id == last);
        let is_lost = has_fault(plan, "pause") || plan.operations.len() == 1;
        (is_asked && is_lost).then_some("it is lost")
    };
    let after = Size::of(&shrunk(&plan, judge).after);
    assert_eq!((after.operations, after.faults), (1, 0));
}

#[test]
fn what_shows_another_failure_in_the_end_is_refused_though_each_run_shows_the_same() {
    let limits = Limits {
        runs_max: 16,
        ..Limits::default()
    };
    let mut runs = 0;
    let judge = |_: &Plan| {
        runs += 1;
        Some(if runs > 16 {
            "it is late"
        } else {
            "it is lost"
        })
    };
    let error = shrunk_within(&plan(7), limits, judge).unwrap_err();
    assert!(matches!(&error, ShrinkError::Unsteady(_)), "{error}");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_speaks_of_a_node_goes_with_it_or_stays_for_the_others_that_it_speaks_of() {
    let plan = plan(7);
    let with = |left: &[&str]| less::with_nodes(&plan, &names(left));
    let of = |less: &Plan, kind: &str| {
        let mut faults = less.faults.iter().map(|planned| planned.fault.clone());
        faults.find(|fault| fault.kind() == kind)
    };
    let sides = [names(&["server-1"]), names(&["client-1"])];
    let two = with(&["server-1", "client-1"]);
    let groups = sides.to_vec();
    assert_eq!(of(&two, "partition"), Some(Fault::Partition { groups }));
    let loss = of(&two, "loss");
    assert!(matches!(loss, Some(Fault::Loss { between, .. }) if between == sides));
    assert_eq!(two.network.links[0].between, sides);
    for kind in ["partition_one_way", "crash", "stale_name", "clock_jump"] {
        assert_eq!(of(&two, kind), None, "{kind}");
    }
    let third = with(&["server-3", "client-1"]);
    let (from, to) = (names(&["client-1"]), names(&["server-3"]));
    let one_way = Fault::PartitionOneWay { from, to };
    assert_eq!(of(&third, "partition_one_way"), Some(one_way));
    assert!(third.network.links.is_empty());
    let alone = with(&["server-1"]);
    assert_eq!(of(&alone, "partition"), None);
    assert_eq!(of(&alone, "loss"), None);
    assert!(alone.network.links.is_empty());
    // These are of no node.
    assert_eq!(of(&alone, "heal"), Some(Fault::Heal));
    assert!(alone.operations.iter().all(|one| one.node == "server-1"));
}

#[test]
fn nothing_lasts_longer_or_comes_before_what_it_comes_after() {
    let plan = plan(7);
    for id in plan.fault_ids() {
        assert_eq!(less::lasting(&plan, id, 100_000), plan, "{id}");
    }
    let sooner = less::sooner(&plan, 5_000, 100_000);
    let late = times(&sooner).into_iter().filter(|at_ms| *at_ms >= 5_000);
    let longest = plan.operations.iter().map(|one| one.timeout_ms).max();
    assert_eq!(
        late.collect::<Vec<u64>>(),
        [5_000, 5_000 + longest.unwrap()]
    );
}
