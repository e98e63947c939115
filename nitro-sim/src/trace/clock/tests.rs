//! Happened-before on traces made by hand and by chance, against the definition.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{Event, EventKind, MessageOutcome, Trace};
use super::Clocks;

/// A step of a run made by chance.
#[derive(Clone, Debug)]
enum Step {
    Act(usize),
    Send(usize, usize),
    /// Reads one of the messages that wait, if any does.
    Read(usize),
    Fault,
}

fn name(node: usize) -> Arc<str> {
    format!("node-{node}").into()
}

fn trace(steps: &[Step]) -> Trace {
    let mut trace = Trace::new("p", "test");
    let mut waiting: Vec<(u64, usize)> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let (node, kind) = match step {
            Step::Act(node) => (Some(*node), EventKind::NodeCrashed),
            Step::Send(from, to) => {
                waiting.push((trace.events().len() as u64, *to));
                let kind = EventKind::Message {
                    from: name(*from),
                    to: name(*to),
                    bytes: 1,
                    outcome: MessageOutcome::Sent,
                };
                (Some(*from), kind)
            }
            Step::Read(index) if !waiting.is_empty() => {
                let (message, to) = waiting.remove(index % waiting.len());
                (Some(to), EventKind::Received { message })
            }
            Step::Read(_) | Step::Fault => (None, EventKind::NodeCrashed),
        };
        let (at_us, node) = (at as u64, node.map(name));
        trace.push(Event { at_us, node, kind });
    }
    trace
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4usize).prop_map(Step::Act),
        (0..4usize, 1..4usize).prop_map(|(from, gap)| Step::Send(from, (from + gap) % 4)),
        (0..8usize).prop_map(Step::Read),
        Just(Step::Fault),
    ];
    proptest::collection::vec(step, 0..40)
}

/// Happened-before as it is defined: the events of a node in order, a message before its reading,
/// and whatever follows from these.
fn defined(trace: &Trace) -> Vec<Vec<bool>> {
    let events = trace.events();
    let mut before = vec![vec![false; events.len()]; events.len()];
    for (place, event) in events.iter().enumerate() {
        let Some(node) = &event.node else { continue };
        let earlier = (0..place)
            .rev()
            .find(|at| events[*at].node.as_ref() == Some(node));
        let sent = match event.kind {
            EventKind::Received { message } => Some(message as usize),
            _ => None,
        };
        for direct in earlier.into_iter().chain(sent) {
            for row in &mut before {
                row[place] |= row[direct];
            }
            before[direct][place] = true;
        }
    }
    before
}

proptest! {
    #[test]
    fn the_clocks_say_what_the_definition_says(steps in steps()) {
        let trace = trace(&steps);
        let (clocks, defined) = (Clocks::of(&trace), defined(&trace));
        for (one, row) in defined.iter().enumerate() {
            for (other, is_before) in row.iter().enumerate() {
                prop_assert_eq!(clocks.happened_before(one, other), *is_before);
            }
        }
    }

    #[test]
    fn happened_before_is_a_partial_order_that_time_agrees_with(steps in steps()) {
        let clocks = Clocks::of(&trace(&steps));
        let before = |one, other| clocks.happened_before(one, other);
        for a in 0..steps.len() {
            prop_assert!(!before(a, a));
            for b in 0..steps.len() {
                prop_assert!(!before(a, b) || a < b);
                prop_assert!(!(before(a, b) && before(b, a)));
                for c in 0..steps.len() {
                    prop_assert!(!(before(a, b) && before(b, c)) || before(a, c));
                }
            }
        }
    }

    #[test]
    fn a_past_holds_all_that_happened_before_and_nothing_else(
        steps in steps(),
        blamed in proptest::collection::vec(0..40usize, 1..3),
    ) {
        let trace = trace(&steps);
        let (clocks, defined) = (Clocks::of(&trace), defined(&trace));
        let blamed: Vec<usize> = blamed.into_iter().filter(|at| *at < steps.len()).collect();
        let past = clocks.past_of(&blamed);
        for (event, row) in defined.iter().enumerate() {
            let has_node = trace.events()[event].node.is_some();
            let is_before = blamed.iter().any(|at| row[*at] || *at == event && has_node);
            prop_assert_eq!(past[event], is_before);
        }
    }
}

#[test]
fn a_message_is_sent_before_it_is_read_and_what_nobody_told_is_concurrent() {
    let trace = trace(&[
        Step::Act(0),
        Step::Act(1),
        Step::Send(0, 1),
        Step::Act(0),
        Step::Read(0),
        Step::Act(1),
    ]);
    let clocks = Clocks::of(&trace);
    assert!(clocks.happened_before(2, 4) && clocks.happened_before(0, 5));
    for (one, other) in [(0, 1), (3, 4), (3, 5), (1, 2)] {
        assert!(!clocks.happened_before(one, other) && !clocks.happened_before(other, one));
    }
    assert_eq!(clocks.past_of(&[4]), [true, true, true, false, true, false]);
}
