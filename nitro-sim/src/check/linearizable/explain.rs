//! Why there is no order: the shortest part of a history that has none, and the fewest of its
//! operations.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::index::Index;
use super::search::{Found, endings, fast};
use super::{Budget, Kept, OperationOf, Violation, decide_swiftly};
use crate::check::model::Model;

/// How many states are told apart before it is only said that there are many.
const STATES_MAX: usize = 8;
/// How much may be spent on each attempt to leave something out. What takes more is kept.
const ATTEMPT: Budget = Budget { steps_max: 300_000 };
/// How many attempts may take more, before no further one is made.
const SPENT_MAX: usize = 20;

/// Explains a history, of one key, that is known to have no order.
pub(super) fn explain<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    budget: Budget,
) -> Violation {
    let told = |state: &M::State| Some(state.clone());
    explain_with(model, history, places, Kept::Clock, budget, (|_| {}, told))
}

/// The same, of any kind of order: the last operation is watched, and of the states in the end it
/// is told what they held before it.
pub(super) fn explain_with<M: Model, T: Debug + PartialEq>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    kept: Kept,
    budget: Budget,
    (watch, told): (impl Fn(&mut M::Input), impl Fn(&M::State) -> Option<T>),
) -> Violation {
    let (mut part, time) = shortest(model, history, places, kept, budget);
    leave_out(model, &mut part, kept);
    let last = part
        .iter()
        .rposition(|(_, made)| made.returned == Some(time));
    let last = last.expect("without a return at that time there is an order");
    let mut watched = part.clone();
    watch(&mut watched[last].1.input);
    let states = states(model, &watched, last, kept, told);
    let mut heard: Vec<usize> = (0..part.len()).collect();
    heard.retain(|place| part[*place].1.returned.is_some());
    heard.sort_by_key(|place| part[*place].1.called);
    Violation {
        key: None,
        operations: heard.iter().map(|place| part[*place].0).collect(),
        last: part[last].0,
        states,
    }
}

/// Operations, each with its place in the whole history.
type Part<M> = Vec<(usize, OperationOf<M>)>;

fn has_order<M: Model>(model: &M, part: &Part<M>, kept: Kept, budget: Budget) -> Found {
    let history: Vec<OperationOf<M>> = part.iter().map(|(_, made)| made.clone()).collect();
    let history = of_heard_keys::<M>(history);
    let places: Vec<usize> = (0..history.len()).collect();
    let swift = decide_swiftly(model, &history, &places, kept, budget);
    swift.unwrap_or_else(|| {
        let index = Index::of(model, &history, &places, kept);
        fast(model, &history, &index, budget)
    })
}

/// The history up to the first return with which it has no order, and when that is. A history
/// that has an order has one for every beginning, so it is found by halving.
///
/// Where the clock is not kept, what is called later stays, as if its return had not been heard.
fn shortest<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    kept: Kept,
    budget: Budget,
) -> (Part<M>, u64) {
    let mut returns: Vec<u64> = places.iter().filter_map(|p| history[*p].returned).collect();
    returns.sort_unstable();
    returns.dedup();
    let until = |time: u64| -> Part<M> {
        let may_matter =
            |place: &&usize| kept == Kept::Processes || history[**place].called <= time;
        let cut = |place: &usize| {
            let mut made = history[*place].clone();
            if made.returned.is_some_and(|returned| returned > time) {
                made.returned = None;
                made.output = None;
            }
            (*place, made)
        };
        places.iter().filter(may_matter).map(cut).collect()
    };
    let fails = |time: u64| has_order(model, &until(time), kept, budget) == Found::Nothing;
    let first = returns.partition_point(|time| !fails(*time));
    let time = returns.get(first).or(returns.last()).copied().unwrap_or(0);
    (until(time), time)
}

/// Forgets the returns of as many operations as can be while there is still no order. To forget
/// one is to allow more, so what is left is a reason on its own.
fn leave_out<M: Model>(model: &M, part: &mut Part<M>, kept: Kept) {
    let mut size = part.len().div_ceil(2);
    let mut spent = 0;
    while size > 0 && spent < SPENT_MAX {
        let mut from = 0;
        while from < part.len() {
            let before = part.clone();
            let until = (from + size).min(part.len());
            for (place, (_, made)) in part.iter_mut().enumerate() {
                if (from..until).contains(&place) {
                    made.returned = None;
                    made.output = None;
                }
            }
            let found = has_order(model, part, kept, ATTEMPT);
            if found != Found::Nothing {
                *part = before;
            }
            spent += usize::from(found == Found::Spent);
            from = until;
        }
        size /= 2;
    }
}

/// Without what is about keys of which nothing was heard: it tells nothing of the others.
fn of_heard_keys<M: Model>(mut history: Vec<OperationOf<M>>) -> Vec<OperationOf<M>> {
    let heard = history.iter().filter(|made| made.returned.is_some());
    let keys: BTreeSet<u64> = heard.map(|made| made.key).collect();
    history.retain(|made| keys.contains(&made.key));
    history
}

/// What the model could hold at the last operation, had it been answered in any way.
fn states<M: Model, T: Debug + PartialEq>(
    model: &M,
    part: &Part<M>,
    last: usize,
    kept: Kept,
    told: impl Fn(&M::State) -> Option<T>,
) -> Vec<String> {
    let mut history: Vec<OperationOf<M>> = part.iter().map(|(_, made)| made.clone()).collect();
    history[last].output = None;
    let history = of_heard_keys::<M>(history);
    let places: Vec<usize> = (0..history.len()).collect();
    let index = Index::of(model, &history, &places, kept);
    let states = endings(model, &history, &index, ATTEMPT, STATES_MAX, told);
    let states = states.unwrap_or_default();
    let mut words: Vec<String> = states.iter().map(|state| format!("{state:?}")).collect();
    words.sort();
    words
}
