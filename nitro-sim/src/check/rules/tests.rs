//! Each rule on traces that keep it, and on traces that do not.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::trace::Event;

fn note(at_us: u64, node: &str, name: &str, value: Value) -> Event {
    let name = name.to_owned();
    Event {
        at_us,
        node: Some(node.into()),
        kind: EventKind::Note { name, value },
    }
}

fn judged(system: &System, events: &[Event]) -> Judged {
    let mut trace = Trace::new("p", "test");
    for event in events {
        trace.push(event.clone());
    }
    (system.invariants()[0].1)(&trace)
}

fn breaches(system: &System, events: &[Event]) -> Vec<Breach> {
    judged(system, events).violations
}

fn violations(system: &System, events: &[Event]) -> Vec<String> {
    let breaches = breaches(system, events);
    breaches.into_iter().map(|breach| breach.what).collect()
}

#[test]
fn a_term_has_one_leader() {
    let system = System::new("x").one_leader_per_term("leads");
    let leads = |at, node, term| note(at, node, "leads", json!({ "term": term }));
    let good = [leads(1, "a-1", 1), leads(2, "a-1", 1), leads(3, "a-2", 2)];
    assert!(violations(&system, &good).is_empty());
    let bad = [leads(1, "a-1", 1), leads(2, "a-2", 1)];
    let found = violations(&system, &bad);
    assert_eq!(found, ["a-2 leads in term 1, which is a-1's"]);
    let blamed = &breaches(&system, &bad)[0].blames;
    assert_eq!(*blamed, [Blame::Event(0), Blame::Event(1)]);
}

#[test]
fn a_token_does_not_go_back_and_keys_are_apart() {
    let system = System::new("x").fenced("worked");
    let worked = |at, key, token| note(at, "a-1", "worked", json!({ "key": key, "token": token }));
    let good = [
        worked(1, 1, 5),
        worked(2, 1, 5),
        worked(3, 2, 3),
        worked(4, 1, 6),
    ];
    assert!(violations(&system, &good).is_empty());
    let bad = [worked(1_000, 1, 5), worked(2_000, 1, 4)];
    let found = violations(&system, &bad);
    assert_eq!(
        found,
        ["a-1 worked with token 4 at 0.002 s, after 5 had been used at 0.001 s"]
    );
    let blamed = &breaches(&system, &bad)[0].blames;
    assert_eq!(*blamed, [Blame::Event(0), Blame::Event(1)]);
}

fn read(called: u64, returned: u64, operation: u64, told: u64) -> [Event; 2] {
    let event = |at_us, kind| Event {
        at_us,
        node: Some("a-1".into()),
        kind,
    };
    let name = "read".to_owned();
    let call = EventKind::Call {
        operation,
        name,
        key: 0,
        value: 0,
    };
    let reply = json!(told);
    let outcome = EventKind::Outcome {
        operation,
        outcome: OperationOutcome::Ok { reply },
    };
    [event(called, call), event(returned, outcome)]
}

#[test]
fn reads_of_one_node_do_not_go_back_unless_they_are_concurrent() {
    let system = System::new("x").monotonic_reads("read");
    let [first, second] = [read(1, 2, 1, 5), read(3, 4, 2, 4)];
    let found = violations(&system, &[first.clone(), second].concat());
    assert_eq!(
        found,
        ["operation 2 of a-1 read 4 of key 0, after operation 1 had read 5"]
    );
    let [call, outcome] = first;
    let [other_call, other_outcome] = read(1, 3, 2, 4);
    let beside = [call, other_call, outcome, other_outcome];
    assert!(violations(&system, &beside).is_empty());
}

/// An operation `send` of a value, acknowledged a millisecond after its call.
fn sent(at_us: u64, operation: u64, value: u64, reply: Value) -> [Event; 2] {
    let event = |at_us, kind| Event {
        at_us,
        node: Some("a-1".into()),
        kind,
    };
    let name = "send".to_owned();
    let call = EventKind::Call {
        operation,
        name,
        key: 0,
        value,
    };
    let outcome = OperationOutcome::Ok { reply };
    let outcome = EventKind::Outcome { operation, outcome };
    [event(at_us, call), event(at_us + 1_000, outcome)]
}

#[test]
fn what_was_acknowledged_is_handled_in_time_or_lost() {
    let within = Duration::from_secs(1);
    let system = System::new("x").delivered("send", "handled", within);
    let handled = |at, value| note(at, "b-1", "handled", json!({ "value": value }));
    let [call, outcome] = sent(0, 1, 7, json!(null));
    let end = note(5_000_000, "b-1", "end", json!(null));
    // Twice is at least once.
    let good = [&call, &outcome, &handled(9, 7), &handled(10, 7), &end].map(Clone::clone);
    assert!(violations(&system, &good).is_empty());
    let bad = [call.clone(), outcome.clone(), handled(9, 8), end];
    let found = violations(&system, &bad);
    assert_eq!(
        found,
        ["operation 1 was acknowledged at 0.001 s and 7 was never handled"]
    );
    // Neither one that is not due yet nor one that was not acknowledged is lost.
    assert!(violations(&system, &[call.clone(), outcome]).is_empty());
    assert!(violations(&system, &[call]).is_empty());
}

#[test]
fn nothing_is_handled_twice_or_given_out_twice() {
    let once = System::new("x").delivered_once("handled");
    let handled = |node, value| note(1, node, "handled", json!({ "value": value }));
    assert!(violations(&once, &[handled("a-1", 1), handled("a-1", 2)]).is_empty());
    let found = violations(&once, &[handled("a-1", 1), handled("a-2", 1)]);
    assert_eq!(found, ["1 was handled by a-1 and by a-2"]);

    let unique = System::new("x").unique("send");
    let given = |first, second| [sent(0, 1, 0, first), sent(0, 2, 0, second)].concat();
    assert!(violations(&unique, &given(json!(1), json!(2))).is_empty());
    let found = violations(&unique, &given(json!(1), json!({ "value": 1 })));
    assert_eq!(found, ["operations 1 and 2 were both given 1"]);
}

#[test]
fn nodes_agree_in_the_end_and_one_alone_agrees_with_nobody() {
    let system = System::new("x").agreed("holds", Duration::from_secs(1));
    let holds = |at_us, node, value| note(at_us, node, "holds", json!({ "a": value, "b": 0 }));
    let good = [holds(1, "a-1", 1), holds(2, "a-2", 2), holds(3, "a-1", 2)];
    assert!(violations(&system, &good).is_empty());
    let [call, outcome] = sent(2_000, 1, 7, json!(null));
    let differ = [
        call,
        outcome,
        holds(5_000, "a-1", 1),
        holds(6_000, "a-2", 2),
    ];
    let end = |at_us| note(at_us, "a-1", "end", json!(null));
    let found = violations(&system, &[&differ[..], &[end(1_002_000)]].concat());
    assert_eq!(found, ["a-1 holds \"a\": 1 in the end, a-2 \"a\": 2"]);
    // Sooner than that they may yet agree, and whoever is alone agrees with nobody.
    for unsure in [&[&differ[..], &[end(1_001_000)]].concat(), &differ[..3]] {
        let judged = judged(&system, unsure);
        assert_eq!((judged.violations.len(), judged.doubts.len()), (0, 1));
    }
}
