//! The better of two nodes drawn at random.

use std::hint::select_unpredictable;

use super::{Candidates, DRAWS_MAX, Pick, Selector};
use crate::host::entropy::Sequence;

/// How many times another's a latency must be to count as higher.
const APART: f64 = 2.0;

/// Chooses, of two nodes drawn at random, the one with the lower latency times calls in flight,
/// both as its [`Load`](super::Load) has them; failures in a row count against a node.
///
/// Latencies that are less than a factor of two apart count as equal. They are recent peaks: of
/// nodes that are equal one or the other looks better for a while, and would be called twice as
/// often as the mean. That a node is somewhat slower shows in its calls in flight all the same.
///
/// Two draws are enough to keep the fullest node within ln ln n of the mean, and leave no one
/// node that every client runs to. A node of which nothing is known yet is taken to be as fast as
/// the other, so that a newcomer has its share at once. Weights are not read.
///
/// Source: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE
/// Transactions on Parallel and Distributed Systems, 2001.
#[derive(Debug)]
pub struct LeastLoaded(Sequence);

impl LeastLoaded {
    /// The draws that follow from a seed.
    pub const fn from_seed(seed: u64) -> Self {
        Self(Sequence::from_seed(seed))
    }

    /// Two different indices below `count`, which is at least 2, from the halves of one number.
    /// Biased by less than `count` / 2^32.
    fn draw_two(&self, count: usize) -> (usize, usize) {
        let drawn = self.0.draw();
        let below = |half: u64, bound: usize| ((half * bound as u64) >> 32) as usize;
        let first = below(drawn >> 32, count);
        let second = below(drawn & 0xffff_ffff, count - 1);
        (first, second + usize::from(second >= first))
    }
}

impl Selector for LeastLoaded {
    fn select(&self, candidates: &Candidates, pick: &Pick<'_>) -> Option<usize> {
        let count = candidates.list.len();
        if count < 2 {
            return (count == 1).then_some(0);
        }
        let (mut one, mut two) = self.draw_two(count);
        if pick.avoid.is_empty() {
            return Some(better(candidates, pick, one, two));
        }
        for _ in 0..DRAWS_MAX {
            let avoids = |index: usize| pick.avoids(&candidates.list[index]);
            match (avoids(one), avoids(two)) {
                (false, false) => return Some(better(candidates, pick, one, two)),
                // With few nodes left two usable ones may not exist: one is good enough.
                (false, true) if count <= pick.avoid.len() + 1 => return Some(one),
                (true, false) if count <= pick.avoid.len() + 1 => return Some(two),
                _ => (one, two) = self.draw_two(count),
            }
        }
        Some(candidates.usable_from(one, pick))
    }
}

fn better(candidates: &Candidates, pick: &Pick<'_>, one: usize, two: usize) -> usize {
    let (first, second) = (&candidates.loads[one], &candidates.loads[two]);
    let (a, b) = (
        first.latency_nanos(pick.now),
        second.latency_nanos(pick.now),
    );
    // Nobody can guess which of two is the better: without branches nobody has to.
    let are_apart = (a >= APART * b) | (b >= APART * a);
    let is_ranked = are_apart & (a > 0.0) & (b > 0.0);
    let (own, other) = (first.burden(), second.burden());
    // Of two numbers one cannot be taken without a branch, of two answers it can.
    let is_less = (is_ranked & (b * other < a * own)) | (!is_ranked & (other < own));
    select_unpredictable(is_less, two, one)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::tests::{counts, nodes};
    use super::*;
    use crate::selector::{InFlight, Outcome};
    use crate::time::Instant;

    /// Calls one after another for 30 s, each node with its own latency; returns the picks of
    /// the last 10 s.
    fn drive(candidates: &Candidates, answer: impl Fn(usize) -> (u64, Outcome)) -> Vec<u64> {
        let selector = LeastLoaded::from_seed(1);
        let mut counts = vec![0; candidates.as_slice().len()];
        let mut now = Instant::ORIGIN;
        while now < Instant::ORIGIN + Duration::from_secs(30) {
            let index = selector.select(candidates, &Pick::at(now)).unwrap();
            let calling = candidates.as_slice()[index].load.start(now);
            let (millis, outcome) = answer(index);
            now += Duration::from_millis(millis);
            calling.finish(now, outcome);
            if now > Instant::ORIGIN + Duration::from_secs(20) {
                counts[index] += 1;
            }
        }
        counts
    }

    fn share(counts: &[u64], index: usize) -> f64 {
        counts[index] as f64 / counts.iter().sum::<u64>() as f64
    }

    #[test]
    fn a_slow_node_is_shunned() {
        let slow = |index| (if index == 2 { 50 } else { 2 }, Outcome::Answered);
        let counts = drive(&nodes(&[1; 5]), slow);
        assert!(share(&counts, 2) < 0.01, "{counts:?}");
    }

    #[test]
    fn a_node_that_fails_fast_is_shunned() {
        let failing = |index| match index {
            2 => (1, Outcome::Failed),
            _ => (5, Outcome::Answered),
        };
        let counts = drive(&nodes(&[1; 5]), failing);
        assert!(share(&counts, 2) < 0.01, "{counts:?}");
    }

    #[test]
    fn a_node_that_recovers_is_taken_back() {
        let candidates = nodes(&[1; 3]);
        drive(&candidates, |index| match index {
            0 => (1, Outcome::Failed),
            _ => (5, Outcome::Answered),
        });
        let later = Instant::ORIGIN + Duration::from_secs(90);
        for candidate in candidates.as_slice() {
            let known = candidate.load.failures() == 0;
            if known {
                candidate
                    .load
                    .start(later)
                    .finish(later + Duration::from_millis(5), Outcome::Answered);
            }
        }
        let picks = counts(&LeastLoaded::from_seed(2), &candidates, 300, |_| {
            Pick::at(later)
        });
        assert!(picks[0] > 0, "{picks:?}");
    }

    #[test]
    fn calls_in_flight_are_levelled() {
        let candidates = nodes(&[1; 100]);
        let selector = LeastLoaded::from_seed(3);
        let mut calling = Vec::new();
        for _ in 0..10_000 {
            let index = selector
                .select(&candidates, &Pick::at(Instant::ORIGIN))
                .unwrap();
            calling.push(candidates.as_slice()[index].load.start(Instant::ORIGIN));
        }
        let fullest = candidates
            .as_slice()
            .iter()
            .map(|one| one.load.pending())
            .max();
        assert!(fullest <= Some(104), "{fullest:?} where the mean is 100");
    }

    /// Calls at a steady rate, each as long as it takes, whatever is under way.
    fn spread(nodes_count: usize, took_micros: impl Fn(u64) -> u64) -> f64 {
        let candidates = nodes(&vec![1; nodes_count]);
        let (selector, lengths) = (LeastLoaded::from_seed(5), Sequence::from_seed(6));
        let mut counts = vec![0_u64; nodes_count];
        let mut calling: BTreeMap<(Instant, u64), InFlight> = BTreeMap::new();
        for turn in 0..60_000_u64 {
            let now = Instant::ORIGIN + Duration::from_micros(500 * turn);
            while let Some(ended) = calling.first_entry().filter(|one| one.key().0 <= now) {
                let ((at, _), call) = ended.remove_entry();
                call.finish(at, Outcome::Answered);
            }
            let index = selector.select(&candidates, &Pick::at(now)).unwrap();
            counts[index] += u64::from(turn > 10_000);
            let takes = Duration::from_micros(took_micros(lengths.next_u64()));
            let call = candidates.as_slice()[index].load.start(now);
            calling.insert((now + takes, turn), call);
        }
        let most = counts.iter().max().copied().unwrap_or(0);
        most as f64 * nodes_count as f64 / counts.iter().sum::<u64>() as f64
    }

    #[test]
    fn equal_nodes_have_equal_shares_however_noisy_they_are() {
        // 3 to 11 ms, or exponential with a mean of 7.
        let even = spread(20, |drawn| 3_000 + drawn % 8_000);
        assert!(even < 1.1, "{even}");
        let exponential = |drawn: u64| {
            let unit = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
            (-7_000.0 * (1.0 - unit).ln()) as u64 + 1
        };
        let even = spread(20, exponential);
        assert!(even < 1.15, "{even}");
    }

    #[test]
    fn a_newcomer_has_its_share_at_once() {
        let candidates = nodes(&[1; 2]);
        let old = &candidates.as_slice()[0].load;
        old.start(Instant::ORIGIN).finish(
            Instant::ORIGIN + Duration::from_micros(50),
            Outcome::Answered,
        );
        let picks = counts(&LeastLoaded::from_seed(4), &candidates, 1_000, |_| {
            Pick::at(Instant::ORIGIN)
        });
        assert!((400..600).contains(&picks[1]), "{picks:?}");
    }
}
