//! Why there is no order: the shortest part of a history that has none, and the fewest of its
//! operations.

use super::index::Index;
use super::search::{Found, endings, fast};
use super::{Budget, OperationOf, Violation};
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
    let (mut part, last) = shortest(model, history, places, budget);
    leave_out(model, &mut part, last);
    let states = states(model, &part, last);
    let mut kept: Vec<usize> = (0..part.len()).collect();
    kept.retain(|place| part[*place].1.returned.is_some());
    kept.sort_by_key(|place| part[*place].1.called);
    Violation {
        key: None,
        operations: kept.iter().map(|place| part[*place].0).collect(),
        last: part[last].0,
        states,
    }
}

/// Operations, each with its place in the whole history.
type Part<M> = Vec<(usize, OperationOf<M>)>;

fn has_order<M: Model>(model: &M, part: &Part<M>, budget: Budget) -> Found {
    let history: Vec<OperationOf<M>> = part.iter().map(|(_, made)| made.clone()).collect();
    let places: Vec<usize> = (0..history.len()).collect();
    fast(
        model,
        &history,
        &Index::of(model, &history, &places, |_| 0),
        budget,
    )
}

/// The history up to the first return with which it has no order, and which that is. A history
/// that has an order has one for every beginning, so it is found by halving.
fn shortest<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    budget: Budget,
) -> (Part<M>, usize) {
    let mut returns: Vec<u64> = places.iter().filter_map(|p| history[*p].returned).collect();
    returns.sort_unstable();
    returns.dedup();
    let until = |time: u64| -> Part<M> {
        let called = places
            .iter()
            .filter(|place| history[**place].called <= time);
        let cut = |place: &usize| {
            let mut made = history[*place].clone();
            if made.returned.is_some_and(|returned| returned > time) {
                made.returned = None;
                made.output = None;
            }
            (*place, made)
        };
        called.map(cut).collect()
    };
    let fails = |time: u64| has_order(model, &until(time), budget) == Found::Nothing;
    let first = returns.partition_point(|time| !fails(*time));
    let time = returns.get(first).or(returns.last()).copied().unwrap_or(0);
    let part = until(time);
    let at_last = part
        .iter()
        .rposition(|(_, made)| made.returned == Some(time));
    (part, at_last.unwrap_or(0))
}

/// Forgets the returns of as many operations as can be while there is still no order. To forget
/// one is to allow more, so what is left is a reason on its own.
fn leave_out<M: Model>(model: &M, part: &mut Part<M>, last: usize) {
    let mut size = part.len().div_ceil(2);
    let mut spent = 0;
    while size > 0 && spent < SPENT_MAX {
        let mut from = 0;
        while from < part.len() {
            let before = part.clone();
            let until = (from + size).min(part.len());
            for (place, (_, made)) in part.iter_mut().enumerate() {
                if (from..until).contains(&place) && place != last {
                    made.returned = None;
                    made.output = None;
                }
            }
            let found = has_order(model, part, ATTEMPT);
            if found != Found::Nothing {
                *part = before;
            }
            spent += usize::from(found == Found::Spent);
            from = until;
        }
        size /= 2;
    }
}

/// What the model could hold after the last operation, had it been answered in any way.
fn states<M: Model>(model: &M, part: &Part<M>, last: usize) -> Vec<String> {
    let mut history: Vec<OperationOf<M>> = part.iter().map(|(_, made)| made.clone()).collect();
    history[last].output = None;
    let places: Vec<usize> = (0..history.len()).collect();
    let index = Index::of(model, &history, &places, |_| 0);
    let states = endings(model, &history, &index, ATTEMPT, STATES_MAX);
    let mut words: Vec<String> = states
        .unwrap_or_default()
        .iter()
        .map(|state| format!("{state:?}"))
        .collect();
    words.sort();
    words
}
