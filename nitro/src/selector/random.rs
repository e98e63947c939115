//! Any node, each as likely as the next.

use super::{Candidates, Pick, Selector, draw_usable};
use crate::host::entropy::Sequence;

/// Chooses uniformly.
#[derive(Debug)]
pub struct Random(Sequence);

impl Random {
    /// The choices that follow from a seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(Sequence::from_seed(seed))
    }
}

impl Selector for Random {
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        let count = candidates.list.len();
        (count > 0).then(|| draw_usable(candidates, pick, || self.0.draw_below(count)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chi_square, counts, nodes};
    use super::*;
    use crate::time::Instant;

    #[test]
    fn picks_are_uniform_over_all_nodes() {
        let candidates = nodes(&[1; 10]);
        for seed in 0..20 {
            let selector = Random::from_seed(seed);
            let counts = counts(&selector, &candidates, 100_000, |_| {
                Pick::at(Instant::ORIGIN)
            });
            // 9 degrees of freedom: a uniform choice is past 33.7 once in 10,000 seeds.
            let statistic = chi_square(&counts, &[1.0; 10]);
            assert!(statistic < 33.7, "seed {seed}: {statistic} from {counts:?}");
        }
    }

    #[test]
    fn picks_stay_uniform_over_the_nodes_that_are_left() {
        let candidates = nodes(&[1; 5]);
        let selector = Random::from_seed(7);
        let avoid = [1, 3].map(|index: usize| candidates.as_slice()[index].id.clone());
        let mut counts = [0_u64; 5];
        for _ in 0..90_000 {
            let pick = Pick {
                avoid: &avoid,
                ..Pick::at(Instant::ORIGIN)
            };
            counts[selector.select(&candidates, &pick).unwrap()] += 1;
        }
        let left = [counts[0], counts[2], counts[4]];
        // 2 degrees of freedom, one in 10,000.
        assert!(chi_square(&left, &[1.0; 3]) < 18.4, "{counts:?}");
    }
}
