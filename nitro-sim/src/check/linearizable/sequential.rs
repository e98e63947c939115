//! Sequential consistency: an order that keeps each process's own, whatever the clock says.

use std::collections::BTreeMap;

use super::explain::explain_with;
use super::search::Found;
use super::{Answer, Budget, Kept, Operation, OperationOf, Violation, decide};
use crate::check::model::Model;

/// Whether a history is sequentially consistent: as if made one at a time, in an order that keeps
/// each process's own.
///
/// Operations that come later by the clock may come first in the order, so the point where it
/// becomes impossible is the first return with which there is no order, even if those that return
/// after it may have been done at any time, or never, and answered anything.
pub fn sequential<M: Model>(model: &M, history: &[OperationOf<M>], budget: Budget) -> Answer {
    let model = &Keyed(model);
    let keyed = |operation: &OperationOf<M>| Operation {
        id: operation.id,
        process: operation.process,
        key: operation.key,
        input: Asked {
            key: operation.key,
            input: operation.input.clone(),
            is_watched: false,
        },
        output: operation.output.clone(),
        called: operation.called,
        returned: operation.returned,
    };
    let keyed: Vec<_> = history.iter().map(keyed).collect();
    let places: Vec<usize> = (0..keyed.len()).collect();
    match decide(model, &keyed, &places, Kept::Processes, budget) {
        Found::Order => Answer::Yes,
        Found::Spent => Answer::Unknown(None),
        Found::Nothing => Answer::No(explain(model, &keyed, &places, budget)),
    }
}

fn explain<M: Model>(
    model: &Keyed<'_, M>,
    history: &[OperationOf<Keyed<'_, M>>],
    places: &[usize],
    budget: Budget,
) -> Violation {
    let watch = |asked: &mut Asked<M::Input>| asked.is_watched = true;
    // Before what is watched: it is made in every order.
    let told = |state: &Held<M::State>| state.before.clone();
    let violation = explain_with(
        model,
        history,
        places,
        Kept::Processes,
        budget,
        (watch, told),
    );
    let mut keys = violation.operations.iter().map(|place| history[*place].key);
    let key = keys.next();
    // The keys go together only by what was heard.
    let is_one = keys.all(|other| Some(other) == key);
    Violation {
        key: key.filter(|_| is_one),
        ..violation
    }
}

/// A model under every key.
struct Keyed<'m, M>(&'m M);

/// What is asked of a model under a key.
#[derive(Clone, Debug, PartialEq)]
struct Asked<I> {
    key: u64,
    input: I,
    /// Whether it is remembered what was held before it.
    is_watched: bool,
}

/// What models hold, by key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held<S> {
    by_key: BTreeMap<u64, S>,
    /// What was held under its key before the operation that is watched.
    before: Option<S>,
}

impl<M: Model> Model for Keyed<'_, M> {
    type State = Held<M::State>;
    type Input = Asked<M::Input>;
    type Output = M::Output;

    fn initial(&self) -> Self::State {
        Held {
            by_key: BTreeMap::new(),
            before: None,
        }
    }

    fn step(
        &self,
        state: &Self::State,
        asked: &Self::Input,
        output: Option<&M::Output>,
    ) -> Option<Self::State> {
        let initial = || self.0.initial();
        let held = state.by_key.get(&asked.key).cloned();
        let held = held.unwrap_or_else(initial);
        let next = self.0.step(&held, &asked.input, output)?;
        let mut after = state.clone();
        after.by_key.insert(asked.key, next);
        if asked.is_watched {
            after.before = Some(held);
        }
        Some(after)
    }

    fn is_pure(&self, asked: &Self::Input, output: Option<&M::Output>) -> bool {
        !asked.is_watched && self.0.is_pure(&asked.input, output)
    }
}
