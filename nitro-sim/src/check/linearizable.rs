//! Whether concurrent operations could have been made one at a time, each between its call and its
//! return: linearizability, after Wing and Gong, with Lowe's cache.
//!
//! Operations on different keys are judged apart, which is sound because linearizability is local.
//! One whose return was not heard may have been done at any time after its call, or never. Within
//! [`Budget`] the answer is certain: a cache of fingerprints finds it, and where it is no, one that
//! compares whole states confirms it. The budget is a number of steps and no time, so the answer
//! is the same on every machine.
//!
//! Where a model tells what its operations do, a swifter search takes its place, which needs no
//! second opinion.
//!
//! With an order for each process alone instead of one for all, the same search tells sequential
//! consistency ([`sequential`]); that is not local, so all keys are judged together.

mod effects;
mod explain;
mod fingerprint;
mod index;
mod search;
mod sequential;
mod swift;
mod visited;

use std::collections::BTreeMap;

use super::model::Model;
use effects::Effects;
use explain::explain;
use index::Index;
use search::{Found, exact, fast};
use swift::swift;

pub use sequential::sequential;

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
            steps_max: 5_000_000,
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
    let mut unknown = None;
    for (key, places) in by_key(history) {
        match decide(model, history, &places, Kept::Clock, budget) {
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

/// The places of a history's operations, by key.
fn by_key<I, O>(history: &[Operation<I, O>]) -> Vec<(u64, Vec<usize>)> {
    let keys = || history.iter().map(|operation| operation.key);
    let (first, last) = (keys().min().unwrap_or(0), keys().max().unwrap_or(0));
    // Keys that are near one another, as most are, need no map.
    if last - first > history.len() as u64 {
        let mut places: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        for (place, key) in keys().enumerate() {
            places.entry(key).or_default().push(place);
        }
        return places.into_iter().collect();
    }
    let mut counts = vec![0; (last - first) as usize + 1];
    for key in keys() {
        counts[(key - first) as usize] += 1;
    }
    let room = |(key, count): (u64, usize)| (key, Vec::with_capacity(count));
    let mut places: Vec<(u64, Vec<usize>)> = (first..=last).zip(counts).map(room).collect();
    for (place, key) in keys().enumerate() {
        places[(key - first) as usize].1.push(place);
    }
    places.retain(|(_, places)| !places.is_empty());
    places
}

/// What an order must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// What returned before another was called comes before it.
    Clock,
    /// The same, of the operations of one process alone.
    Processes,
}

/// A no is said only by a search that mistakes nothing.
fn decide<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    kept: Kept,
    budget: Budget,
) -> Found {
    if let Some(found) = decide_swiftly(model, history, places, kept, budget) {
        return found;
    }
    let index = Index::of(model, history, places, kept);
    match fast(model, history, &index, budget) {
        Found::Nothing => exact(model, history, &index, budget),
        found => found,
    }
}

/// The answer of the search that is for models which tell what operations do; none for others.
fn decide_swiftly<M: Model>(
    model: &M,
    history: &[OperationOf<M>],
    places: &[usize],
    kept: Kept,
    budget: Budget,
) -> Option<Found> {
    if kept == Kept::Processes {
        return None;
    }
    swift(&Effects::of(model, history, places)?, budget)
}

#[cfg(test)]
mod tests;
