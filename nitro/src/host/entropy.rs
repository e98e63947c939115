//! Randomness: from the operating system, or from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

/// The source of randomness of a host.
pub trait Entropy: Send + Sync + 'static {
    /// Fills a buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// Whether to play a trick at a site, which [`buggify!`](crate::buggify!) asks. A source that
    /// is no simulated run's says no.
    fn buggify(&self, site: &'static str) -> bool;
}

impl dyn Entropy {
    /// A random number.
    pub fn next_u64(&self) -> u64 {
        let mut buffer = [0; 8];
        self.fill(&mut buffer);
        u64::from_le_bytes(buffer)
    }

    /// A random id: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        format!("{:016x}{:016x}", self.next_u64(), self.next_u64())
    }
}

/// A fast random sequence for choices, not for secrets: SplitMix64 over an atomic counter,
/// so that threads share it without a lock.
///
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
#[derive(Debug)]
pub struct Sequence(AtomicU64);

impl Sequence {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The sequence of a seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&self) -> u64 {
        let before = self.0.fetch_add(Self::STEP, Ordering::Relaxed);
        mixed(before.wrapping_add(Self::STEP))
    }

    /// The next number for a choice that need not be another thread's too: threads that draw at the
    /// same moment may draw the same. So nobody waits until a counter is its own.
    pub fn draw(&self) -> u64 {
        let next = self.0.load(Ordering::Relaxed).wrapping_add(Self::STEP);
        self.0.store(next, Ordering::Relaxed);
        mixed(next)
    }

    /// The next number below `bound`; 0 when `bound` is 0. Biased by less than `bound` / 2^64.
    pub fn below(&self, bound: usize) -> usize {
        below(self.next_u64(), bound)
    }

    /// The same of [`Sequence::draw`].
    pub fn draw_below(&self, bound: usize) -> usize {
        below(self.draw(), bound)
    }

    /// The next number in 0..1.
    pub fn unit(&self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn below(number: u64, bound: usize) -> usize {
    let wide = u128::from(number) * bound as u128;
    usize::try_from(wide >> 64).expect("below a usize")
}

impl Entropy for Sequence {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn buggify(&self, _site: &'static str) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_a_seed_comes_out() {
        let sequence = Sequence::from_seed(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| sequence.next_u64()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
        let drawn = Sequence::from_seed(1_234_567);
        assert_eq!([drawn.draw(), drawn.draw(), drawn.draw()], published);
    }
}
