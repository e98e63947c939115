//! What is known of how a node does: calls in flight, latency, failures in a row.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::time::Instant;

/// How long a latency seen is remembered: after this time it weighs 1/e, as in Finagle.
const DECAY: Duration = Duration::from_secs(10);
const DECAY_NANOS: u64 = DECAY.as_nanos() as u64;

/// What a failure counts as, at least: a node that fails in no time must not look fast. It is the
/// latency that Linkerd assumes of a node it knows nothing about.
const FAILURE_LATENCY: Duration = Duration::from_millis(30);

/// Failures in a row that still make a node look worse; each doubles its score.
const FAILURES_COUNTED_MAX: u32 = 6;

/// How a call to a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node answered, be it with an error of the caller's making.
    Answered,
    /// The node could not be reached, broke off, or did not answer in time.
    Failed,
}

/// The load of one node, written by every call to it without a lock.
///
/// The latency is a peak-sensitive moving average: it jumps up to a slow answer and comes down
/// by 1/e in 10 s, whether or not calls are made, so that a node which was slow once is tried
/// again. Two calls that end at the same moment may lose one of their samples.
#[derive(Debug)]
pub struct Load {
    pending: AtomicU32,
    failures: AtomicU32,
    /// Nanoseconds as `f64` bits; 0 while nothing is known.
    latency: AtomicU64,
    /// When `latency` was right.
    measured_at: AtomicU64,
}

impl Load {
    /// A node of which nothing is known.
    pub const fn new() -> Self {
        Self {
            pending: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            latency: AtomicU64::new(0),
            measured_at: AtomicU64::new(0),
        }
    }

    /// Counts a call in, until what is returned is finished or dropped.
    pub fn start(self: &Arc<Self>, now: Instant) -> InFlight {
        self.pending.fetch_add(1, Ordering::Relaxed);
        InFlight {
            load: Arc::clone(self),
            started: now,
        }
    }

    /// Calls in flight.
    pub fn pending(&self) -> u32 {
        self.pending.load(Ordering::Relaxed)
    }

    /// Failures since the last answer.
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The latency to expect now; `None` while nothing is known.
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        let nanos = self.latency_nanos(now);
        (nanos > 0.0).then(|| Duration::from_nanos(nanos as u64))
    }

    /// The same in nanoseconds, 0 while nothing is known.
    pub(super) fn latency_nanos(&self, now: Instant) -> f64 {
        let nanos = f64::from_bits(self.latency.load(Ordering::Relaxed));
        nanos * self.remembered(now)
    }

    /// How many times worse than its latency says, for calls in flight and failures in a row.
    pub(super) fn burden(&self) -> f64 {
        let doubled = self.failures().min(FAILURES_COUNTED_MAX);
        // Far below 2^63, and a signed number is a float in one step.
        ((i64::from(self.pending()) + 1) << doubled) as f64
    }

    /// The share of the last latency that still counts.
    fn remembered(&self, now: Instant) -> f64 {
        let measured_at = Instant::from_nanos(self.measured_at.load(Ordering::Relaxed));
        let age = now.as_nanos().saturating_sub(measured_at.as_nanos());
        // A hundredth of the decay time changes less than 1 %: not worth an exponential a pick.
        if age < DECAY_NANOS / 100 {
            return 1.0;
        }
        (-(age as f64) / DECAY_NANOS as f64).exp()
    }

    /// Forgets all but the calls in flight: the node is as one of which nothing is known yet.
    pub fn forget(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.latency.store(0, Ordering::Relaxed);
    }

    fn observe(&self, now: Instant, started: Instant, outcome: Outcome) {
        let took = now.as_nanos().saturating_sub(started.as_nanos()) as f64;
        let known = f64::from_bits(self.latency.load(Ordering::Relaxed));
        let measured_at = Instant::from_nanos(self.measured_at.load(Ordering::Relaxed));
        let age = now.as_nanos().saturating_sub(measured_at.as_nanos());
        let latency = match outcome {
            Outcome::Failed => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                took.max(known * kept(age))
                    .max(FAILURE_LATENCY.as_nanos() as f64)
            }
            Outcome::Answered => {
                self.failures.store(0, Ordering::Relaxed);
                match known {
                    known if known == 0.0 || took >= known => took.max(1.0),
                    known => {
                        let kept = kept(age);
                        known * kept + took * (1.0 - kept)
                    }
                }
            }
        };
        self.latency.store(latency.to_bits(), Ordering::Relaxed);
        self.measured_at.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// The share of a latency that still counts after a time.
fn kept(age_nanos: u64) -> f64 {
    let age = age_nanos as f64 / DECAY_NANOS as f64;
    // The next term of the series is below a millionth of what this one changes: not worth an
    // exponential a call.
    if age < 0.001 {
        return 1.0 - age + age * age / 2.0;
    }
    (-age).exp()
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

/// A call in flight. Dropped without being finished (the caller gave up) it only leaves the
/// count: it says nothing about the node.
#[derive(Debug)]
#[must_use = "dropping it ends the call's count"]
pub struct InFlight {
    load: Arc<Load>,
    started: Instant,
}

impl InFlight {
    /// Counts the call out, with how it went.
    pub fn finish(self, now: Instant, outcome: Outcome) {
        self.load.observe(now, self.started, outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_nanos(1_000_000_000);

    fn call(load: &Arc<Load>, at: Instant, millis: u64, outcome: Outcome) -> Instant {
        let end = at + Duration::from_millis(millis);
        load.start(at).finish(end, outcome);
        end
    }

    #[test]
    fn latency_jumps_up_at_once_and_comes_down_slowly() {
        let load = Arc::new(Load::new());
        assert_eq!(load.latency(START), None);
        let mut now = call(&load, START, 2, Outcome::Answered);
        assert_eq!(load.latency(now), Some(Duration::from_millis(2)));
        now = call(&load, now, 100, Outcome::Answered);
        assert_eq!(load.latency(now), Some(Duration::from_millis(100)));
        now = call(&load, now, 2, Outcome::Answered);
        assert!(load.latency(now).unwrap() > Duration::from_millis(99));
        for _ in 0..15_000 {
            now = call(&load, now, 2, Outcome::Answered);
        }
        let after_30_s = load.latency(now).unwrap();
        assert!(after_30_s < Duration::from_millis(8), "{after_30_s:?}");
    }

    #[test]
    fn what_is_kept_after_a_moment_is_what_the_exponential_says() {
        for nanos in [0, 1, 1_000, 100_000, 9_999_999, 10_000_000, 1_000_000_000] {
            let exact = (-(nanos as f64) / DECAY_NANOS as f64).exp();
            assert!((kept(nanos) - exact).abs() < 1e-9, "{nanos} ns");
        }
    }

    #[test]
    fn latency_is_forgotten_by_one_eth_in_ten_seconds_without_calls() {
        let load = Arc::new(Load::new());
        let now = call(&load, START, 1_000, Outcome::Answered);
        let later = load.latency(now + Duration::from_secs(10)).unwrap();
        assert_eq!(later.as_millis(), 367);
    }

    #[test]
    fn failing_in_no_time_does_not_look_fast() {
        let load = Arc::new(Load::new());
        let mut now = call(&load, START, 1, Outcome::Answered);
        let before = load.latency_nanos(now) * load.burden();
        now = call(&load, now, 0, Outcome::Failed);
        assert_eq!(load.failures(), 1);
        assert!(load.latency_nanos(now) * load.burden() > 10.0 * before);
        now = call(&load, now, 1, Outcome::Answered);
        assert_eq!((load.failures(), load.pending()), (0, 0));
        assert_eq!(load.burden(), 1.0);
        drop(load.start(now));
        assert_eq!((load.failures(), load.pending()), (0, 0));
    }
}
