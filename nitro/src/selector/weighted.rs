//! Nodes in proportion to their weights, in constant time.

use super::{Candidate, Candidates, Pick, Selector, draw_usable};
use crate::host::entropy::Sequence;

/// Chooses each node as often as its weight says. A node of weight 0 is taken only when no other
/// is left; if all weights are 0 the choice is uniform.
#[derive(Debug)]
pub struct Weighted(Sequence);

impl Weighted {
    /// The choices that follow from a seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(Sequence::from_seed(seed))
    }
}

impl Selector for Weighted {
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        if candidates.list.is_empty() {
            return None;
        }
        let index = draw_usable(candidates, pick, || candidates.aliases.draw(&self.0));
        // A draw comes to a node of weight 0 only if all are 0. Passing over nodes in order, after
        // many draws, may stop at one; without nodes to avoid the candidate is not looked at.
        if !pick.avoid.is_empty() && candidates.list[index].weight == 0 {
            let weighty = candidates.list.iter().enumerate();
            let mut weighty = weighty.filter(|(_, one)| one.weight > 0 && !pick.avoids(one));
            return Some(weighty.next().map_or(index, |(index, _)| index));
        }
        Some(index)
    }
}

/// Walker's alias table, built as Vose does: each column holds its own node up to a threshold and
/// another node above it, so that one draw decides.
///
/// Source: Vose, "A linear algorithm for generating random numbers with a given distribution",
/// IEEE Transactions on Software Engineering, 1991.
#[derive(Clone, Debug, Default)]
pub(super) struct Aliases(Vec<Column>);

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Fractions up to here, of 2^64, are the column's own node.
    own_up_to: u64,
    other: usize,
}

impl Aliases {
    pub(super) fn new(list: &[Candidate]) -> Self {
        let count = list.len();
        let total: u128 = list.iter().map(|one| u128::from(one.weight)).sum();
        let whole = |own| Column {
            own_up_to: u64::MAX,
            other: own,
        };
        let mut columns: Vec<Column> = (0..count).map(whole).collect();
        // Weights scaled so that a full column is exactly `total`: no rounding anywhere. If all
        // weights are 0 every column counts as full, which makes the choice uniform.
        let scaled = |one: &Candidate| u128::from(one.weight) * count as u128;
        let mut left: Vec<u128> = list.iter().map(scaled).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..count).partition(|&index| left[index] < total);
        while let (Some(&under), Some(&over)) = (small.last(), large.last()) {
            small.pop();
            let fraction = (left[under] << 64) / total;
            columns[under] = Column {
                own_up_to: u64::try_from(fraction).expect("less than a whole column"),
                other: over,
            };
            left[over] -= total - left[under];
            if left[over] < total {
                large.pop();
                small.push(over);
            }
        }
        Self(columns)
    }

    /// One draw gives both the column, from the product's upper half, and the fraction, from its
    /// lower half.
    fn draw(&self, sequence: &Sequence) -> usize {
        let wide = u128::from(sequence.draw()) * self.0.len() as u128;
        let index = usize::try_from(wide >> 64).expect("below the number of columns");
        let Column { own_up_to, other } = self.0[index];
        if (wide as u64) < own_up_to {
            index
        } else {
            other
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{chi_square, counts, nodes};
    use super::*;
    use crate::time::Instant;

    #[test]
    fn picks_are_in_proportion_to_weights() {
        let weights = [1, 2, 3, 10, 0, 100, 7];
        let shares: Vec<f64> = weights
            .iter()
            .copied()
            .filter(|&w| w > 0)
            .map(f64::from)
            .collect();
        let candidates = nodes(&weights);
        for seed in 0..20 {
            let selector = Weighted::from_seed(seed);
            let mut counts = counts(&selector, &candidates, 100_000, |_| {
                Pick::at(Instant::ORIGIN)
            });
            assert_eq!(counts.remove(4), 0, "weight 0 takes nothing");
            // 5 degrees of freedom: past 25.7 once in 10,000 seeds.
            let statistic = chi_square(&counts, &shares);
            assert!(statistic < 25.7, "seed {seed}: {statistic} from {counts:?}");
        }
    }

    #[test]
    fn all_weights_zero_is_uniform() {
        let selector = Weighted::from_seed(1);
        let counts = counts(&selector, &nodes(&[0; 4]), 40_000, |_| {
            Pick::at(Instant::ORIGIN)
        });
        // 3 degrees of freedom, one in 10,000.
        assert!(chi_square(&counts, &[1.0; 4]) < 21.1, "{counts:?}");
    }

    proptest! {
        #[test]
        fn the_table_holds_every_weight_exactly(
            weights in proptest::collection::vec(prop_oneof![0_u32..10, any::<u32>()], 1..40)
        ) {
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            prop_assume!(total > 0.0);
            let table = Aliases::new(nodes(&weights).as_slice());
            let mut held = vec![0.0; weights.len()];
            for (index, column) in table.0.iter().enumerate() {
                let own = column.own_up_to as f64 / 2_f64.powi(64);
                held[index] += own;
                held[column.other] += 1.0 - own;
            }
            for (held, weight) in held.iter().zip(&weights) {
                let expected = f64::from(*weight) / total * weights.len() as f64;
                prop_assert!((held - expected).abs() < 1e-9, "{held} is not {expected}");
            }
        }
    }
}
