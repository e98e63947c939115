//! The same node for the same key.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Candidates, Pick, Selector, draw_usable};
use crate::host::entropy::Sequence;

/// The key of a [`Pick`] from whatever a call is about, such as a user's name.
pub fn hash_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// Rendezvous hashing: every node draws a number from the key and the highest takes it. All
/// clients agree without talking; adding one node of N moves 1/N of the keys, all of them to that
/// node, and removing one moves only the keys it had.
///
/// A pick is linear in the number of nodes. A pick without a key is uniform.
///
/// Source: Thaler, Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM
/// Transactions on Networking, 1998.
#[derive(Debug)]
pub struct KeyHash(Sequence);

impl KeyHash {
    /// A selector whose choices without a key follow from a seed; those with one do not.
    pub const fn from_seed(seed: u64) -> Self {
        Self(Sequence::from_seed(seed))
    }
}

impl Selector for KeyHash {
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        let count = candidates.list.len();
        if count == 0 {
            return None;
        }
        let Some(key) = pick.key else {
            return Some(draw_usable(candidates, pick, || self.0.below(count)));
        };
        let key = key.to_le_bytes();
        let mut best = (false, 0, 0);
        for (index, candidate) in candidates.list.iter().enumerate() {
            let drawn = xxh3_64_with_seed(&key, candidate.hash);
            let usable = pick.avoid.is_empty() || !pick.avoids(candidate);
            if index == 0 || (usable, drawn) > (best.0, best.1) {
                best = (usable, drawn, index);
            }
        }
        Some(best.2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{chi_square, counts, nodes};
    use super::*;
    use crate::selector::Candidate;
    use crate::time::Instant;

    fn keyed(key: u64) -> Pick<'static> {
        Pick {
            key: Some(hash_key(&key.to_le_bytes())),
            ..Pick::at(Instant::ORIGIN)
        }
    }

    fn owner(candidates: &Candidates, key: u64) -> Candidate {
        let index = KeyHash::from_seed(0)
            .select(candidates, &keyed(key))
            .unwrap();
        candidates.as_slice()[index].clone()
    }

    #[test]
    fn keys_are_spread_evenly() {
        let counts = counts(&KeyHash::from_seed(0), &nodes(&[1; 10]), 100_000, keyed);
        // 9 degrees of freedom, one in 10,000.
        assert!(chi_square(&counts, &[1.0; 10]) < 33.7, "{counts:?}");
    }

    #[test]
    fn adding_one_node_of_n_moves_one_nth_of_the_keys() {
        let (before, after) = (nodes(&[1; 19]), nodes(&[1; 20]));
        let keys = 40_000;
        let moved = (0..keys).filter(|&key| owner(&before, key).id != owner(&after, key).id);
        let share = moved.count() as f64 / keys as f64;
        assert!((0.045..0.055).contains(&share), "{share}");
    }

    #[test]
    fn the_owner_of_a_key_is_the_same_in_every_release() {
        let owners = [0, 1, 2, 3].map(|key| owner(&nodes(&[1; 100]), key).id.to_string());
        assert_eq!(owners, ["node-0036", "node-0026", "node-0015", "node-0069"]);
    }

    proptest! {
        #[test]
        fn removing_a_node_moves_only_the_keys_it_had(
            count in 2_usize..20, removed in any::<proptest::sample::Index>(), keys in proptest::collection::vec(any::<u64>(), 1..50)
        ) {
            let before = nodes(&vec![1; count]);
            let mut list = before.as_slice().to_vec();
            let gone = list.remove(removed.index(count));
            let after = Candidates::new(list);
            for key in keys {
                let (old, new) = (owner(&before, key), owner(&after, key));
                prop_assert!(old.id == new.id || old.id == gone.id);
                prop_assert!(new.id != gone.id);
            }
        }
    }
}
