//! What has been seen, by fingerprint: 128 bits of a set of operations and a state.

use std::hash::{Hash, Hasher};

/// An odd number whose bits look random, as the fractional part of the golden ratio does.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const OTHER: u64 = 0xd6e8_feb8_6659_fd93;

/// Numbers that are each a function of `seed`, and look random: SplitMix64, twice.
pub(super) fn random(seed: u64) -> u128 {
    let low = scramble(seed.wrapping_mul(GOLDEN).wrapping_add(GOLDEN));
    let high = scramble(seed.wrapping_mul(OTHER).wrapping_add(OTHER ^ GOLDEN));
    u128::from(high) << 64 | u128::from(low)
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The fingerprint of a state.
pub(super) fn of(state: &impl Hash) -> u128 {
    let mut fold = Fold {
        low: GOLDEN,
        high: OTHER,
    };
    state.hash(&mut fold);
    u128::from(scramble(fold.high)) << 64 | u128::from(scramble(fold.low))
}

/// A hash of 128 bits, the same in every process.
struct Fold {
    low: u64,
    high: u64,
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.low ^ word).wrapping_mul(u128::from(GOLDEN));
        self.low = (product >> 64) as u64 ^ product as u64;
        let product = u128::from(self.high ^ word.rotate_left(32)).wrapping_mul(u128::from(OTHER));
        self.high = (product >> 64) as u64 ^ (product as u64).rotate_left(17);
        // Folding a word that cancels the state would forget all before it.
        self.low = self.low.wrapping_add(GOLDEN);
        self.high = self.high.wrapping_add(self.low);
    }

    fn finish(&self) -> u64 {
        self.low ^ self.high
    }
}

/// A set of fingerprints.
pub(super) struct Fingerprints {
    /// Zero where a place is free; as many as a power of two.
    places: Vec<u128>,
    count: usize,
}

impl Fingerprints {
    pub(super) fn new() -> Self {
        Self {
            places: vec![0; 64],
            count: 0,
        }
    }

    /// Adds one: whether it is new.
    pub(super) fn insert(&mut self, fingerprint: u128) -> bool {
        let fingerprint = fingerprint.max(1);
        if self.count * 2 >= self.places.len() {
            self.grow();
        }
        let place = self.place(fingerprint);
        let is_new = self.places[place] == 0;
        self.places[place] = fingerprint;
        self.count += usize::from(is_new);
        is_new
    }

    /// Where it is, or would be.
    fn place(&self, fingerprint: u128) -> usize {
        let mask = self.places.len() - 1;
        let mut place = fingerprint as usize & mask;
        while self.places[place] != 0 && self.places[place] != fingerprint {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let double = vec![0; self.places.len() * 2];
        for fingerprint in std::mem::replace(&mut self.places, double) {
            if fingerprint != 0 {
                let place = self.place(fingerprint);
                self.places[place] = fingerprint;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_new_once() {
        let mut seen = Fingerprints::new();
        assert!((0..10_000).all(|n| seen.insert(random(n))));
        assert!((0..10_000).all(|n| !seen.insert(random(n))));
        assert!(seen.insert(0));
        assert!(!seen.insert(0));
    }

    #[test]
    fn states_that_differ_have_fingerprints_that_differ() {
        let mut seen = Fingerprints::new();
        assert!((0..1_000_u64).all(|n| seen.insert(of(&n))));
        assert!((0..1_000_u64).all(|n| seen.insert(of(&vec![n, n]))));
        assert!((0..1_000_u64).all(|n| seen.insert(of(&vec![n, 7, n + 1]))));
        assert!(seen.insert(of(&"a")) && seen.insert(of(&"a\0")));
    }
}
