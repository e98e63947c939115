//! Which node a call goes to: a pure choice over a list that changes rarely.
//!
//! [`Candidates`] is built once per change of the node list, with whatever tables the selectors
//! need; a pick then takes no lock and allocates nothing. What a selector learns about a node
//! lives in its [`Load`], which outlives the list for as long as the node stays.
//!
//! | selector | choice | reads |
//! |---|---|---|
//! | [`Random`] | uniform | nothing |
//! | [`RoundRobin`] | in turn | a shared counter |
//! | [`Weighted`] | in proportion to weight | the alias table of the list |
//! | [`LeastLoaded`] | the better of two drawn | [`Load`] |
//! | [`KeyHash`] | the same node for the same key | the table of slots of the list |
//!
//! All of them pass over the nodes of [`Pick::avoid`] while any other is left.

mod key_hash;
mod least_loaded;
mod load;
mod random;
mod round_robin;
mod weighted;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_64;

pub use self::key_hash::{KeyHash, hash_key};
pub use self::least_loaded::LeastLoaded;
pub use self::load::{InFlight, Load, Outcome};
pub use self::random::Random;
pub use self::round_robin::RoundRobin;
pub use self::weighted::Weighted;
use crate::time::Instant;

/// Chooses one of the candidates.
pub trait Selector: Send + Sync + 'static {
    /// The index of the choice; `None` only when there are no candidates.
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize>;

    /// Makes the tables that its picks will need, before the list is put to use.
    fn prepare(&self, _candidates: &Candidates) {}
}

/// What one pick may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Pick<'a> {
    /// What the call is about, hashed, where calls about the same thing go to the same node.
    pub key: Option<u64>,
    /// The ids of nodes to pass over while another is left.
    pub avoid: &'a [Arc<str>],
    /// Now.
    pub now: Instant,
}

impl Pick<'_> {
    /// A pick at a time, without a key, of any node.
    pub const fn at(now: Instant) -> Self {
        let (key, avoid) = (None, [].as_slice());
        Self { key, avoid, now }
    }

    fn avoids(&self, candidate: &Candidate) -> bool {
        self.avoid.contains(&candidate.id)
    }
}

/// A node as selectors see it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its id, by which errors and [`Pick::avoid`] name it.
    pub id: Arc<str>,
    /// Its share, for [`Weighted`]; at 0 it is taken only when nothing else is left.
    pub weight: u32,
    /// The version it runs.
    pub version: String,
    /// What it says about itself, for a [`Filter`].
    pub labels: BTreeMap<String, String>,
    /// What is known of how it does.
    pub load: Arc<Load>,
    hash: u64,
}

impl Candidate {
    /// A node of which nothing is known yet.
    pub fn new(
        id: impl Into<Arc<str>>,
        weight: u32,
        version: impl Into<String>,
        labels: BTreeMap<String, String>,
    ) -> Self {
        let id = id.into();
        Self {
            hash: xxh3_64(id.as_bytes()),
            id,
            weight,
            version: version.into(),
            labels,
            load: Arc::new(Load::new()),
        }
    }
}

/// The nodes to choose from, sorted by id, each once.
///
/// A table that a selector needs is a private field here: built with the list, or where that takes
/// long, when it is first asked for.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    list: Vec<Candidate>,
    /// Those of the list, in its order: close together, so that a look at two of them out of
    /// thousands does not go through the candidates.
    loads: Vec<Arc<Load>>,
    aliases: weighted::Aliases,
    /// The index of the node that owns each slot of [`KeyHash`], once that has asked for it.
    owners: OnceLock<Box<[u16]>>,
}

impl Candidates {
    /// A list of nodes; of two with the same id, the first.
    pub fn new(mut list: Vec<Candidate>) -> Self {
        list.sort_by(|a, b| a.id.cmp(&b.id));
        list.dedup_by(|later, first| later.id == first.id);
        let loads = list.iter().map(|one| Arc::clone(&one.load)).collect();
        let aliases = weighted::Aliases::new(&list);
        let owners = OnceLock::new();
        Self {
            list,
            loads,
            aliases,
            owners,
        }
    }

    /// The list that follows this one: nodes that stay keep their load.
    pub fn replaced_by(&self, mut list: Vec<Candidate>) -> Self {
        for candidate in &mut list {
            if let Some(index) = self.position(&candidate.id) {
                candidate.load = Arc::clone(&self.list[index].load);
            }
        }
        Self::new(list)
    }

    /// Those that a filter lets through; their loads are shared with this list.
    pub fn filtered(&self, filter: &Filter) -> Self {
        let passing = self
            .list
            .iter()
            .filter(|candidate| filter.passes(candidate));
        Self::new(passing.cloned().collect())
    }

    /// The nodes, sorted by id: what [`Selector::select`] indexes.
    pub fn as_slice(&self) -> &[Candidate] {
        &self.list
    }

    /// The index of a node.
    pub fn position(&self, id: &str) -> Option<usize> {
        self.list
            .binary_search_by(|candidate| (*candidate.id).cmp(id))
            .ok()
    }

    /// The first node at `start` or after it, around the end, that is not to be avoided; `start`
    /// itself when all are.
    fn usable_from(&self, start: usize, pick: &Pick<'_>) -> usize {
        let around = (start..self.list.len()).chain(0..start);
        let mut usable = around.filter(|&index| !pick.avoids(&self.list[index]));
        usable.next().unwrap_or(start)
    }
}

/// Draws of a random index that are made before nodes to avoid are passed over in order instead.
/// With as many to avoid as a retry has failed on, a handful of draws keeps the choice uniform.
const DRAWS_MAX: usize = 16;

/// Draws until the node is not one to avoid, so that the draw's distribution is kept.
fn draw_usable(candidates: &Candidates, pick: &Pick<'_>, draw: impl Fn() -> usize) -> usize {
    let mut index = draw();
    if pick.avoid.is_empty() {
        return index;
    }
    for _ in 1..DRAWS_MAX {
        if !pick.avoids(&candidates.list[index]) {
            return index;
        }
        index = draw();
    }
    candidates.usable_from(index, pick)
}

/// Which nodes are wanted at all, applied when the list changes and not at every pick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this version, if one is given.
    pub version: Option<String>,
    /// Only nodes with all of these labels.
    pub labels: BTreeMap<String, String>,
}

impl Filter {
    /// Whether a node is wanted.
    pub fn passes(&self, candidate: &Candidate) -> bool {
        let mut wanted = self.labels.iter();
        let version = self.version.as_ref();
        version.is_none_or(|version| *version == candidate.version)
            && wanted.all(|(name, value)| candidate.labels.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn all() -> Vec<(&'static str, Box<dyn Selector>)> {
        vec![
            ("random", Box::new(Random::from_seed(1))),
            ("round robin", Box::new(RoundRobin::from_seed(2))),
            ("weighted", Box::new(Weighted::from_seed(3))),
            ("least loaded", Box::new(LeastLoaded::from_seed(4))),
            ("key hash", Box::new(KeyHash::from_seed(5))),
        ]
    }

    pub(super) fn nodes(weights: &[u32]) -> Candidates {
        let node = |(index, &weight): (usize, &u32)| {
            Candidate::new(format!("node-{index:04}"), weight, "1", BTreeMap::new())
        };
        Candidates::new(weights.iter().enumerate().map(node).collect())
    }

    /// How often each node is picked.
    pub(super) fn counts(
        selector: &dyn Selector,
        candidates: &Candidates,
        picks: u64,
        pick: impl Fn(u64) -> Pick<'static>,
    ) -> Vec<u64> {
        let mut counts = vec![0; candidates.as_slice().len()];
        for turn in 0..picks {
            counts[selector.select(candidates, &pick(turn)).unwrap()] += 1;
        }
        counts
    }

    /// Pearson's statistic against the shares expected.
    pub(super) fn chi_square(counts: &[u64], shares: &[f64]) -> f64 {
        let picks: u64 = counts.iter().sum();
        let whole: f64 = shares.iter().sum();
        let term = |(&count, share): (&u64, &f64)| {
            let expected = picks as f64 * share / whole;
            (count as f64 - expected).powi(2) / expected
        };
        counts.iter().zip(shares).map(term).sum()
    }

    #[test]
    fn no_candidates_is_no_choice() {
        for (name, selector) in all() {
            let choice = selector.select(&Candidates::default(), &Pick::at(Instant::ORIGIN));
            assert_eq!(choice, None, "{name}");
        }
    }

    #[test]
    fn a_node_that_stays_keeps_its_load_and_a_new_one_starts_afresh() {
        let before = nodes(&[1, 1]);
        let calling = before.list[1].load.start(Instant::ORIGIN);
        let after = before.replaced_by(nodes(&[1, 1, 1]).list);
        assert_eq!(after.list[1].load.pending(), 1);
        assert_eq!(after.list[2].load.pending(), 0);
        drop(calling);
        assert_eq!(after.list[1].load.pending(), 0);
    }

    #[test]
    fn a_node_listed_twice_stands_once() {
        let twice = ["b", "a", "b"].map(|id| Candidate::new(id, 1, "1", BTreeMap::new()));
        let candidates = Candidates::new(twice.to_vec());
        let ids: Vec<&str> = candidates.list.iter().map(|one| &*one.id).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn a_filter_keeps_nodes_of_the_version_that_have_all_the_labels() {
        let node = |id: &str, version: &str, zone: &str| {
            let labels = [("zone".to_owned(), zone.to_owned())];
            Candidate::new(id, 1, version, BTreeMap::from(labels))
        };
        let list = vec![
            node("a", "1", "x"),
            node("b", "2", "x"),
            node("c", "2", "y"),
        ];
        let candidates = Candidates::new(list);
        let ids = |version: Option<&str>, zone: Option<&str>| {
            let filter = Filter {
                version: version.map(str::to_owned),
                labels: zone
                    .map(|zone| ("zone".to_owned(), zone.to_owned()))
                    .into_iter()
                    .collect(),
            };
            let passing = candidates.filtered(&filter);
            passing
                .list
                .iter()
                .map(|one| one.id.to_string())
                .collect::<String>()
        };
        assert_eq!(ids(None, None), "abc");
        assert_eq!(ids(Some("2"), None), "bc");
        assert_eq!(ids(Some("2"), Some("x")), "b");
        assert_eq!(ids(Some("3"), None), "");
    }

    proptest! {
        // Key hash makes a table for each case.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_pick_is_in_range_and_avoids_while_another_is_left(
            weights in proptest::collection::vec(0_u32..5, 1..12),
            avoided in proptest::collection::btree_set(0_usize..12, 0..12),
            keys in proptest::collection::vec(any::<Option<u64>>(), 1..20),
        ) {
            let candidates = nodes(&weights);
            let avoid: Vec<Arc<str>> = avoided.iter().map(|index| format!("node-{index:04}").into()).collect();
            let another_left = (0..weights.len()).any(|index| !avoided.contains(&index));
            for (name, selector) in all() {
                for (turn, &key) in keys.iter().enumerate() {
                    let now = Instant::ORIGIN + Duration::from_millis(turn as u64);
                    let index = selector.select(&candidates, &Pick { key, avoid: &avoid, now }).unwrap();
                    prop_assert!(index < weights.len(), "{name}");
                    prop_assert!(!another_left || !avoided.contains(&index), "{name} took {index}");
                }
            }
        }
    }
}
