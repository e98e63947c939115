//! A map from keys to values: a register a key.

use super::register::{self, Seen};
use super::{Access, Called, Done, Effect, Heard, Model, Register, Spoken};

/// A place for one value under every key, empty at first.
///
/// Operations: `get` or `read` (a reply of a number or null), `put` or `write` (of the operation's
/// value), `delete`, and `compare_and_swap` as of a [`Register`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValue;

impl Model for KeyValue {
    type State = Option<u64>;
    type Input = Access;
    type Output = Seen;

    fn initial(&self) -> Option<u64> {
        Register.initial()
    }

    fn step(
        &self,
        state: &Option<u64>,
        input: &Access,
        output: Option<&Seen>,
    ) -> Option<Option<u64>> {
        Register.step(state, input, output)
    }

    fn is_pure(&self, input: &Access, output: Option<&Seen>) -> bool {
        Register.is_pure(input, output)
    }

    fn effect(&self, input: &Access, output: Option<&Seen>) -> Option<Effect<Option<u64>>> {
        Register.effect(input, output)
    }
}

impl Spoken for KeyValue {
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>> {
        let is_done = heard.reply().map(|_| Seen::Done);
        let done = match called.name {
            "get" | "read" => register::read(heard),
            "put" | "write" => (Access::Write(called.value), is_done),
            "delete" => (Access::Clear, is_done),
            "compare_and_swap" => register::swap(called, heard),
            _ => return Vec::new(),
        };
        vec![done]
    }
}
