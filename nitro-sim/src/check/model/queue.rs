//! A queue: first in, first out.

use std::collections::VecDeque;

use super::{Called, Done, Heard, Model, Spoken, number_in};

/// A queue, empty at first.
///
/// Operations: `enqueue` (of the operation's value) and `dequeue` (a reply of a number, or null
/// from an empty queue).
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

/// What is done to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// A value is put in at the end.
    In(u64),
    /// What is at the front is taken out.
    Out,
}

impl Model for Queue {
    type State = VecDeque<u64>;
    type Input = Transfer;
    /// What was taken out; none from an empty queue, and for what was put in.
    type Output = Option<u64>;

    fn initial(&self) -> VecDeque<u64> {
        VecDeque::new()
    }

    fn step(
        &self,
        state: &VecDeque<u64>,
        input: &Transfer,
        output: Option<&Option<u64>>,
    ) -> Option<VecDeque<u64>> {
        if let (Transfer::Out, Some(told)) = (input, output)
            && state.front() != told.as_ref()
        {
            return None;
        }
        let mut after = state.clone();
        match input {
            Transfer::In(value) => after.push_back(*value),
            Transfer::Out => drop(after.pop_front()),
        }
        Some(after)
    }

    fn is_pure(&self, input: &Transfer, output: Option<&Option<u64>>) -> bool {
        *input == Transfer::Out && output == Some(&None)
    }
}

impl Spoken for Queue {
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>> {
        match called.name {
            "enqueue" => vec![(Transfer::In(called.value), heard.reply().map(|_| None))],
            "dequeue" => vec![(Transfer::Out, heard.reply().map(number_in))],
            _ => Vec::new(),
        }
    }
}
