//! One node after another.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Candidates, Pick, Selector};
use crate::host::entropy::Sequence;

/// Chooses each node in turn. All callers share one turn, which begins at a random node, so that
/// many clients that start together do not call the same node first.
#[derive(Debug)]
pub struct RoundRobin(AtomicUsize);

impl RoundRobin {
    /// A turn that begins where a seed says.
    pub fn from_seed(seed: u64) -> Self {
        // The top bit stays clear: the counter does not reach its end in the life of a machine.
        let start = Sequence::from_seed(seed).below(usize::MAX / 2);
        Self(AtomicUsize::new(start))
    }
}

impl Selector for RoundRobin {
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let index = turn.checked_rem(candidates.list.len())?;
        if pick.avoid.is_empty() {
            return Some(index);
        }
        Some(candidates.usable_from(index, pick))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chi_square, counts, nodes};
    use super::*;
    use crate::time::Instant;

    #[test]
    fn every_node_has_its_turn_equally_often() {
        let candidates = nodes(&[1; 7]);
        let selector = RoundRobin::from_seed(1);
        let counts = counts(&selector, &candidates, 7_000, |_| Pick::at(Instant::ORIGIN));
        assert_eq!(counts, [1_000; 7]);
    }

    #[test]
    fn first_picks_of_many_clients_are_uniform() {
        let candidates = nodes(&[1; 10]);
        let mut counts = [0; 10];
        for seed in 0..20_000 {
            let selector = RoundRobin::from_seed(seed);
            counts[selector
                .select(&candidates, &Pick::at(Instant::ORIGIN))
                .unwrap()] += 1;
        }
        // 9 degrees of freedom, one in 10,000.
        assert!(chi_square(&counts, &[1.0; 10]) < 33.7, "{counts:?}");
    }
}
