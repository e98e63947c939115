//! Choices drawn from a seed. Each purpose has a stream of its own, so that drawing more for one
//! moves no other.
//!
//! What happens while a run goes on is drawn by its moment, and not from a stream: a message meets
//! the same fate whatever was sent before it and no longer is. So a run of which something is left
//! out stays as it was wherever that did not reach.

use std::convert::Infallible;

use rand::{Rng, RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Draw<S = ChaCha8Rng>(S);

/// What is drawn for one purpose at one moment: SplitMix64, which costs next to nothing to begin.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Clone, Debug)]
pub struct Moment(u64);

impl Draw {
    /// The stream of a seed for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(xxh3_64(purpose.as_bytes()));
        Self(generator)
    }
}

/// The moments of one purpose, each with choices of its own.
#[derive(Clone, Debug)]
pub struct Moments {
    key: u64,
    /// The last moment, and how often it was asked for before.
    last: (u64, u64),
}

impl Moments {
    /// The moments of a seed for one purpose.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let key = Draw::new(seed, purpose).whole(0, u64::MAX);
        Self { key, last: (0, 0) }
    }

    /// What is drawn at a time, in nanoseconds, and at one time for its first, second, third use.
    pub fn at(&mut self, nanos: u64) -> Draw<Moment> {
        let (last, count) = self.last;
        self.last = (nanos, if last == nanos { count + 1 } else { 0 });
        Draw(Moment(self.tie(nanos) ^ mix(self.last.1)))
    }

    /// The number that a time has, whatever was drawn before.
    pub fn tie(&self, nanos: u64) -> u64 {
        mix(self.key ^ mix(nanos))
    }
}

impl<S: Rng> Draw<S> {
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

/// A number that is as unlike as it gets for numbers that are alike.
const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl TryRng for Moment {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.try_next_u64()? >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        Ok(mix(self.0))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), Infallible> {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
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
    fn a_moment_has_its_choices_whatever_came_before() {
        let take = |seed, purpose, nanos: &[u64]| -> Vec<u64> {
            let mut moments = Moments::new(seed, purpose);
            let numbers = nanos
                .iter()
                .map(|nanos| moments.at(*nanos).whole(0, u64::MAX));
            numbers.collect()
        };
        let all = take(7, "a", &[1, 5, 5, 9]);
        let fewer = take(7, "a", &[5, 9]);
        assert_eq!(fewer, [all[1], all[3]]);
        assert_ne!(all[1], all[2]);
        assert_ne!(take(7, "b", &[5, 9]), fewer);
        assert_ne!(take(8, "a", &[5, 9]), fewer);
    }

    #[test]
    fn moments_that_follow_one_another_are_alike_in_nothing() {
        let mut moments = Moments::new(7, "a");
        let shares = (0..10_000).map(|nanos| moments.at(nanos).number(0.0, 1.0));
        let sum = shares.sum::<f64>();
        assert!((4_900.0..5_100.0).contains(&sum), "{sum}");
    }

    #[test]
    fn chances_of_none_and_all_are_certain() {
        let mut draw = Draw::new(1, "chance");
        assert!((0..1000).all(|_| !draw.chance(0.0) && draw.chance(1.0)));
    }
}
