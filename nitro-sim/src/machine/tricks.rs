//! The tricks of a run: which sites play, until when, and each time whether.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use nitro::buggify::PLAYED_SHARE;
use nitro::time::Instant;

use crate::draw::Moments;

/// The tricks of a run; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tricks {
    /// Until when they are played.
    pub until: Instant,
    /// The sites that are active.
    pub sites: BTreeSet<String>,
}

/// The tricks of one node, each drawn by its site and the moment.
#[derive(Debug)]
pub(super) struct NodeTricks {
    tricks: Tricks,
    seed: u64,
    /// The node and its life.
    life: String,
    moments: Mutex<BTreeMap<&'static str, Moments>>,
}

impl NodeTricks {
    pub(super) fn new(tricks: Tricks, seed: u64, life: String) -> Self {
        Self {
            tricks,
            seed,
            life,
            moments: Mutex::default(),
        }
    }

    /// Whether a trick is played at a site now.
    pub(super) fn is_played(&self, site: &'static str, now: Instant) -> bool {
        if now >= self.tricks.until || !self.tricks.sites.contains(site) {
            return false;
        }
        let mut moments = self.moments.lock().expect("no panic while a draw begins");
        let moments = moments
            .entry(site)
            .or_insert_with(|| Moments::new(self.seed, &format!("buggify/{}/{site}", self.life)));
        moments.at(now.as_nanos()).chance(PLAYED_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_site_plays_a_quarter_of_the_times_up_to_the_end_and_no_other_ever() {
        let until = Instant::from_nanos(10_000);
        let sites = BTreeSet::from(["active".to_owned()]);
        let tricks = |seed, life: &str| {
            let tricks = Tricks {
                until,
                sites: sites.clone(),
            };
            NodeTricks::new(tricks, seed, life.to_owned())
        };
        let played = |tricks: &NodeTricks, site, from: u64| -> Vec<u64> {
            let times =
                (from..from + 10_000).filter(|at| tricks.is_played(site, Instant::from_nanos(*at)));
            times.collect()
        };
        let one = played(&tricks(7, "a-1/1"), "active", 0);
        assert!((2_300..2_700).contains(&one.len()), "{}", one.len());
        assert_eq!(played(&tricks(7, "a-1/1"), "active", 0), one);
        for (seed, life) in [(8, "a-1/1"), (7, "a-2/1"), (7, "a-1/2")] {
            assert_ne!(played(&tricks(seed, life), "active", 0), one);
        }
        assert_eq!(played(&tricks(7, "a-1/1"), "active", 10_000), [0; 0]);
        assert_eq!(played(&tricks(7, "a-1/1"), "idle", 0), [0; 0]);
    }
}
