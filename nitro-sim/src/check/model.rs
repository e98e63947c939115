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
