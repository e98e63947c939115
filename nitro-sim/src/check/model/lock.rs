//! A lock without leases: who has it keeps it until giving it back.

use super::{Called, Done, Effect, Heard, Model, Spoken, When, says_yes};

/// A lock, free at first.
///
/// Operations: `acquire` and `release`, each by its node or by the noted input
/// `{"holder": number}`; a reply of false says that it was not done. A lock that a lease gives
/// back is none of this kind: see [`fenced`](crate::system::System::fenced).
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

/// What is done to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This holder takes it, if it is free.
    Acquire(u64),
    /// This holder gives it back, if it has it.
    Release(u64),
}

impl Model for Lock {
    /// Who holds it.
    type State = Option<u64>;
    type Input = Turn;
    /// Whether it was done.
    type Output = bool;

    fn initial(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        input: &Turn,
        output: Option<&bool>,
    ) -> Option<Option<u64>> {
        let (can, after) = match *input {
            Turn::Acquire(holder) => (state.is_none(), Some(holder)),
            Turn::Release(holder) => (*state == Some(holder), None),
        };
        let after = if can { after } else { *state };
        output.is_none_or(|told| *told == can).then_some(after)
    }

    fn is_pure(&self, _: &Turn, output: Option<&bool>) -> bool {
        output == Some(&false)
    }

    fn effect(&self, input: &Turn, output: Option<&bool>) -> Option<Effect<Option<u64>>> {
        let (needed, after) = match *input {
            Turn::Acquire(holder) => (None, Some(holder)),
            Turn::Release(holder) => (Some(holder), None),
        };
        match output {
            Some(false) => Effect::none(When::IsNot(needed)),
            _ => Effect::leaves(When::Is(needed), after),
        }
    }
}

impl Spoken for Lock {
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>> {
        let noted = called.input.and_then(|input| input.get("holder")?.as_u64());
        let holder = noted.unwrap_or(called.process);
        let turn = match called.name {
            "acquire" => Turn::Acquire(holder),
            "release" => Turn::Release(holder),
            _ => return Vec::new(),
        };
        vec![(turn, heard.reply().map(says_yes))]
    }
}
