//! Shrinking with a judge that is made up: what is left, what never is, and when it gives up.

mod steps;

use std::cell::Cell;

use proptest::prelude::*;

use super::*;
use crate::fault::{Fault, Phase, PlannedFault};
use crate::operation::PlannedOperation;
use crate::plan::{Buggify, PlannedNode};
use crate::scenario::{Catalogue, Known, Scenario};

const TEXT: &str = r#"
name = "x"
system = "echo"
duration_s = 30
[nodes]
server = 3
client = 3
[network]
latency_ms = [1, 5]
loss = 0.01
[[network.link]]
between = [["server-1"], ["client"]]
loss = 0.5
[[workload]]
role = "client"
operation = "echo"
every_ms = [200, 400]
timeout_ms = 500
[[workload]]
role = "server"
operation = "echo"
every_ms = 2000
timeout_ms = 100
[[fault]]
kind = "partition"
groups = [["server-1"], ["server-2", "server-3"], ["client"]]
at_s = [1, 4]
for_s = [1, 3]
[[fault]]
kind = "partition_one_way"
from = ["client-1", "client-2"]
to = ["server-3"]
at_s = [5, 6]
for_s = [1, 3]
[[fault]]
kind = "loss"
between = [["server"], ["client-1"]]
loss = [0.1, 0.9]
at_s = [1, 9]
[[fault]]
kind = "heal"
at_s = 20
[[fault]]
kind = "crash"
node = "server-2"
at_s = [2, 9]
restart_after_s = [1, 5]
[[fault]]
kind = "stale_name"
node = "server-1"
answer = "server-2"
at_s = 12
for_s = 4
[[fault]]
kind = "clock_jump"
node = "client-3"
by_ms = 4000
at_s = [14, 20]
[[fault]]
kind = "pause"
nodes = "any client"
at_s = [12, 15]
for_s = [2, 5]
"#;

fn plan(seed: u64) -> Plan {
    let known = Known {
        roles: vec!["client".to_owned(), "server".to_owned()],
        operations: vec!["echo".to_owned()],
    };
    let catalogue = Catalogue::from([("echo".to_owned(), known)]);
    let scenario = Scenario::parse("x.toml", TEXT, &catalogue);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    Plan::new(&scenario, seed).unwrap()
}

/// A judge that says what a function says of a plan; none is a pass.
struct Fake<F>(F);

impl<F: FnMut(&Plan) -> Option<&'static str>> Judge for Fake<F> {
    fn judge(&mut self, plan: &Plan) -> Result<Shown, String> {
        assert_eq!(plan.contradictions(), [""; 0]);
        let failure = (self.0)(plan);
        Ok(Shown {
            verdict: if failure.is_some() { "fail" } else { "pass" }.to_owned(),
            failure: failure.map(Signature::from_text),
            digest: plan.digest(),
        })
    }
}

fn shrunk_within(
    plan: &Plan,
    limits: Limits,
    judge: impl FnMut(&Plan) -> Option<&'static str>,
) -> Result<Shrunk, ShrinkError> {
    let now = || Instant::ORIGIN;
    shrink(plan, &mut Fake(judge), limits, &now, &mut |_| true)
}

fn shrunk(plan: &Plan, judge: impl FnMut(&Plan) -> Option<&'static str>) -> Shrunk {
    let shrunk = shrunk_within(plan, Limits::default(), judge);
    shrunk.unwrap_or_else(|error| panic!("{error}"))
}

fn has_fault(plan: &Plan, kind: &str) -> bool {
    plan.faults
        .iter()
        .any(|planned| planned.fault.kind() == kind)
}

/// What a lock without a fence does: somebody stands still for a second between two operations,
/// of which one is its own, and another client is there.
fn lost_update(plan: &Plan) -> Option<&'static str> {
    let mut found = None;
    for begin in plan
        .faults
        .iter()
        .filter(|fault| fault.phase == Phase::Begin)
    {
        let Fault::Pause { node } = &begin.fault else {
            continue;
        };
        let ends = |end: &&PlannedFault| end.id == begin.id && end.phase == Phase::End;
        let end = plan.faults.iter().find(ends)?;
        let own = plan.operations.iter().any(|one| {
            one.node == *node && (1..400).contains(&begin.at_ms.saturating_sub(one.at_ms))
        });
        let other = plan.operations.iter().any(|one| {
            one.node != *node
                && one.node.starts_with("client")
                && (begin.at_ms..end.at_ms).contains(&one.at_ms)
        });
        if own && other && end.at_ms - begin.at_ms >= 1000 {
            found = Some("an update is lost");
        }
    }
    found
}

#[test]
fn a_plan_is_cut_to_what_the_failure_needs() {
    let plan = plan(7);
    let shrunk = shrunk(&plan, lost_update);
    let after = &shrunk.after;
    assert_eq!(Size::of(&plan).faults, 8);
    assert_eq!(
        Size::of(after),
        Size {
            faults: 1,
            fault_events: 2,
            // Two clients, and of the servers one.
            nodes: 3,
            operations: 2,
            duration_ms: after.duration_ms,
        }
    );
    assert!(after.duration_ms <= 2000, "{}", after.duration_ms);
    assert_eq!(after.network.loss, 0.0);
    assert!(after.network.links.is_empty());
    assert_eq!(after.network.latency.name(), "constant");
    // The failure is still the one that it was, and so are the names.
    assert_eq!(lost_update(after), Some("an update is lost"));
    assert!(after.nodes.iter().all(|node| plan.nodes.contains(node)));
    assert!(shrunk.runs < 150, "{} runs", shrunk.runs);
    assert_eq!(shrunk.stopped, None);
}

#[test]
fn nothing_that_is_left_can_be_left_out() {
    for seed in 0..20 {
        let plan = plan(seed);
        if lost_update(&plan).is_none() {
            continue;
        }
        let after = shrunk(&plan, lost_update).after;
        let ids: Vec<String> = after.fault_ids().into_iter().map(str::to_owned).collect();
        for id in &ids {
            let others: Vec<String> = ids.iter().filter(|other| *other != id).cloned().collect();
            assert_eq!(
                lost_update(&less::with_faults(&after, &others)),
                None,
                "{id}"
            );
        }
        let alone = |node: &PlannedNode| {
            let of_role = after.nodes.iter().filter(|other| other.role == node.role);
            of_role.count() == 1
        };
        for node in after.nodes.iter().filter(|node| !alone(node)) {
            let others = after.nodes.iter().filter(|other| *other != node);
            let others: Vec<String> = others.map(|other| other.name.clone()).collect();
            let without = less::with_nodes(&after, &others);
            assert_eq!(lost_update(&without), None, "{}", node.name);
        }
        for operation in &after.operations {
            let others = after.operations.iter().map(|other| other.id);
            let others = others.filter(|other| *other != operation.id).collect();
            let without = less::with_operations(&after, &others);
            assert_eq!(lost_update(&without), None, "operation {}", operation.id);
        }
    }
}

#[test]
fn what_would_make_any_system_fail_is_not_tried() {
    // Some time after a pause a call fails; so it does with nobody to answer it, or little time.
    let judge = |plan: &Plan| {
        let calm_ms = plan.faults.iter().map(|fault| fault.at_ms).max()? + 5000;
        let has_server = plan.nodes.iter().any(|node| node.role == "server");
        let fails = |one: &PlannedOperation| {
            let is_doomed = !has_server || one.timeout_ms < 500 || has_fault(plan, "pause");
            one.node.starts_with("client") && one.at_ms > calm_ms && is_doomed
        };
        plan.operations.iter().any(fails).then_some("converged")
    };
    let after = shrunk(&plan(7), judge).after;
    let roles: Vec<&str> = after.nodes.iter().map(|node| node.role.as_str()).collect();
    assert_eq!(roles, ["server", "client"]);
    let phases: Vec<Phase> = after.faults.iter().map(|fault| fault.phase).collect();
    assert_eq!(phases, [Phase::Begin, Phase::End]);
    assert_eq!(after.operations.len(), 1);
    assert_eq!(after.operations[0].timeout_ms, 500);
}

#[test]
fn of_the_tricks_those_stay_that_the_failure_needs() {
    let sites = [
        "a lease ends early",
        "a connection breaks",
        "a watch is short",
    ];
    let mut plan = plan(7);
    plan.buggify = Some(Buggify {
        until_ms: 9_000,
        sites: sites.map(str::to_owned).into(),
    });
    let needs = |plan: &Plan| {
        let buggify = plan.buggify.as_ref()?;
        let has = |site: &str| buggify.sites.iter().any(|active| active == site);
        has("a connection breaks").then_some("an update is lost")
    };
    let left = shrunk(&plan, needs).after.buggify.unwrap();
    assert_eq!(left.sites, ["a connection breaks"]);
    let none = |plan: &Plan| has_fault(plan, "pause").then_some("an update is lost");
    assert_eq!(shrunk(&plan, none).after.buggify, None);
}

#[test]
fn the_same_plan_comes_to_the_same_end() {
    let plan = plan(7);
    assert_eq!(shrunk(&plan, lost_update), shrunk(&plan, lost_update));
}

#[test]
fn another_failure_is_never_taken_for_this_one() {
    // Without the crash it fails too, and otherwise: as smaller plans mostly do.
    let judge = |plan: &Plan| match (has_fault(plan, "crash"), has_fault(plan, "pause")) {
        (true, _) => Some("no answer"),
        (false, true) => Some("no answer; an update is lost"),
        (false, false) => Some("an update is lost"),
    };
    let shrunk = shrunk(&plan(7), judge);
    assert!(has_fault(&shrunk.after, "crash"));
    assert_eq!(shrunk.failure, Signature::from_text("no answer"));
    assert!(!shrunk.others.is_empty());
    assert_eq!(judge(&shrunk.after), Some("no answer"));
}

/// A cluster that is never healed does not come round, and that is no failure of its own.
#[test]
fn what_ended_before_ends_still_where_the_failure_comes_after_it() {
    let is_cut = |plan: &Plan| has_fault(plan, "partition");
    let stuck = |plan: &Plan| is_cut(plan).then_some("converged");
    let after = shrunk(&plan(7), stuck).after;
    assert_eq!(after.faults.len(), 2, "it begins and ends");
    let lost = |plan: &Plan| is_cut(plan).then_some("an update is lost");
    assert_eq!(shrunk(&plan(7), lost).after.faults.len(), 1);
}

#[test]
fn a_plan_that_passes_is_not_shrunk() {
    let error = shrunk_within(&plan(7), Limits::default(), |_| None).unwrap_err();
    assert!(matches!(&error, ShrinkError::NoFailure(shown) if shown.verdict == "pass"));
    assert!(error.to_string().contains("there is no failure to shrink"));
}

#[test]
fn runs_and_time_are_bounded_and_the_best_so_far_is_kept() {
    let plan = plan(7);
    let limits = |runs_max, wall_max| Limits { runs_max, wall_max };
    let few = limits(20, Duration::MAX);
    let short = shrunk_within(&plan, few, lost_update).unwrap();
    assert_eq!(short.stopped, Some(Stopped::Runs));
    assert_eq!(short.runs, 20 + VERIFIED_RUNS);
    assert_eq!(lost_update(&short.after), Some("an update is lost"));
    assert!(Size::of(&short.after).operations < Size::of(&plan).operations);

    let time = Cell::new(Instant::ORIGIN);
    let now = || time.get();
    let mut slow = Fake(|plan: &Plan| {
        time.set(time.get() + Duration::from_secs(1));
        lost_update(plan)
    });
    let quick = limits(u32::MAX, Duration::from_secs(10));
    let late = shrink(&plan, &mut slow, quick, &now, &mut |_| true).unwrap();
    assert_eq!(late.stopped, Some(Stopped::Wall));
    assert_eq!(late.runs, 10 + VERIFIED_RUNS);

    let mut fake = Fake(lost_update);
    let mut ask = |progress: &Progress| progress.runs < 15;
    let asked = shrink(&plan, &mut fake, Limits::default(), &now, &mut ask).unwrap();
    assert_eq!(asked.stopped, Some(Stopped::Asked));
    assert_eq!(asked.runs, 15 + VERIFIED_RUNS);
}

#[test]
fn a_failure_that_comes_and_goes_is_refused_with_what_each_run_showed() {
    let mut runs = 0;
    let flaky = |plan: &Plan| {
        runs += 1;
        // It fails by chance, whatever is left out.
        (runs % 3 != 0)
            .then_some("flaky")
            .filter(|_| plan.duration_ms > 0)
    };
    let error = shrunk_within(&plan(7), Limits::default(), flaky).unwrap_err();
    let ShrinkError::Unsteady(shown) = &error else {
        panic!("{error}");
    };
    assert_eq!(shown.len(), VERIFIED_RUNS as usize);
    let text = error.to_string();
    assert!(text.contains("the failure is not steady"), "{text}");
    assert!(
        text.contains("run 3 shows") && text.contains("`verify`"),
        "{text}"
    );
}

/// The same failure each time, by traces that differ.
#[test]
fn a_trace_that_is_another_each_time_is_refused() {
    struct Restless(u32);
    impl Judge for Restless {
        fn judge(&mut self, plan: &Plan) -> Result<Shown, String> {
            self.0 += 1;
            let shown = Fake(lost_update).judge(plan)?;
            let digest = self.0.to_string();
            Ok(Shown { digest, ..shown })
        }
    }
    let (now, limits) = (|| Instant::ORIGIN, Limits::default());
    let error = shrink(&plan(7), &mut Restless(0), limits, &now, &mut |_| true);
    assert!(matches!(error, Err(ShrinkError::Unsteady(_))), "{error:?}");
}

/// What is cut away, in any order.
#[derive(Clone, Debug)]
enum Cut {
    Faults(u64),
    Nodes(u64),
    Operations(u64),
    Until(u64),
    Sooner(u64),
    Lasting(usize, u64),
    Within(u64),
    Rounded(u64),
}

fn cut() -> impl Strategy<Value = Cut> {
    prop_oneof![
        any::<u64>().prop_map(Cut::Faults),
        any::<u64>().prop_map(Cut::Nodes),
        any::<u64>().prop_map(Cut::Operations),
        (0u64..31_000).prop_map(Cut::Until),
        (0u64..31_000).prop_map(Cut::Sooner),
        (0usize..9, 1u64..5000).prop_map(|(fault, for_ms)| Cut::Lasting(fault, for_ms)),
        (1u64..1000).prop_map(Cut::Within),
        (1u64..2000).prop_map(Cut::Rounded),
    ]
}

/// Some of a list, by the bits of a number.
fn some<T: Clone>(all: impl IntoIterator<Item = T>, bits: u64) -> Vec<T> {
    let chosen = all.into_iter().enumerate();
    let chosen = chosen.filter(|(index, _)| bits.rotate_right(*index as u32) & 1 == 1);
    chosen.map(|(_, item)| item).collect()
}

fn apply(plan: &Plan, cut: Cut) -> Plan {
    let ids = || plan.fault_ids().into_iter().map(str::to_owned);
    match cut {
        Cut::Faults(bits) => less::with_faults(plan, &some(ids(), bits)),
        Cut::Nodes(bits) => {
            let names = plan.nodes.iter().map(|node| node.name.clone());
            less::with_nodes(plan, &some(names, bits))
        }
        Cut::Operations(bits) => {
            let ids = plan.operations.iter().map(|operation| operation.id);
            less::with_operations(plan, &some(ids, bits).into_iter().collect())
        }
        Cut::Until(end_ms) => less::until(plan, end_ms.min(plan.duration_ms)),
        Cut::Sooner(after_ms) => {
            let times = plan.faults.iter().map(|fault| fault.at_ms);
            let times = times.chain(plan.operations.iter().map(|one| one.at_ms));
            let next = times
                .chain([plan.duration_ms])
                .filter(|at| *at > after_ms)
                .min();
            let gap_ms = next.map_or(0, |next| next - after_ms);
            less::sooner(plan, after_ms, gap_ms)
        }
        Cut::Lasting(fault, for_ms) => match ids().nth(fault) {
            Some(id) => less::lasting(plan, &id, for_ms),
            None => plan.clone(),
        },
        Cut::Within(timeout_ms) => less::within(plan, timeout_ms),
        Cut::Rounded(to_ms) => less::rounded(plan, to_ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_plan_with_less_in_it_is_a_plan(
        seed: u64, cuts in proptest::collection::vec(cut(), 1..8),
    ) {
        let mut plan = plan(seed);
        prop_assert_eq!(plan.contradictions(), [""; 0]);
        for cut in cuts {
            let before = Size::of(&plan);
            let less = apply(&plan, cut.clone());
            let after = Size::of(&less);
            prop_assert_eq!(less.contradictions(), [""; 0], "{:?}", cut);
            prop_assert!(after.faults <= before.faults && after.nodes <= before.nodes);
            prop_assert!(after.operations <= before.operations);
            prop_assert!(after.duration_ms <= before.duration_ms);
            let back = Plan::from_text(&less.to_text());
            prop_assert_eq!(back.as_ref(), Ok(&less));
            plan = less;
        }
    }
}
