//! A register: a place for one value.

use std::fmt;

use serde_json::Value;

use super::{Called, Done, Effect, Heard, Model, Spoken, When, number_in, says_yes};

/// A place for one value, empty at first.
///
/// Operations: `read` (a reply of a number or null), `write` (of the operation's value), and
/// `compare_and_swap` (of the noted input `{"expected": number or null}` for the operation's
/// value; a reply of true or false, or a failure by precondition).
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What is done to a place for one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read.
    Read,
    /// It is written.
    Write(u64),
    /// It is emptied.
    Clear,
    /// It is written, if it holds what is expected.
    Swap {
        /// What is expected.
        expected: Option<u64>,
        /// What is written.
        new: u64,
    },
}

/// What is said of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// What was read.
    Value(Option<u64>),
    /// That it was done.
    Done,
    /// That it did not hold what was expected.
    Mismatch,
}

impl Model for Register {
    type State = Option<u64>;
    type Input = Access;
    type Output = Seen;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        input: &Access,
        output: Option<&Seen>,
    ) -> Option<Option<u64>> {
        match (*input, output) {
            (Access::Read, None) => Some(*state),
            (Access::Read, Some(seen)) => (*seen == Seen::Value(*state)).then_some(*state),
            (Access::Write(value), _) => Some(Some(value)),
            (Access::Clear, _) => Some(None),
            (Access::Swap { expected, new }, output) => {
                let matches = *state == expected;
                let after = if matches { Some(new) } else { *state };
                match output {
                    None => Some(after),
                    Some(Seen::Mismatch) => (!matches).then_some(after),
                    Some(_) => matches.then_some(after),
                }
            }
        }
    }

    fn is_pure(&self, input: &Access, output: Option<&Seen>) -> bool {
        match input {
            Access::Read => true,
            Access::Swap { .. } => output == Some(&Seen::Mismatch),
            Access::Write(_) | Access::Clear => false,
        }
    }

    fn effect(&self, input: &Access, output: Option<&Seen>) -> Option<Effect<Option<u64>>> {
        match (*input, output) {
            (Access::Read, None) => Effect::none(When::Always),
            (Access::Read, Some(Seen::Value(value))) => Effect::none(When::Is(*value)),
            (Access::Read, Some(_)) => None,
            (Access::Write(value), _) => Effect::leaves(When::Always, Some(value)),
            (Access::Clear, _) => Effect::leaves(When::Always, None),
            (Access::Swap { expected, .. }, Some(Seen::Mismatch)) => {
                Effect::none(When::IsNot(expected))
            }
            (Access::Swap { expected, new }, _) => Effect::leaves(When::Is(expected), Some(new)),
        }
    }
}

impl Spoken for Register {
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>> {
        let done = match called.name {
            "read" => read(heard),
            "write" => (
                Access::Write(called.value),
                heard.reply().map(|_| Seen::Done),
            ),
            "compare_and_swap" => swap(called, heard),
            _ => return Vec::new(),
        };
        vec![done]
    }
}

pub(super) fn read(heard: Heard<'_>) -> (Access, Option<Seen>) {
    let value = |reply: &Value| Seen::Value(number_in(reply));
    (Access::Read, heard.reply().map(value))
}

pub(super) fn swap(called: &Called<'_>, heard: Heard<'_>) -> (Access, Option<Seen>) {
    let expected = called
        .input
        .and_then(|input| input.get("expected")?.as_u64());
    let new = called.value;
    let seen = match heard {
        Heard::Reply(reply) if says_yes(reply) => Some(Seen::Done),
        Heard::Reply(_) | Heard::Failure("failed precondition") => Some(Seen::Mismatch),
        Heard::Failure(_) | Heard::Nothing => None,
    };
    (Access::Swap { expected, new }, seen)
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: Option<u64>| value.map_or("nothing".to_owned(), |v| v.to_string());
        match self {
            Access::Read => f.write_str("read"),
            Access::Write(value) => write!(f, "write {value}"),
            Access::Clear => f.write_str("clear"),
            Access::Swap { expected, new } => write!(f, "swap {} for {new}", shown(*expected)),
        }
    }
}
