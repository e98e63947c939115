//! What is told of a run made by hand: an answer that a crash takes back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::check::Verdict;
use crate::engine::{Ended, Outcome};
use crate::fault::{Fault, PlannedFault};
use crate::latency::Latency as Latencies;
use crate::operation::PlannedOperation;
use crate::plan::{FORMAT as PLAN_FORMAT, Plan, PlannedNode};
use crate::scenario::{Checks, Measure, Network, Quantity};
use crate::trace::{Blame, Event, Trace};

fn operation(id: u64, at_ms: u64, node: &str, name: &str) -> PlannedOperation {
    PlannedOperation {
        id,
        at_ms,
        node: node.to_owned(),
        workload: "workload-1".to_owned(),
        operation: name.to_owned(),
        key: 1,
        value: id,
        timeout_ms: 100,
    }
}

fn plan() -> Plan {
    let fault = |at_ms, phase| PlannedFault {
        id: "fault-1".to_owned(),
        at_ms,
        phase,
        fault: Fault::Crash {
            node: "keeper-1".to_owned(),
        },
    };
    let node = |name: &str| PlannedNode {
        name: name.to_owned(),
        role: name.split('-').next().unwrap().to_owned(),
    };
    Plan {
        format: PLAN_FORMAT,
        scenario: "taken_back".to_owned(),
        system: "ledger".to_owned(),
        seed: 5,
        duration_ms: 2_000,
        nodes: ["keeper-1", "client-1", "client-2"].map(node).into(),
        faults: vec![fault(500, Phase::Begin), fault(900, Phase::End)],
        operations: vec![
            operation(1, 400, "client-1", "write"),
            operation(2, 1_000, "client-2", "read"),
        ],
        network: Network::new(Latencies::Constant { us: 1000 }),
        schedule: Default::default(),
        buggify: None,
        parameters: Default::default(),
        checks: Checks::default(),
        swarm: None,
        recorded: None,
        expected: None,
    }
}

fn message(from: &str, to: &str) -> EventKind {
    EventKind::Message {
        from: from.into(),
        to: to.into(),
        bytes: 64,
        outcome: MessageOutcome::Sent,
    }
}

fn call(operation: u64, name: &str) -> EventKind {
    EventKind::Call {
        operation,
        name: name.to_owned(),
        key: 1,
        value: operation,
    }
}

fn answer(operation: u64, reply: serde_json::Value) -> EventKind {
    let outcome = OperationOutcome::Ok { reply };
    EventKind::Outcome { operation, outcome }
}

fn fault(phase: Phase) -> EventKind {
    EventKind::Fault {
        fault: "fault-1".to_owned(),
        phase,
        what: "crash keeper-1".to_owned(),
    }
}

fn said(value: u64) -> EventKind {
    EventKind::Note {
        name: "has".to_owned(),
        value: json!(value),
    }
}

/// The run in which the second reading is answered so.
fn run_answered(reply: serde_json::Value) -> Run {
    let read = |message| EventKind::Received { message };
    let events = [
        (0, "keeper-1", EventKind::NodeStarted { incarnation: 1 }),
        (400_000, "client-1", call(1, "write")),
        (400_000, "client-1", message("client-1", "keeper-1")),
        (401_000, "keeper-1", read(2)),
        (401_000, "keeper-1", said(1)),
        (401_500, "keeper-1", said(1)),
        (401_500, "keeper-1", message("keeper-1", "client-1")),
        (402_500, "client-1", read(6)),
        (402_500, "client-1", answer(1, json!(1))),
        (500_000, "", fault(Phase::Begin)),
        (500_000, "keeper-1", EventKind::NodeCrashed),
        (900_000, "", fault(Phase::End)),
        (
            900_000,
            "keeper-1",
            EventKind::NodeStarted { incarnation: 2 },
        ),
        (1_000_000, "client-2", call(2, "read")),
        (1_000_000, "client-2", message("client-2", "keeper-1")),
        (1_001_000, "keeper-1", read(14)),
        (1_001_000, "keeper-1", message("keeper-1", "client-2")),
        (1_001_500, "keeper-1", message("keeper-1", "client-1")),
        (1_002_000, "client-2", read(16)),
        (1_002_000, "client-2", answer(2, reply)),
        (1_003_000, "client-2", said(0)),
    ];
    let mut trace = Trace::new(plan().digest(), "event");
    for (at_us, node, kind) in events {
        let node = (!node.is_empty()).then(|| Arc::from(node));
        trace.push(Event { at_us, node, kind });
    }
    let mut reason = crate::check::Reason::new("nothing is taken back", "operation 2 saw null");
    reason.blames = vec![Blame::Operation(1), Blame::Operation(2)];
    Run {
        plan: plan(),
        engine: "event",
        outcome: Outcome {
            trace,
            ended: Ended::Finished,
            wall: Duration::ZERO,
        },
        verdict: Verdict::Fail(vec![reason]),
    }
}

fn text_of(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_story_has_what_led_to_the_failure_in_order_and_says_nothing_twice() {
    let run = run_answered(json!(null));
    let report = Report {
        wall: None,
        ..Report::new(&run, "again")
    };
    insta::assert_snapshot!(text_of(|out| report.write_text(out)));
}

#[test]
fn a_slice_leaves_out_what_came_after_and_what_nobody_heard() {
    let slice = Slice::of(&run_answered(json!(null))).unwrap();
    assert_eq!(slice.blamed, [1, 8, 13, 19]);
    // The faults have no clock, the message to client-1 was never read, the last note is later.
    let left_out: Vec<usize> = (0..21).filter(|at| !slice.past[*at]).collect();
    assert_eq!(left_out, [9, 11, 17, 20]);
    assert_eq!(slice.faults, [0]);
}

#[test]
fn messages_are_counted_by_what_became_of_them() {
    let messages = Report::new(&run_answered(json!(null)), "again").messages;
    assert_eq!((messages.sent, messages.unread), (5, 1));
}

#[test]
fn two_runs_are_told_by_where_they_part_and_what_ended_otherwise() {
    let runs = [run_answered(json!(null)), run_answered(json!(1))];
    let reports = [&runs[0], &runs[1]].map(|run| Report::new(run, "again"));
    let parted = Parted::of([(&runs[0], &reports[0]), (&runs[1], &reports[1])]);
    assert_eq!(parted.index, Some(19));
    let mut renamed = run_answered(json!(1));
    renamed.plan.operations[1].operation = "write".to_owned();
    let told = Parted::of([(&runs[0], &reports[0]), (&renamed, &reports[1])]);
    assert_eq!(told.operations_count, 0);
    insta::assert_snapshot!(text_of(|out| parted.write_text(out)));
}

#[test]
fn what_two_runs_have_measured_stands_side_by_side() {
    let runs = [run_answered(json!(null)), run_answered(json!(1))];
    let reports = [&runs[0], &runs[1]].map(|run| Report::new(run, "again"));
    let measured = |id: &str, figure| Measured {
        measure: Measure {
            id: id.to_owned(),
            what: Quantity::Goodput { workload: None },
            from_ms: 0,
            until_ms: 1_000,
            min: Some(2.0),
            max: None,
        },
        figure,
    };
    let [mut one, mut other] = reports;
    one.measured = vec![measured("work", Some(3.0)), measured("rest", None)];
    other.measured = vec![measured("work", Some(1.5))];
    let parted = Parted::of([(&runs[0], &one), (&runs[1], &other)]);
    let told: Vec<String> = parted.table[parted.table.len() - 2..]
        .iter()
        .map(|line| line.join(" | "))
        .collect();
    assert_eq!(
        told,
        [
            "work | 3.000, least 2 | 1.500, least 2",
            "rest | nothing to measure, least 2 | not measured"
        ]
    );
}
