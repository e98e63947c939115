//! What a slice holds: all that a failure can have come of, and nothing else.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::fault::Fault;
use crate::trace::MessageOutcome;

fn event(at_us: u64, node: &str, kind: EventKind) -> Event {
    Event {
        at_us,
        node: Some(Arc::from(node)),
        kind,
    }
}

fn act() -> EventKind {
    EventKind::NodeStarted { incarnation: 1 }
}

fn message(from: &str, to: &str) -> EventKind {
    EventKind::Message {
        from: from.into(),
        to: to.into(),
        bytes: 1,
        outcome: MessageOutcome::Sent,
    }
}

fn trace(events: Vec<Event>) -> Trace {
    let mut trace = Trace::new("p", "test");
    for event in events {
        trace.push(event);
    }
    trace
}

/// A asks B, who asks C; D does something meanwhile, and so does A.
fn asked() -> Trace {
    trace(vec![
        event(1, "a", act()),
        event(2, "a", message("a", "b")),
        event(3, "d", act()),
        event(4, "b", EventKind::Received { message: 1 }),
        event(5, "b", message("b", "c")),
        event(6, "a", act()),
        event(7, "c", EventKind::Received { message: 4 }),
        event(8, "c", act()),
        event(9, "b", act()),
    ])
}

#[test]
fn a_slice_is_what_happened_before_the_blamed_and_between_them() {
    let slice = Slice::before(&asked(), &[], vec![1, 7]);
    let past = [true, true, false, true, true, false, true, true, false];
    assert_eq!(slice.past, past);
    // So short a thread takes in what is left of the past.
    assert_eq!(slice.thread, past);
    assert_eq!((slice.past_count(), slice.window_us), (6, [1, 8]));
}

#[test]
fn a_thread_begins_with_the_first_that_is_blamed_once_it_is_long() {
    let mut events: Vec<Event> = (1..=100).map(|at| event(at, "a", act())).collect();
    events.push(event(101, "b", act()));
    let slice = Slice::before(&trace(events), &[], vec![20, 90]);
    let thread = slice.thread.iter().enumerate();
    let thread: Vec<usize> = thread
        .filter(|(_, is_in)| **is_in)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(thread, (20..=90).collect::<Vec<_>>());
    assert_eq!((slice.past_count(), slice.window_us), (91, [21, 91]));
}

/// What was on its way for long, and what was wrong with the network then, is what matters.
#[test]
fn a_thread_begins_with_the_message_that_brought_what_is_blamed_and_the_fault_of_that_time() {
    let mut events = vec![
        event(5_000, "a", act()),
        event(6_000, "a", message("a", "c")),
        event(7_000, "a", act()),
    ];
    events.extend((100..150).map(|at| event(at * 1000, "c", act())));
    events.push(event(150_000, "c", EventKind::Received { message: 1 }));
    events.push(event(150_000, "c", act()));
    let last = events.len() - 1;
    let fault = |at_ms, phase| PlannedFault {
        id: "cut".to_owned(),
        at_ms,
        phase,
        fault: Fault::Pause {
            node: "a".to_owned(),
        },
    };
    let faults = [fault(4, Phase::Begin), fault(9, Phase::End)];
    let trace = trace(events);
    let slice = Slice::before(&trace, &faults, vec![30, last]);
    assert_eq!(slice.thread[..3], [false, true, false]);
    assert_eq!((slice.window_us, slice.faults), ([4_000, 150_000], vec![0]));
    // One that began long before would leave nothing else to be seen.
    let of_old = [fault(4, Phase::Begin)];
    let late = Slice::before(&trace, &of_old, vec![last - 1]);
    assert_eq!(late.window_us[0], 111_000);
}

#[test]
fn the_faults_in_force_are_those_that_overlap_the_thread() {
    let fault = |id: &str, at_ms, phase| PlannedFault {
        id: id.to_owned(),
        at_ms,
        phase,
        fault: Fault::Pause {
            node: "a".to_owned(),
        },
    };
    let resume = PlannedFault {
        fault: Fault::Resume {
            node: "a".to_owned(),
        },
        ..fault("resumed", 5, Phase::Begin)
    };
    let faults = [
        fault("over", 1, Phase::Begin),
        fault("over", 3, Phase::End),
        fault("undone", 2, Phase::Begin),
        resume,
        fault("before", 8, Phase::Begin),
        fault("during", 15, Phase::Begin),
        fault("during", 16, Phase::End),
        fault("after", 30, Phase::Begin),
    ];
    let in_force = in_force(&faults, [10_000, 20_000]);
    let ids: Vec<&str> = in_force.iter().map(|at| faults[*at].id.as_str()).collect();
    assert_eq!(ids, ["before", "during"]);
}

proptest! {
    #[test]
    fn a_thread_is_part_of_the_past_and_holds_what_is_blamed(
        steps in proptest::collection::vec((0..3usize, 0..3usize), 1..80),
        first in 0..80usize,
        second in 0..80usize,
    ) {
        let names = ["a", "b", "c"];
        let mut waiting: Vec<(u64, usize)> = Vec::new();
        let mut events = Vec::new();
        for (at, (node, to)) in steps.iter().enumerate() {
            let read = waiting.iter().position(|(_, to)| to == node);
            let kind = match read.filter(|_| at % 2 == 0) {
                Some(read) => EventKind::Received { message: waiting.remove(read).0 },
                None if node == to => act(),
                None => {
                    waiting.push((at as u64, *to));
                    message(names[*node], names[*to])
                }
            };
            events.push(event(at as u64, names[*node], kind));
        }
        let mut blamed = vec![first % steps.len(), second % steps.len()];
        blamed.sort_unstable();
        blamed.dedup();
        let slice = Slice::before(&trace(events), &[], blamed.clone());
        for at in blamed {
            prop_assert!(slice.thread[at] && slice.past[at]);
        }
        for at in 0..steps.len() {
            prop_assert!(slice.past[at] || !slice.thread[at]);
        }
        prop_assert!(slice.thread_count() >= slice.past_count().min(THREAD_MIN));
    }
}
