//! The causal slice of a failure: what happened before the events that a check blames, and what
//! lies between them and the messages that brought them.

use crate::check::Verdict;
use crate::fault::{Phase, PlannedFault};
use crate::run::Run;
use crate::trace::{Clocks, Event, EventKind, OperationOutcome, Trace};

/// A thread of fewer events is filled up with the last ones of the past, or it would show that
/// something went wrong and not how.
const THREAD_MIN: usize = 40;

/// The events that a failure can have come of. Events are named by their place in the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The events of what is blamed, in order.
    pub blamed: Vec<usize>,
    /// The messages that brought them, as far as that can be told, in order.
    pub brought: Vec<usize>,
    /// Of each event of the trace, whether it happened before a blamed one, or is one.
    pub past: Vec<bool>,
    /// Of each event of the past, whether a blamed one, or a message that brought one, happened
    /// before it too: the thread that joins them. At least the last [`THREAD_MIN`] of the past
    /// where there are so many.
    pub thread: Vec<bool>,
    /// When the thread begins and ends, in microseconds. A fault that was in force when it begins
    /// is in it from its own beginning, if that does not make it more than twice as long.
    pub window_us: [u64; 2],
    /// The faults in force during the thread, by their place in the plan.
    pub faults: Vec<usize>,
}

impl Slice {
    /// The slice of a run's first reason that blames something; none of a run that did not fail.
    pub fn of(run: &Run) -> Option<Self> {
        let Verdict::Fail(reasons) = &run.verdict else {
            return None;
        };
        let trace = &run.outcome.trace;
        let named = reasons.iter().map(|reason| trace.events_of(&reason.blames));
        let blamed = named.into_iter().find(|blamed| !blamed.is_empty());
        let blamed = blamed.unwrap_or_else(|| last_sign(trace).into_iter().collect());
        (!blamed.is_empty()).then(|| Self::before(trace, &run.plan.faults, blamed))
    }

    /// The slice of these events of a trace.
    pub fn before(trace: &Trace, faults: &[PlannedFault], blamed: Vec<usize>) -> Self {
        let events = trace.events();
        let clocks = Clocks::of(trace);
        let past = clocks.past_of(&blamed);
        let brought = blamed.iter().flat_map(|event| brought(events, *event));
        let mut brought: Vec<usize> = brought.collect();
        brought.sort_unstable();
        let first = [&blamed[..], &brought[..]].concat();
        let is_between = |event: usize| {
            past[event] && first.iter().any(|first| clocks.is_known_to(*first, event))
        };
        let mut thread: Vec<bool> = (0..events.len()).map(is_between).collect();
        // What is done from outside has no clock, and may be blamed all the same.
        for event in &blamed {
            thread[*event] = true;
        }
        let mut missing = THREAD_MIN.saturating_sub(count(&thread));
        for event in (0..events.len()).rev() {
            if missing > 0 && past[event] && !thread[event] {
                thread[event] = true;
                missing -= 1;
            }
        }
        let place = |found: Option<usize>| found.map_or(0, |event| events[event].at_us);
        let window_us = [
            place(thread.iter().position(|is_in| *is_in)),
            place(thread.iter().rposition(|is_in| *is_in)),
        ];
        let window_us = with_beginnings(faults, window_us);
        Self {
            faults: in_force(faults, window_us),
            blamed,
            brought,
            past,
            thread,
            window_us,
        }
    }

    /// How many events happened before what is blamed, themselves included.
    pub fn past_count(&self) -> usize {
        count(&self.past)
    }

    /// How many of those are in the thread.
    pub fn thread_count(&self) -> usize {
        count(&self.thread)
    }
}

/// The messages that brought an event, as far as that can be told: those that its node read in the
/// same moment. They may have been on their way for long.
fn brought(events: &[Event], event: usize) -> impl Iterator<Item = usize> {
    let Event { at_us, node, .. } = &events[event];
    let moment = events[..event].iter().rev();
    let moment = moment.take_while(|earlier| earlier.at_us == *at_us);
    let of_node = moment.filter(|earlier| earlier.node == *node);
    of_node.filter_map(|earlier| match earlier.kind {
        EventKind::Received { message } => usize::try_from(message).ok(),
        _ => None,
    })
}

/// A window that begins with what was in force when it began.
fn with_beginnings(faults: &[PlannedFault], [from_us, to_us]: [u64; 2]) -> [u64; 2] {
    let earliest_us = from_us.saturating_sub(to_us - from_us);
    let begun = in_force(faults, [from_us, from_us]).into_iter();
    let begun = begun.map(|place| faults[place].at_ms * 1000);
    let begun = begun.filter(|at_us| *at_us >= earliest_us).min();
    [begun.unwrap_or(from_us).min(from_us), to_us]
}

fn count(events: &[bool]) -> usize {
    events.iter().filter(|is_in| **is_in).count()
}

/// The last event that something is wrong, for a check that blames nothing; or else the last
/// that any node had.
fn last_sign(trace: &Trace) -> Option<usize> {
    let is_sign = |event: &Event| match &event.kind {
        EventKind::Outcome { outcome, .. } => !matches!(outcome, OperationOutcome::Ok { .. }),
        EventKind::TaskPanicked { .. } | EventKind::Broken { .. } => true,
        EventKind::NodeStopped { error } => error.is_some(),
        _ => false,
    };
    let events = trace.events();
    let last = events.iter().rposition(is_sign);
    last.or_else(|| events.iter().rposition(|event| event.node.is_some()))
}

/// The beginnings of the faults that were in force at some time of a window, by their place.
fn in_force(faults: &[PlannedFault], [from_us, to_us]: [u64; 2]) -> Vec<usize> {
    let is_in = |(place, fault): (usize, &PlannedFault)| {
        let ends = super::ends::of(faults, place);
        let begins = fault.phase == Phase::Begin && fault.at_ms * 1000 <= to_us;
        let goes_on = ends.is_none_or(|end_ms| end_ms * 1000 >= from_us);
        (begins && goes_on).then_some(place)
    };
    faults.iter().enumerate().filter_map(is_in).collect()
}

#[cfg(test)]
mod tests;
