//! Which seeds: a count or a range, a part of them, and the set of those that have run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Seeds one after the other, the last not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seeds {
    from: u64,
    until: u64,
}

/// One of several parts of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Which, from 0.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Seeds {
    /// The first.
    pub fn from(self) -> u64 {
        self.from
    }

    /// How many they are.
    pub fn count(self) -> u64 {
        self.until - self.from
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = u64> + Send {
        self.from..self.until
    }

    /// The seeds of a part: one after the other too, so that a part is told in two numbers.
    pub fn shard(self, shard: Shard) -> Self {
        let end = |index: u64| {
            let share = u128::from(self.count()) * u128::from(index) / u128::from(shard.of);
            self.from + u64::try_from(share).expect("no more than all of them")
        };
        Self {
            from: end(shard.index),
            until: end(shard.index + 1),
        }
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is neither a number of seeds, such as 1000, nor a range, such as 500..1000"
            )
        };
        let (from, until) = text.split_once("..").unwrap_or(("0", text));
        let from: u64 = from.trim().parse().map_err(|_| wrong())?;
        let until: u64 = until.trim().parse().map_err(|_| wrong())?;
        match from < until {
            true => Ok(Self { from, until }),
            false => Err(format!(
                "\"{text}\" holds no seed: from {from} up to {until}, which is not included"
            )),
        }
    }
}

impl fmt::Display for Seeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.until)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parts = parts.and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parts {
            Some((index, of)) if index < of => Ok(Self { index, of }),
            Some((index, of)) if of > 0 => Err(format!(
                "there is no part {index} of {of}: they are 0/{of} to {}/{of}",
                of - 1
            )),
            _ => Err(format!(
                "\"{text}\" is no part: the first of four is 0/4, the last 3/4"
            )),
        }
    }
}

/// A set of seeds, as ranges in their order that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedSet(Vec<Seeds>);

impl SeedSet {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|seeds| seeds.count()).sum()
    }

    /// Adds one that is not there yet.
    pub fn add(&mut self, seed: u64) {
        self.join(Seeds {
            from: seed,
            until: seed + 1,
        });
    }

    /// Adds those of a range, none of which is there yet.
    pub fn add_all(&mut self, seeds: Seeds) {
        if seeds.count() > 0 {
            self.join(seeds);
        }
    }

    /// Adds those of another set, none of which is there yet.
    pub fn merge(&mut self, other: &Self) {
        for seeds in &other.0 {
            self.join(*seeds);
        }
    }

    fn join(&mut self, mut seeds: Seeds) {
        let at = self.0.partition_point(|earlier| earlier.until < seeds.from);
        while let Some(next) = self.0.get(at).filter(|next| next.from <= seeds.until) {
            seeds.from = seeds.from.min(next.from);
            seeds.until = seeds.until.max(next.until);
            self.0.remove(at);
        }
        self.0.insert(at, seeds);
    }

    /// The first that both sets have, with those that follow it in both.
    pub fn shared(&self, other: &Self) -> Option<Seeds> {
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| (a, b)));
        let mut both = pairs.map(|(a, b)| Seeds {
            from: a.from.max(b.from),
            until: a.until.min(b.until),
        });
        both.find(|both| both.from < both.until)
    }

    /// The seed up to which there are so many, itself included; none where there are fewer.
    pub fn nth(&self, count: u64) -> Option<u64> {
        let mut left = count.checked_sub(1)?;
        for seeds in &self.0 {
            if left < seeds.count() {
                return Some(seeds.from + left);
            }
            left -= seeds.count();
        }
        None
    }
}

impl fmt::Display for SeedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown: Vec<String> = self.0.iter().map(Seeds::to_string).collect();
        f.write_str(&shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(text: &str) -> Result<Seeds, String> {
        text.parse()
    }

    #[test]
    fn seeds_are_a_count_or_a_range_and_nothing_else() {
        assert_eq!(seeds("3").unwrap().iter().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(seeds("7..9").unwrap().iter().collect::<Vec<_>>(), [7, 8]);
        for wrong in [
            "", "0", "-1", "5..5", "9..3", "1..", "..4", "a", "1..2..3", "1e3",
        ] {
            assert!(seeds(wrong).is_err(), "{wrong}");
        }
        assert!(seeds("5..5").unwrap_err().contains("holds no seed"));
    }

    #[test]
    fn the_parts_of_a_sweep_are_all_of_it_and_share_nothing() {
        for (all, of) in [("10", 3), ("5..7", 4), ("1000", 7)] {
            let all = seeds(all).unwrap();
            let parts = (0..of).flat_map(|index| all.shard(Shard { index, of }).iter());
            assert_eq!(parts.collect::<Vec<_>>(), all.iter().collect::<Vec<_>>());
        }
        let shard: Result<Shard, _> = "4/4".parse();
        assert_eq!(
            shard.unwrap_err(),
            "there is no part 4 of 4: they are 0/4 to 3/4"
        );
        assert!("1/0".parse::<Shard>().is_err());
    }

    #[test]
    fn a_set_joins_what_touches_and_knows_what_it_shares() {
        let mut set = SeedSet::default();
        for seed in [5, 1, 2, 9, 0, 6] {
            set.add(seed);
        }
        assert_eq!(set.to_string(), "0..3, 5..7, 9..10");
        assert_eq!((set.count(), set.nth(4), set.nth(7)), (6, Some(5), None));
        let mut other = SeedSet::default();
        other.add(3);
        assert_eq!(set.shared(&other), None);
        other.add(9);
        assert_eq!(set.shared(&other), Some(Seeds { from: 9, until: 10 }));
    }
}
