//! What models are told of a trace, and what is said of one that no order explains.

use serde_json::json;

use super::super::model::{KeyValue, Register};
use super::*;
use crate::trace::Event;

fn push(trace: &mut Trace, at_us: u64, node: &str, kind: EventKind) {
    let node = Some(node.into());
    trace.push(Event { at_us, node, kind });
}

fn call(trace: &mut Trace, at_us: u64, operation: u64, name: &str, value: u64) {
    let node = format!("client-{}", operation % 2);
    let name = name.to_owned();
    let call = EventKind::Call {
        operation,
        name,
        key: 4,
        value,
    };
    push(trace, at_us, &node, call);
}

fn end(trace: &mut Trace, at_us: u64, operation: u64, outcome: OperationOutcome) {
    let node = format!("client-{}", operation % 2);
    push(
        trace,
        at_us,
        &node,
        EventKind::Outcome { operation, outcome },
    );
}

fn told(reply: Value) -> OperationOutcome {
    OperationOutcome::Ok { reply }
}

fn failed(kind: &str) -> OperationOutcome {
    OperationOutcome::Failed {
        kind: kind.to_owned(),
        message: String::new(),
    }
}

/// A write of 7 that ended so, and then a read that was told so.
fn written_then_read(outcome: OperationOutcome, read: Value) -> Trace {
    let mut trace = Trace::new("p", "test");
    call(&mut trace, 1_000, 1, "put", 7);
    end(&mut trace, 2_000, 1, outcome);
    call(&mut trace, 3_000, 2, "get", 0);
    end(&mut trace, 4_000, 2, told(read));
    trace
}

fn judge(system: &System, trace: &Trace) -> Judged {
    let (_, holds) = &system.invariants()[0];
    holds(trace)
}

#[test]
fn a_failed_operation_may_have_been_done_and_one_that_never_began_was_not() {
    let system = System::new("x").linearizable(KeyValue);
    assert_eq!(system.invariants()[0].0, "linearizable key value");
    let holds = |outcome: OperationOutcome, read: Value| {
        judge(&system, &written_then_read(outcome, read)) == Judged::default()
    };
    assert!(holds(told(json!(null)), json!(7)) && !holds(told(json!(null)), json!(null)));
    for outcome in [
        failed("unavailable"),
        failed("deadline exceeded"),
        // That of a write which was fenced off; it answers a swap alone.
        failed("failed precondition"),
        OperationOutcome::Unfinished,
        OperationOutcome::Crashed,
    ] {
        assert!(holds(outcome.clone(), json!({ "value": 7 })), "{outcome:?}");
        assert!(holds(outcome, json!(null)));
    }
    assert!(!holds(failed("invalid argument"), json!(7)));
    assert!(!holds(OperationOutcome::Skipped, json!(7)));
}

#[test]
fn a_swap_is_held_against_what_it_expected() {
    let system = System::new("x").linearizable(Register);
    let swap = |expected: Value, outcome: OperationOutcome| {
        let mut trace = Trace::new("p", "test");
        call(&mut trace, 1_000, 1, "compare_and_swap", 7);
        let asks = json!({ "operation": 1, "asks": { "expected": expected } });
        let note = EventKind::Note {
            name: ASKS.to_owned(),
            value: asks,
        };
        push(&mut trace, 1_000, "client-1", note);
        end(&mut trace, 2_000, 1, outcome);
        judge(&system, &trace) == Judged::default()
    };
    assert!(swap(json!(null), told(json!(true))));
    assert!(!swap(json!(null), told(json!(false))));
    assert!(!swap(json!(null), failed("failed precondition")));
    assert!(!swap(json!(3), told(json!(true))));
    assert!(swap(json!(3), failed("failed precondition")));
}

#[test]
fn a_violation_is_told_with_its_operations_and_the_point_where_it_is_one() {
    let system = System::new("x").linearizable(KeyValue);
    let judged = judge(&system, &written_then_read(told(json!(null)), json!(5)));
    insta::assert_snapshot!(judged.violations[0].what);
    let found = judged.violations[0].contradiction.as_ref().unwrap();
    assert_eq!(found.last, 2);
    let blamed = found.operations.iter();
    let blamed: Vec<Blame> = blamed
        .map(|made| Blame::Operation(made.operation))
        .collect();
    assert_eq!(judged.violations[0].blames, blamed);
}

#[test]
fn sequential_allows_what_only_a_clock_would_refuse() {
    let system = System::new("x").sequential(KeyValue);
    let stale = written_then_read(told(json!(null)), json!(null));
    assert_eq!(judge(&system, &stale), Judged::default());
    let invented = written_then_read(told(json!(null)), json!(5));
    let judged = judge(&system, &invented);
    assert_eq!(judged.violations.len(), 1);
    insta::assert_snapshot!(judged.violations[0].what, @r"
    no order explains key 4
    operation 2 (get by client-0, 0.003000 s to 0.004000 s): Read, told Value(Some(5))
    impossible when operation 2 returns: by then it could be None, Some(7)
    ");
}
