//! Choices drawn from a seed. Each purpose has a stream of its own, so that drawing more for one
//! moves no other.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(xxh3_64(purpose.as_bytes()));
        Self(generator)
    }

    /// A whole number from `min` to `max`, both included.
    pub fn whole(&mut self, min: u64, max: u64) -> u64 {
        self.0.random_range(min..=max)
    }

    /// A whole number from `min` to `max`, both included, of either sign.
    pub fn signed(&mut self, min: i64, max: i64) -> i64 {
        self.0.random_range(min..=max)
    }

    /// A number from `min` to `max`.
    pub fn number(&mut self, min: f64, max: f64) -> f64 {
        self.0.random_range(min..=max)
    }

    /// Yes, with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // One number is drawn whatever the probability, so that setting it to 0 or 1 moves
        // nothing that is drawn later.
        self.0.random_range(0.0..1.0) < probability
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.0.fill_bytes(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_are_independent_and_repeat() {
        let take = |seed, purpose| {
            let mut draw = Draw::new(seed, purpose);
            [draw.whole(0, u64::MAX), draw.whole(0, u64::MAX)]
        };
        assert_eq!(take(7, "a"), take(7, "a"));
        assert_ne!(take(7, "a"), take(7, "b"));
        assert_ne!(take(7, "a"), take(8, "a"));
    }

    #[test]
    fn chances_of_none_and_all_are_certain() {
        let mut draw = Draw::new(1, "chance");
        assert!((0..1000).all(|_| !draw.chance(0.0) && draw.chance(1.0)));
    }
}
