//! The same node for the same key.

use xxhash_rust::xxh3::xxh3_64;

use super::{Candidate, Candidates, Pick, Selector, draw_usable};
use crate::host::entropy::Sequence;

/// The key of a [`Pick`] from whatever a call is about, such as a user's name.
pub fn hash_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The slots that keys fall into. A power of two, the same whatever the number of nodes: keys
/// would all move where it changed. So many keep the fullest of up to 900 nodes within 1.25 of the
/// mean (1.07 of 100), in 256 KiB and a few milliseconds for each change of the list.
const SLOTS: usize = 1 << 17;
/// Slots looked at for a node that is not to be avoided.
const SLOTS_TRIED_MAX: usize = 64;
/// No node yet, while the table is made.
const NOBODY: u16 = u16::MAX;

/// Consistent hashing by a table: each key falls into one of 131,072 slots, and each slot has an
/// owner. All clients agree without talking; adding one node of N moves 1/N of the keys, all of
/// them to that node, and removing one moves only the keys it had.
///
/// A pick is one look into the table, whatever the number of nodes. A pick without a key is
/// uniform. The table is made once for each list of nodes, by the first selector that needs it.
///
/// Each node draws slots, one in every round, in an order of its own; a slot belongs to the first
/// that draws it. This is rendezvous hashing (Thaler, Ravishankar, "Using name-based mappings to
/// increase hit rates", IEEE/ACM Transactions on Networking, 1998) with the round as the weight: a
/// node that goes leaves each of its slots to the next who drew it, and touches no other. Maglev's
/// table (Eisenbud et al., NSDI 2016), where a node whose slot is taken draws again, is more even
/// and moves keys between nodes that stay.
#[derive(Debug)]
pub struct KeyHash(Sequence);

impl KeyHash {
    /// A selector whose choices without a key follow from a seed; those with one do not.
    pub const fn from_seed(seed: u64) -> Self {
        Self(Sequence::from_seed(seed))
    }
}

impl Selector for KeyHash {
    #[inline]
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        let count = candidates.list.len();
        if count == 0 {
            return None;
        }
        let Some(key) = pick.key else {
            return Some(draw_usable(candidates, pick, || self.0.draw_below(count)));
        };
        let owners = candidates.owners.get_or_init(|| owners(&candidates.list));
        let slot = slot_of(key.wrapping_mul(STEP));
        let index = usize::from(owners[slot]);
        if pick.avoid.is_empty() {
            return Some(index);
        }
        // The owners of the slots that follow: the keys of one node go to many.
        let following = (slot..slot + SLOTS_TRIED_MAX).map(|slot| owners[slot % SLOTS]);
        let mut usable = following.map(usize::from);
        let found = usable.find(|&index| !pick.avoids(&candidates.list[index]));
        Some(found.unwrap_or_else(|| candidates.usable_from(index, pick)))
    }

    fn prepare(&self, candidates: &Candidates) {
        if !candidates.list.is_empty() {
            candidates.owners.get_or_init(|| owners(&candidates.list));
        }
    }
}

/// The golden ratio of 2^64: multiplied by it, numbers in a row are far apart.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The upper bits, which depend on all of a product's lower ones.
const fn slot_of(hash: u64) -> usize {
    (hash >> (64 - SLOTS.trailing_zeros())) as usize
}

/// Who owns each slot. Nodes past the 65,535th own none.
fn owners(list: &[Candidate]) -> Box<[u16]> {
    let mut owners = vec![NOBODY; SLOTS].into_boxed_slice();
    let nodes = &list[..list.len().min(usize::from(NOBODY))];
    let mut left = SLOTS;
    let mut round = 0_u64;
    // The last slots wait long for whoever draws them first: about 12 draws a slot in all. That 32
    // are not enough happens to one list in 10^9, whose rest is handed out in turn.
    while left > 0 && round * (nodes.len() as u64) < 32 * SLOTS as u64 {
        for (index, node) in (0_u16..).zip(nodes) {
            let owner =
                &mut owners[slot_of(mixed(node.hash.wrapping_add(round.wrapping_mul(STEP))))];
            if *owner == NOBODY {
                *owner = index;
                left -= 1;
            }
        }
        round += 1;
    }
    for (slot, owner) in owners.iter_mut().enumerate() {
        if *owner == NOBODY {
            *owner = u16::try_from(slot % nodes.len()).expect("at most 65,535 nodes");
        }
    }
    owners
}

/// The finalizer of SplitMix64: every bit of the answer depends on every bit of the question.
const fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::tests::{chi_square, counts, nodes};
    use super::*;
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

    /// The fullest node's load over the mean.
    fn fullest(count: usize, keys: u64) -> f64 {
        let counts = counts(&KeyHash::from_seed(0), &nodes(&vec![1; count]), keys, keyed);
        let most = counts.into_iter().max().unwrap_or_default();
        most as f64 * count as f64 / keys as f64
    }

    #[test]
    fn the_fullest_of_a_hundred_and_of_nine_hundred_nodes_is_near_the_mean() {
        assert!(
            fullest(100, 2_000_000) < 1.12,
            "{}",
            fullest(100, 2_000_000)
        );
        assert!(fullest(900, 4_000_000) < 1.3);
    }

    #[test]
    fn when_one_of_a_hundred_leaves_little_more_than_its_share_moves() {
        let before = nodes(&[1; 100]);
        let keys = 100_000;
        for gone in [0, 37, 99] {
            let mut list = before.as_slice().to_vec();
            list.remove(gone);
            let after = Candidates::new(list);
            let moved = (0..keys).filter(|&key| owner(&before, key).id != owner(&after, key).id);
            let share = moved.count() as f64 / keys as f64;
            assert!(share < 0.012, "{share}");
        }
    }

    #[test]
    fn the_keys_of_a_node_to_be_avoided_go_to_many() {
        let candidates = nodes(&[1; 20]);
        let selector = KeyHash::from_seed(0);
        let avoid = [Arc::clone(&candidates.as_slice()[7].id)];
        let mut takers = std::collections::BTreeSet::new();
        for key in 0..10_000 {
            let pick = keyed(key);
            let index = selector.select(&candidates, &pick).unwrap();
            let avoiding = Pick {
                avoid: &avoid,
                ..pick
            };
            let other = selector.select(&candidates, &avoiding).unwrap();
            assert_eq!(index == 7, other != index);
            takers.extend((index == 7).then_some(other));
        }
        assert_eq!(takers.len(), 19);
    }

    #[test]
    fn the_owner_of_a_key_is_the_same_in_every_release() {
        let owners = [0, 1, 2, 3].map(|key| owner(&nodes(&[1; 100]), key).id.to_string());
        assert_eq!(owners, ["node-0043", "node-0004", "node-0099", "node-0003"]);
    }

    proptest! {
        // Each case makes two tables.
        #![proptest_config(ProptestConfig::with_cases(16))]
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
