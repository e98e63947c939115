//! Every check on known-good traces, which it accepts, and known-bad ones, which it refuses.

use serde_json::{Value, json};

use super::*;
use crate::fault::{Fault, Phase, PlannedFault};
use crate::latency::Latency;
use crate::operation::PlannedOperation;
use crate::plan::{Buggify, FORMAT, PlannedNode};
use crate::scenario::{Checks, Network};
use crate::trace::{Event, EventKind, OperationOutcome};

fn operation(id: u64, at_ms: u64) -> PlannedOperation {
    PlannedOperation {
        id,
        at_ms,
        node: "client-1".to_owned(),
        workload: "workload-1".to_owned(),
        operation: "hello".to_owned(),
        key: 0,
        value: id,
        timeout_ms: 100,
    }
}

fn crash(at_ms: u64, phase: Phase) -> PlannedFault {
    PlannedFault {
        id: "fault-1".to_owned(),
        at_ms,
        phase,
        fault: Fault::Crash {
            node: "client-1".to_owned(),
        },
    }
}

/// Two operations, a crash of their node between them.
pub(super) fn plan() -> Plan {
    Plan {
        format: FORMAT,
        scenario: "x".to_owned(),
        system: "x".to_owned(),
        seed: 1,
        duration_ms: 10_000,
        nodes: vec![PlannedNode {
            name: "client-1".to_owned(),
            role: "client".to_owned(),
        }],
        faults: vec![crash(3_000, Phase::Begin), crash(4_000, Phase::End)],
        operations: vec![operation(1, 1_000), operation(2, 8_000)],
        network: Network::new(Latency::Constant { us: 1000 }),
        schedule: Default::default(),
        buggify: None,
        parameters: Default::default(),
        checks: Checks {
            converged_within_ms: Some(1_000),
            min_ok: Some(0.9),
            max_failed: Some(0),
            ..Checks::default()
        },
        swarm: None,
        recorded: None,
        expected: None,
    }
}

pub(super) fn event(at_ms: u64, kind: EventKind) -> Event {
    Event {
        at_us: at_ms * 1000,
        node: Some("client-1".into()),
        kind,
    }
}

pub(super) fn call(at_ms: u64, operation: u64) -> Event {
    let name = "hello".to_owned();
    let kind = EventKind::Call {
        operation,
        name,
        key: 0,
        value: operation,
    };
    event(at_ms, kind)
}

pub(super) fn ended(at_ms: u64, operation: u64, outcome: OperationOutcome) -> Event {
    event(at_ms, EventKind::Outcome { operation, outcome })
}

pub(super) fn ok() -> OperationOutcome {
    OperationOutcome::Ok { reply: Value::Null }
}

pub(super) fn failed() -> OperationOutcome {
    OperationOutcome::Failed {
        kind: "unavailable".to_owned(),
        message: "nobody there".to_owned(),
    }
}

fn touched(count: u64) -> Event {
    let fault = "fault-1".to_owned();
    event(10_000, EventKind::Touched { fault, count })
}

/// What a sound run of the plan leaves.
fn sound() -> Vec<Event> {
    vec![
        event(0, EventKind::NodeStarted { incarnation: 1 }),
        call(1_000, 1),
        ended(1_010, 1, ok()),
        event(3_000, EventKind::NodeCrashed),
        event(4_000, EventKind::NodeStarted { incarnation: 2 }),
        call(8_000, 2),
        ended(8_010, 2, ok()),
        touched(1),
    ]
}

pub(super) fn trace(events: &[Event]) -> Trace {
    let mut trace = Trace::new("p", "test");
    for event in events {
        trace.push(event.clone());
    }
    trace
}

fn system() -> System {
    System::new("x")
}

pub(super) fn verdict(plan: &Plan, events: &[Event]) -> Verdict {
    judge(plan, &system(), &trace(events), &Ended::Finished, None)
}

/// The names of the checks that fail, each once.
pub(super) fn failing(plan: &Plan, events: &[Event]) -> Vec<String> {
    match verdict(plan, events) {
        Verdict::Fail(reasons) => {
            let mut checks: Vec<String> = reasons.into_iter().map(|reason| reason.check).collect();
            checks.dedup();
            checks
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_sound_run_passes() {
    assert_eq!(verdict(&plan(), &sound()), Verdict::Pass);
}

#[test]
fn answered_refuses_none_two_late_and_unfinished() {
    let mut checked = plan();
    checked.checks = Checks::default();
    let mut none = sound();
    none.remove(2);
    assert_eq!(failing(&checked, &none), ["answered"]);
    let mut two = sound();
    two.insert(3, ended(1_020, 1, failed()));
    assert_eq!(failing(&checked, &two), ["answered"]);
    let mut late = sound();
    late[6] = ended(8_121, 2, ok());
    assert_eq!(failing(&checked, &late), ["answered"]);
    late[6] = ended(8_120, 2, failed());
    assert!(failing(&checked, &late).is_empty());
    let mut unfinished = sound();
    unfinished[6] = ended(8_120, 2, OperationOutcome::Unfinished);
    assert_eq!(failing(&checked, &unfinished), ["answered"]);
    checked.checks.answered = false;
    assert!(failing(&checked, &unfinished).is_empty());
}

#[test]
fn answered_lets_only_a_node_that_was_down_skip() {
    let mut checked = plan();
    checked.checks = Checks::default();
    checked.operations.push(operation(3, 3_500));
    let mut skipped = sound();
    skipped.insert(5, ended(4_000, 3, OperationOutcome::Skipped));
    assert_eq!(verdict(&checked, &skipped), Verdict::Pass);
    checked.operations[2].at_ms = 4_500;
    assert_eq!(failing(&checked, &skipped), ["answered"]);
}

#[test]
fn converged_refuses_a_failure_after_the_bound_and_doubts_silence() {
    let mut checked = plan();
    checked.checks = Checks {
        converged_within_ms: Some(1_000),
        ..Checks::default()
    };
    let mut late_failure = sound();
    late_failure[6] = ended(8_010, 2, failed());
    assert_eq!(failing(&checked, &late_failure), ["converged"]);
    let mut early_failure = sound();
    early_failure[2] = ended(1_010, 1, failed());
    assert_eq!(verdict(&checked, &early_failure), Verdict::Pass);
    // While tricks are played, with faults or without, nothing is at rest.
    checked.checks.converged_within_ms = Some(500);
    let tricked = Plan {
        faults: Vec::new(),
        buggify: Some(Buggify {
            until_ms: 600,
            sites: Vec::new(),
        }),
        ..checked.clone()
    };
    let untouched = |events: &[Event]| events[..7].to_vec();
    assert_eq!(verdict(&tricked, &untouched(&early_failure)), Verdict::Pass);
    let calm = Plan {
        buggify: None,
        ..tricked
    };
    assert_eq!(failing(&calm, &untouched(&early_failure)), ["converged"]);
    checked.checks.converged_within_ms = Some(5_000);
    let doubt = verdict(&checked, &late_failure);
    assert_eq!(
        (doubt.word(), doubt.reasons()[0].check.as_str()),
        ("inconclusive", "converged")
    );
}

#[test]
fn shares_refuse_too_few_and_too_many() {
    let mut events = sound();
    events[2] = ended(1_010, 1, failed());
    assert_eq!(failing(&plan(), &events), ["min_ok", "max_failed"]);
    let mut checked = plan();
    checked.checks.min_ok = Some(0.5);
    checked.checks.max_failed = Some(1);
    assert_eq!(verdict(&checked, &events), Verdict::Pass);
}

#[test]
fn a_fault_that_touched_nothing_is_named_and_never_passes() {
    let mut events = sound();
    events[7] = touched(0);
    let Verdict::Inconclusive(reasons) = verdict(&plan(), &events) else {
        panic!("{:?}", verdict(&plan(), &events));
    };
    assert_eq!(
        reasons[0].to_string(),
        "touched: fault-1 touched nothing (crash client-1)"
    );
    // A failure is one whatever else is in doubt.
    events[2] = ended(1_010, 1, failed());
    assert_eq!(verdict(&plan(), &events).word(), "fail");
}

#[test]
fn a_workload_of_which_nothing_succeeded_is_in_doubt() {
    let mut checked = plan();
    checked.checks = Checks::default();
    let mut events = sound();
    events[2] = ended(1_010, 1, failed());
    events[6] = ended(8_010, 2, failed());
    let doubt = verdict(&checked, &events);
    assert_eq!(doubt.reasons()[0].check, "worked");
    assert_eq!(doubt.word(), "inconclusive");
    checked.operations.clear();
    assert_eq!(verdict(&checked, &events).reasons()[0].check, "worked");
}

#[test]
fn a_node_that_fails_and_a_task_that_panics_are_named() {
    let mut events = sound();
    let error = Some("internal: oops".to_owned());
    events.push(event(9_000, EventKind::NodeStopped { error }));
    assert_eq!(failing(&plan(), &events), ["node stopped"]);
    let panicked = EventKind::TaskPanicked {
        task: "sweep".to_owned(),
        message: "oops".to_owned(),
    };
    *events.last_mut().unwrap() = event(9_000, panicked);
    assert_eq!(failing(&plan(), &events), ["task panicked"]);
    *events.last_mut().unwrap() = event(9_000, EventKind::NodeStopped { error: None });
    assert_eq!(verdict(&plan(), &events), Verdict::Pass);
}

#[test]
fn replayed_refuses_traces_that_differ() {
    let one = trace(&sound());
    let judge = |other: &Trace| {
        let again = one.first_difference(other);
        judge(&plan(), &system(), &one, &Ended::Finished, again.as_ref())
    };
    assert_eq!(judge(&one), Verdict::Pass);
    let mut events = sound();
    events[2] = ended(1_011, 1, ok());
    let reasons = judge(&trace(&events)).reasons().to_vec();
    assert_eq!(reasons[0].check, "replayed");
    assert!(reasons[0].what.contains("event 2 differs"));
}

#[test]
fn a_violated_invariant_fails_by_its_name_and_many_are_counted() {
    let five = |_: &Trace| (1..=5).map(|n| format!("violation {n}")).collect();
    let system = System::new("x").invariant("never five", five);
    let verdict = judge(&plan(), &system, &trace(&sound()), &Ended::Finished, None);
    assert_eq!(verdict.word(), "fail");
    let last = verdict.reasons().last().unwrap().to_string();
    assert_eq!(last, "never five: and 2 more");
}

#[test]
fn a_run_cut_short_is_in_doubt_whatever_is_missing_from_it() {
    let ended = Ended::TooSlow { at_us: 1_000 };
    let verdict = judge(&plan(), &system(), &trace(&sound()[..2]), &ended, None);
    assert_eq!(verdict.word(), "inconclusive");
}

#[test]
fn a_node_with_too_many_tasks_in_the_end_is_named_with_what_they_are() {
    let mut checked = plan();
    checked.checks.tasks_max = Some(3);
    let mut events = sound();
    assert_eq!(verdict(&checked, &events).reasons()[0].check, "leaked");
    assert_eq!(verdict(&checked, &events).word(), "inconclusive");
    let left = |tasks: Value| {
        let name = crate::record::TASKS.to_owned();
        event(9_000, EventKind::Note { name, value: tasks })
    };
    events.push(left(json!({ "serve": 1, "drive": 2 })));
    assert_eq!(verdict(&checked, &events), Verdict::Pass);
    *events.last_mut().unwrap() = left(json!({ "serve": 1, "drive": 3 }));
    let found = verdict(&checked, &events).reasons()[0].to_string();
    assert_eq!(
        found,
        "leaked: client-1 has 4 tasks in the end, most of them 3 of \"drive\", 1 of \"serve\"; \
         at most 3"
    );
}

#[test]
fn a_broker_with_too_many_subscriptions_in_the_end_is_named_where_it_told_so() {
    let mut checked = plan();
    checked.checks.subscriptions_max = Some(1);
    let mut events = sound();
    assert_eq!(verdict(&checked, &events).reasons()[0].check, "leaked");
    assert_eq!(verdict(&checked, &events).word(), "inconclusive");
    let held = |count: u64| {
        let name = crate::record::HELD.to_owned();
        let value = json!({ "subscriptions": count });
        event(2_000, EventKind::Note { name, value })
    };
    // What a crash took with it is not left.
    events.insert(3, held(7));
    assert_eq!(verdict(&checked, &events), Verdict::Pass);
    events.insert(6, held(2));
    let found = verdict(&checked, &events).reasons()[0].clone();
    assert_eq!(
        found.to_string(),
        "leaked: the broker of client-1 has 2 subscriptions in the end; at most 1"
    );
    assert_eq!(found.blames, [Blame::Event(6)]);
    events.insert(7, held(1));
    assert_eq!(verdict(&checked, &events), Verdict::Pass);
}
