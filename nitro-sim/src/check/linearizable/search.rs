//! The search for an order: try what may come next, go back where nothing may.

use std::collections::BTreeMap;

use super::fingerprint::{self, Fingerprints};
use super::index::{Index, Left};
use super::{Budget, Operation, OperationOf};
use crate::check::model::Model;

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An order.
    Order,
    /// That there is none.
    Nothing,
    /// That it takes more than the budget.
    Spent,
}

/// Searches with a cache of fingerprints: a no may be mistaken, once in 2^100.
pub(super) fn fast<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    index: &Index,
    budget: Budget,
) -> Found {
    let mut seen = Fingerprints::new();
    let is_new = |search: &Search<'_, M>, state: &M::State| {
        seen.insert(search.done ^ fingerprint::of(state))
    };
    Search::new(model, history, index).run(budget, is_new, |_| false)
}

/// Searches with a cache that compares whole states: mistakes nothing.
pub(super) fn exact<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    index: &Index,
    budget: Budget,
) -> Found {
    Search::new(model, history, index).run(budget, compare(), |_| false)
}

/// What is told of the states at the ends of all orders: each thing once, no more than `most`.
/// None where there are more, or the budget does not suffice.
pub(super) fn endings<M: Model, T: PartialEq>(
    model: &M,
    history: &[OperationOf<M>],
    index: &Index,
    budget: Budget,
    most: usize,
    told: impl Fn(&M::State) -> Option<T>,
) -> Option<Vec<T>> {
    let mut endings: Vec<T> = Vec::new();
    let found = Search::new(model, history, index).run(budget, compare(), |state| {
        if let Some(ending) = told(state)
            && !endings.contains(&ending)
        {
            endings.push(ending);
        }
        endings.len() <= most
    });
    (found == Found::Nothing).then_some(endings)
}

/// A set of operations, each as a bit, and the state after them.
type Whole<M> = (Vec<u64>, <M as Model>::State);

/// A cache that tells whether a set of operations and a state are new.
fn compare<M: Model>() -> impl FnMut(&Search<'_, M>, &M::State) -> bool {
    let mut seen: BTreeMap<u128, Vec<Whole<M>>> = BTreeMap::new();
    move |search, state| {
        let alike = seen
            .entry(search.done ^ fingerprint::of(state))
            .or_default();
        let is_seen = alike
            .iter()
            .any(|(bits, held)| *bits == search.bits && held == state);
        if !is_seen {
            alike.push((search.bits.clone(), state.clone()));
        }
        !is_seen
    }
}

struct Search<'h, M: Model> {
    model: &'h M,
    history: &'h [OperationOf<M>],
    index: &'h Index,
    left: Left<'h>,
    /// The slots in order so far, each as a bit.
    bits: Vec<u64>,
    /// The same, as the sum of a random number each.
    done: u128,
    state: M::State,
    /// The slots in order so far, each with the state before it, and whether nothing else need be
    /// tried in its place.
    order: Vec<(u32, M::State, bool)>,
}

impl<'h, M: Model> Search<'h, M> {
    fn new(model: &'h M, history: &'h [OperationOf<M>], index: &'h Index) -> Self {
        Self {
            model,
            history,
            index,
            left: Left::new(index),
            bits: vec![0; index.places.len().div_ceil(64)],
            done: 0,
            state: model.initial(),
            order: Vec::new(),
        }
    }

    /// Goes on until there is an order whose end is not `refused`, or nothing is left to try.
    fn run(
        mut self,
        budget: Budget,
        mut is_new: impl FnMut(&Self, &M::State) -> bool,
        mut refused: impl FnMut(&M::State) -> bool,
    ) -> Found {
        let mut steps = 0;
        let mut next = self.first();
        loop {
            if self.left.heard == 0 && !refused(&self.state) {
                return Found::Order;
            }
            let Some(slot) = next else {
                let Some(taken_back) = self.go_back() else {
                    return Found::Nothing;
                };
                next = self.left.after(taken_back);
                continue;
            };
            steps += 1;
            if steps > budget.steps_max {
                return Found::Spent;
            }
            next = self.attempt(slot, &mut is_new);
        }
    }

    fn first(&self) -> Option<u32> {
        if self.index.places.is_empty() {
            return None;
        }
        self.left.first()
    }

    /// Puts an operation next in the order, if it can be: what is to be tried after that.
    fn attempt(
        &mut self,
        slot: u32,
        is_new: &mut impl FnMut(&Self, &M::State) -> bool,
    ) -> Option<u32> {
        let operation = &self.history[self.index.places[slot as usize]];
        let output = operation.output.as_ref();
        let Some(after) = self.model.step(&self.state, &operation.input, output) else {
            return self.left.after(slot);
        };
        let is_open = self.index.is_open[slot as usize];
        if self.is_vain(slot, &after) {
            return self.left.after(slot);
        }
        // One that changes no state can come now if it can come later: nothing else is tried.
        let is_free = !is_open && self.model.is_pure(&operation.input, output);
        self.flip(slot);
        // Where nothing else could come next, no other way leads here.
        if !is_free && !self.left.is_alone(slot) && !is_new(self, &after) {
            self.flip(slot);
            return self.left.after(slot);
        }
        self.left.lift(slot);
        let before = std::mem::replace(&mut self.state, after);
        self.order.push((slot, before, is_free));
        self.left.first()
    }

    /// Whether an operation brings nothing here that another order does not.
    fn is_vain(&self, slot: u32, after: &M::State) -> bool {
        let operation = |slot: u32| &self.history[self.index.places[slot as usize]];
        let Operation {
            key, input, output, ..
        } = operation(slot);
        // The one before need not have been done. It could as well come after this one, if that is
        // about another key; and if nothing is left of what it did, this one was tried without it.
        if let Some((last, before, _)) = self.order.last()
            && self.index.is_open[*last as usize]
            && (operation(*last).key != *key
                || self.model.step(before, input, output.as_ref()).as_ref() == Some(after))
        {
            return true;
        }
        if self.index.is_open[slot as usize] {
            // It need not have been done, and changes nothing.
            return *after == self.state;
        }
        // An equal one that must be done sooner can come first.
        output.is_none()
            && self.left.sooner(slot).any(|sooner| {
                let sooner = operation(sooner);
                sooner.output.is_none() && sooner.input == *input
            })
    }

    /// Takes back the last operation that something else may be tried for; none where there is
    /// nothing to go back to.
    fn go_back(&mut self) -> Option<u32> {
        loop {
            let (slot, before, is_free) = self.order.pop()?;
            self.left.put_back(slot);
            self.flip(slot);
            self.state = before;
            if !is_free {
                return Some(slot);
            }
        }
    }

    fn flip(&mut self, slot: u32) {
        self.bits[slot as usize / 64] ^= 1 << (slot % 64);
        self.done ^= fingerprint::random(u64::from(slot));
    }
}
