//! How much of what runs did was new: as fewer seeds bring anything new, more of them are worth
//! less.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::seeds::SeedSet;

/// How many behaviours are told apart: far more than a service has. Past it none is new.
const BEHAVIOURS_MAX: usize = 100_000;

/// The parts of a sweep after which new behaviours are counted: an eighth and so on.
pub const PARTS: [u64; 4] = [8, 4, 2, 1];

/// Each behaviour, by a number that stands for it, with the least seed that showed it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behaviours(BTreeMap<String, u64>);

impl Behaviours {
    /// Adds what a seed showed.
    pub(super) fn add(&mut self, seed: u64, shown: &[u64]) {
        for behaviour in shown {
            self.add_one(format!("{behaviour:016x}"), seed);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (behaviour, seed) in &other.0 {
            self.add_one(behaviour.clone(), *seed);
        }
    }

    fn add_one(&mut self, behaviour: String, seed: u64) {
        if let Some(first) = self.0.get_mut(&behaviour) {
            *first = seed.min(*first);
        } else if self.0.len() < BEHAVIOURS_MAX {
            self.0.insert(behaviour, seed);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many had been seen after each of [`PARTS`] of the seeds, with how many seeds that was.
    pub fn growth(&self, done: &SeedSet) -> Vec<(u64, usize)> {
        let parts = PARTS.map(|part| done.count() / part).into_iter();
        let mut parts: Vec<u64> = parts.filter(|count| *count > 0).collect();
        parts.dedup();
        let seen = |count: u64| {
            let last = done.nth(count)?;
            Some((
                count,
                self.0.values().filter(|first| **first <= last).count(),
            ))
        };
        parts.into_iter().filter_map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_counted_in_the_order_of_the_seeds_whatever_the_order_of_the_runs() {
        let shown: [(u64, &[u64]); 4] = [(3, &[1, 4]), (0, &[1]), (2, &[2, 1]), (1, &[1, 2])];
        let (mut one, mut done) = (Behaviours::default(), SeedSet::default());
        for (seed, shown) in shown {
            one.add(seed, shown);
            done.add(seed);
        }
        assert_eq!(one.growth(&done), [(1, 1), (2, 2), (4, 3)]);
        let (mut left, mut right) = (Behaviours::default(), Behaviours::default());
        left.add(3, &[1, 4]);
        right.add(0, &[1]);
        right.add(2, &[2]);
        right.add(1, &[2]);
        right.merge(&left);
        assert_eq!(right, one);
    }
}
