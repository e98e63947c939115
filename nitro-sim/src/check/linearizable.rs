//! Whether concurrent operations could have been made one at a time, each between its call and its
//! return: linearizability, after Wing and Gong, with Lowe's cache.
//!
//! Operations on different keys are judged apart, which is sound because linearizability is local.
//! One whose return was not heard may have been done at any time after its call, or never. Within
//! [`Budget`] the answer is certain: a cache of fingerprints finds it, and where it is no, one that
//! compares whole states confirms it. The budget is a number of steps and no time, so the answer
//! is the same on every machine.
//!
//! With an order for each process alone instead of one for all, the same search tells sequential
//! consistency ([`sequential`]); that is not local, so all keys are judged together.

mod explain;
mod fingerprint;
mod index;
mod search;

use std::collections::BTreeMap;

use super::model::Model;
use explain::explain;
use index::Index;
use search::{Found, exact, fast};

/// An operation on a model.
#[derive(Clone, Debug)]
pub struct Operation<I, O> {
    /// Its number, for who reads the answer.
    pub id: u64,
    /// Who made it.
    pub process: u64,
    /// The key it is about.
    pub key: u64,
    /// What it asked.
    pub input: I,
    /// What it was answered; none where that is not known.
    pub output: Option<O>,
    /// When it was called, in any unit.
    pub called: u64,
    /// When it returned; none where that was not heard.
    pub returned: Option<u64>,
}

/// The operations of a model.
pub type OperationOf<M> = Operation<<M as Model>::Input, <M as Model>::Output>;

/// How much may be spent on an answer.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// How many operations may be tried for each key.
    pub steps_max: u64,
}

impl Default for Budget {
    /// Seconds on any machine, and less than 500 MB.
    fn default() -> Self {
        Self {
            steps_max: 10_000_000,
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// They could have.
    Yes,
    /// They could not.
    No(Violation),
    /// It is not known within the budget: of which key, if of one.
    Unknown(Option<u64>),
}

/// Operations that could not have been made one at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key they are about; none where it takes several.
    pub key: Option<u64>,
    /// The fewest operations found that suffice, by their place in the history, in the order of
    /// their calls. Others count as if their returns had not been heard.
    pub operations: Vec<usize>,
    /// The one whose return makes it impossible, by its place in the history.
    pub last: usize,
    /// What the model could hold just before, in words; empty where there are too many.
    pub states: Vec<String>,
}

/// Whether a history is linearizable, with an explanation where it is not.
pub fn linearizable<M: Model>(model: &M, history: &[OperationOf<M>], budget: Budget) -> Answer {
    judge(model, history, budget, |places| {
        explain(model, history, places, budget)
    })
}

/// Whether a history is linearizable, without an explanation: none where it is not known.
pub fn is_linearizable<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    budget: Budget,
) -> Option<bool> {
    let unexplained = |places: &[usize]| Violation {
        key: None,
        last: places.len(),
        operations: Vec::new(),
        states: Vec::new(),
    };
    match judge(model, history, budget, unexplained) {
        Answer::Yes => Some(true),
        Answer::No(_) => Some(false),
        Answer::Unknown(_) => None,
    }
}

fn judge<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    budget: Budget,
    explain: impl Fn(&[usize]) -> Violation,
) -> Answer {
    let mut keys: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        keys.entry(operation.key).or_default().push(place);
    }
    let mut unknown = None;
    for (key, places) in keys {
        let index = Index::of(model, history, &places, |_| 0);
        match decide(model, history, &index, budget) {
            Found::Order => {}
            Found::Nothing => {
                let violation = explain(&places);
                return Answer::No(Violation {
                    key: Some(key),
                    ..violation
                });
            }
            Found::Spent => unknown = unknown.or(Some(key)),
        }
    }
    unknown.map_or(Answer::Yes, |key| Answer::Unknown(Some(key)))
}

/// Whether a history is sequentially consistent: as if made one at a time, in an order that keeps
/// each process's own.
pub fn sequential<M: Model>(model: &M, history: &[OperationOf<M>], budget: Budget) -> Answer {
    let model = &Keyed(model);
    let keyed = |operation: &OperationOf<M>| Operation {
        id: operation.id,
        process: operation.process,
        key: operation.key,
        input: (operation.key, operation.input.clone()),
        output: operation.output.clone(),
        called: operation.called,
        returned: operation.returned,
    };
    let keyed: Vec<_> = history.iter().map(keyed).collect();
    let places: Vec<usize> = (0..keyed.len()).collect();
    let index = Index::of(model, &keyed, &places, |operation| operation.process);
    match decide(model, &keyed, &index, budget) {
        Found::Order => Answer::Yes,
        Found::Spent => Answer::Unknown(None),
        Found::Nothing => Answer::No(Violation {
            key: None,
            last: index.last_return().unwrap_or(0),
            operations: places,
            states: Vec::new(),
        }),
    }
}

/// A no is said only by the search that mistakes nothing.
fn decide<M: Model>(model: &M, history: &[OperationOf<M>], index: &Index, budget: Budget) -> Found {
    match fast(model, history, index, budget) {
        Found::Nothing => exact(model, history, index, budget),
        found => found,
    }
}

/// A model under every key.
struct Keyed<'m, M>(&'m M);

impl<M: Model> Model for Keyed<'_, M> {
    type State = StateByKey<M::State>;
    type Input = (u64, M::Input);
    type Output = M::Output;

    fn initial(&self) -> Self::State {
        StateByKey(BTreeMap::new())
    }

    fn step(
        &self,
        state: &Self::State,
        (key, input): &Self::Input,
        output: Option<&M::Output>,
    ) -> Option<Self::State> {
        let next = match state.0.get(key) {
            Some(held) => self.0.step(held, input, output),
            None => self.0.step(&self.0.initial(), input, output),
        };
        let mut after = state.clone();
        after.0.insert(*key, next?);
        Some(after)
    }

    fn is_pure(&self, (_, input): &Self::Input, output: Option<&M::Output>) -> bool {
        self.0.is_pure(input, output)
    }
}

/// What models hold, by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct StateByKey<S>(BTreeMap<u64, S>);

#[cfg(test)]
mod tests;
