//! A counter.

use super::{Called, Done, Effect, Heard, Model, Spoken, When, number_in};

/// A number, 0 at first, that is added to and read.
///
/// Operations: `add` (of 1, or of the noted input `{"amount": number}`) and `read`; both may reply
/// with the total.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// What is done to a counter: so much is added. Adding 0 is reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change(pub u64);

impl Model for Counter {
    type State = u64;
    type Input = Change;
    /// The total after the change.
    type Output = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, input: &Change, output: Option<&u64>) -> Option<u64> {
        let total = state + input.0;
        output.is_none_or(|told| *told == total).then_some(total)
    }

    fn is_pure(&self, input: &Change, _: Option<&u64>) -> bool {
        input.0 == 0
    }

    fn effect(&self, input: &Change, output: Option<&u64>) -> Option<Effect<u64>> {
        match (input.0, output) {
            (0, None) => Effect::none(When::Always),
            (0, Some(total)) => Effect::none(When::Is(*total)),
            (amount, Some(total)) => Effect::leaves(When::Is(total.checked_sub(amount)?), *total),
            (_, None) => None,
        }
    }
}

impl Spoken for Counter {
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>> {
        let amount = called.input.and_then(|input| input.get("amount")?.as_u64());
        let change = match called.name {
            "add" | "increment" => Change(amount.unwrap_or(1)),
            "read" | "get" => Change(0),
            _ => return Vec::new(),
        };
        vec![(change, heard.reply().and_then(number_in))]
    }
}
