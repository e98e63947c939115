//! What a data structure does when one operation at a time is made on it: what concurrent
//! operations are held against.

mod counter;
mod key_value;
mod lock;
mod queue;
mod register;

use std::fmt::Debug;
use std::hash::Hash;

use serde_json::Value;

pub use counter::{Change, Counter};
pub use key_value::KeyValue;
pub use lock::{Lock, Turn};
pub use queue::{Queue, Transfer};
pub use register::{Access, Register, Seen};

/// A data structure that does one operation at a time.
pub trait Model {
    /// What it holds.
    type State: Clone + Eq + Hash + Debug;
    /// What is asked of it.
    type Input: Clone + PartialEq + Debug;
    /// What it answers.
    type Output: Clone + Debug;

    /// What it holds at first.
    fn initial(&self) -> Self::State;

    /// What it holds after an operation that was answered so; none where it cannot have been.
    /// An `output` of none is any: the answer was not heard.
    fn step(
        &self,
        state: &Self::State,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Self::State>;

    /// Whether an operation that was answered so leaves every state as it is.
    fn is_pure(&self, input: &Self::Input, output: Option<&Self::Output>) -> bool;

    /// What an operation that was answered so does, where that can be told without the state it
    /// is made on. To tell makes a check much faster, and changes no answer.
    fn effect(
        &self,
        input: &Self::Input,
        output: Option<&Self::Output>,
    ) -> Option<Effect<Self::State>> {
        let _ = (input, output);
        None
    }
}

/// What an operation does, told without the state it is made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect<S> {
    /// When it is done. At other times it is one that cannot have been answered so; or, where its
    /// answer was not heard, one that does nothing.
    pub when: When<S>,
    /// What it leaves; none where it leaves what it found.
    pub leaves: Option<S>,
}

/// The states in which something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When<S> {
    /// All.
    Always,
    /// This one.
    Is(S),
    /// All but this one.
    IsNot(S),
}

impl<S> Effect<S> {
    /// That of an operation which changes nothing.
    pub fn none(when: When<S>) -> Option<Self> {
        let leaves = None;
        Some(Self { when, leaves })
    }

    /// That of an operation which leaves a state.
    pub fn leaves(when: When<S>, state: S) -> Option<Self> {
        let leaves = Some(state);
        Some(Self { when, leaves })
    }
}

/// What an operation of a system asked, as its trace tells.
#[derive(Clone, Copy, Debug)]
pub struct Called<'t> {
    /// Its number within the plan.
    pub id: u64,
    /// The node that made it, by its place in the plan.
    pub process: u64,
    /// Its name.
    pub name: &'t str,
    /// Its key.
    pub key: u64,
    /// Its value.
    pub value: u64,
    /// What else it asked, where the system noted it: see [`Node::asks`].
    ///
    /// [`Node::asks`]: crate::system::Node::asks
    pub input: Option<&'t Value>,
}

/// What was heard of an operation.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'t> {
    /// Its reply.
    Reply(&'t Value),
    /// That it failed, with the kind of the error. It may have been done all the same.
    Failure(&'t str),
    /// Nothing: it did not end in time, or its node crashed. It may have been done.
    Nothing,
}

impl<'t> Heard<'t> {
    /// The reply, if there was one.
    pub fn reply(self) -> Option<&'t Value> {
        match self {
            Heard::Reply(reply) => Some(reply),
            Heard::Failure(_) | Heard::Nothing => None,
        }
    }
}

/// What an operation did to a model: an input, and the output where it was heard.
pub type Done<M> = (<M as Model>::Input, Option<<M as Model>::Output>);

/// A model that knows the usual names of its operations and the usual form of their replies.
pub trait Spoken: Model {
    /// What an operation did to the model: nothing where it is about something else, and several
    /// things where it is not one.
    fn read(&self, called: &Called<'_>, heard: Heard<'_>) -> Vec<Done<Self>>;
}

/// The number a reply holds: itself, or its field `value`; none for null.
fn number_in(reply: &Value) -> Option<u64> {
    reply.as_u64().or_else(|| reply.get("value")?.as_u64())
}

/// Whether a reply says yes: true, or its field `ok`; anything but false where it has neither.
fn says_yes(reply: &Value) -> bool {
    let said = reply.as_bool();
    said.or_else(|| reply.get("ok")?.as_bool()).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what an operation is said to do is what it does.
    fn is_so<M: Model>(model: &M, states: &[M::State], input: M::Input, output: Option<M::Output>) {
        let Some(effect) = model.effect(&input, output.as_ref()) else {
            return;
        };
        for state in states {
            let is_done = match &effect.when {
                When::Always => true,
                When::Is(needed) => needed == state,
                When::IsNot(barred) => barred != state,
            };
            let after = effect.leaves.as_ref().filter(|_| is_done).unwrap_or(state);
            let told = (is_done || output.is_none()).then(|| after.clone());
            let done = model.step(state, &input, output.as_ref());
            assert_eq!(done, told, "{input:?}, told {output:?}, on {state:?}");
            if model.is_pure(&input, output.as_ref()) {
                assert_eq!(effect.leaves, None, "{input:?}, told {output:?}");
            }
        }
    }

    #[test]
    fn what_operations_are_said_to_do_is_what_they_do() {
        let values = [None, Some(0), Some(1), Some(2)];
        let swaps = values.map(|expected| Access::Swap { expected, new: 1 });
        let accesses = [Access::Read, Access::Write(1), Access::Clear];
        let seen = values.map(Seen::Value).into_iter();
        let seen = seen.chain([Seen::Done, Seen::Mismatch]).map(Some);
        for output in seen.chain([None]) {
            for input in accesses.into_iter().chain(swaps) {
                is_so(&Register, &values, input, output);
                is_so(&KeyValue, &values, input, output);
            }
        }
        for output in [None, Some(0), Some(1), Some(3)] {
            is_so(&Counter, &[0, 1, 2, 3], Change(0), output);
            is_so(&Counter, &[0, 1, 2, 3], Change(2), output);
        }
        for output in [None, Some(false), Some(true)] {
            is_so(&Lock, &values, Turn::Acquire(1), output);
            is_so(&Lock, &values, Turn::Release(1), output);
        }
    }

    #[test]
    fn what_can_be_told_of_an_operation_is_told() {
        let read = |seen| Register.effect(&Access::Read, Some(&seen));
        assert_eq!(read(Seen::Value(None)), Effect::none(When::Is(None)));
        assert_eq!(read(Seen::Done), None);
        let add = |told| Counter.effect(&Change(2), told);
        assert_eq!(add(Some(&3)), Effect::leaves(When::Is(1), 3));
        assert_eq!((add(Some(&1)), add(None)), (None, None));
        let take = Lock.effect(&Turn::Acquire(1), None);
        assert_eq!(take, Effect::leaves(When::Is(None), Some(1)));
    }
}
