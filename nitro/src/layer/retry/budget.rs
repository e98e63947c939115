//! How many retries a client may add to its calls, so that retries never bring a system down.

use std::sync::{Arc, Mutex, PoisonError};

use crate::time::Instant;

/// One retry to this many calls: 20 %, as in Finagle and Linkerd.
const CALLS_PER_RETRY: u64 = 5;

/// Retries allowed in every second besides, so that a client with few calls may retry at all.
const RETRIES_PER_SECOND: u64 = 10;

/// The window, in seconds, over which both are counted: a quiet hour buys nothing for later.
const WINDOW_SECONDS: usize = 10;

/// A budget of retries: over the last ten seconds at most a fifth of the calls, plus ten for each
/// of these seconds that the client has lived. Over a client's life that makes at most
/// 0.2 x calls + 10 x seconds begun. Clones share it.
#[derive(Clone)]
pub struct Budget {
    window: Arc<Mutex<Window>>,
}

impl Budget {
    /// A budget from now on.
    pub fn new(now: Instant) -> Self {
        let window = Window {
            first: second(now),
            now: second(now),
            seconds: [Counts::default(); WINDOW_SECONDS],
        };
        let window = Arc::new(Mutex::new(window));
        Self { window }
    }

    /// Counts a call, which adds to the budget.
    pub fn count_call(&self, now: Instant) {
        self.counted(now, |window| window.current().calls += 1);
    }

    /// Takes a retry out of the budget; whether there was one.
    pub fn take_retry(&self, now: Instant) -> bool {
        self.counted(now, |window| {
            let allowed = window.allowed();
            let left = window.sum(|counts| counts.retries) < allowed;
            window.current().retries += u64::from(left);
            left
        })
    }

    fn counted<R>(&self, now: Instant, count: impl FnOnce(&mut Window) -> R) -> R {
        // Nothing in here panics half-way, so that a poisoned window is a whole one.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(second(now));
        count(&mut window)
    }
}

fn second(at: Instant) -> u64 {
    at.as_nanos() / 1_000_000_000
}

#[derive(Clone, Copy, Default)]
struct Counts {
    calls: u64,
    retries: u64,
}

/// The last seconds, each at its number modulo the window.
struct Window {
    first: u64,
    now: u64,
    seconds: [Counts; WINDOW_SECONDS],
}

impl Window {
    fn advance(&mut self, now: u64) {
        // A thread that read the clock earlier may come later: it counts for the later second.
        let passed = now.saturating_sub(self.now);
        for later in 1..=passed.min(WINDOW_SECONDS as u64) {
            *self.at(self.now + later) = Counts::default();
        }
        self.now += passed;
    }

    fn current(&mut self) -> &mut Counts {
        self.at(self.now)
    }

    fn at(&mut self, second: u64) -> &mut Counts {
        let index = second % WINDOW_SECONDS as u64;
        &mut self.seconds[usize::try_from(index).expect("within the window")]
    }

    fn sum(&self, what: impl Fn(&Counts) -> u64) -> u64 {
        self.seconds.iter().map(what).sum()
    }

    fn allowed(&self) -> u64 {
        let lived = (self.now - self.first + 1).min(WINDOW_SECONDS as u64);
        self.sum(|counts| counts.calls) / CALLS_PER_RETRY + RETRIES_PER_SECOND * lived
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn drain(budget: &Budget, now: Instant) -> usize {
        (0..100_000).take_while(|_| budget.take_retry(now)).count()
    }

    #[test]
    fn a_quiet_hour_buys_no_more_than_one_window() {
        let budget = Budget::new(at(0));
        assert_eq!(drain(&budget, at(0)), 10);
        for _ in 0..1_000 {
            budget.count_call(at(0));
        }
        assert_eq!(drain(&budget, at(0)), 200);
        let later = at(3_600_000);
        assert_eq!(drain(&budget.clone(), later), 100);
        assert_eq!(drain(&budget, later), 0, "clones share it");
    }

    proptest! {
        #[test]
        fn retries_never_exceed_a_fifth_of_calls_plus_ten_a_second(
            steps in proptest::collection::vec((0_u64..4_000, 0_u64..300, 0_u64..300), 1..60)
        ) {
            let budget = Budget::new(at(0));
            let (mut now, mut calls, mut retries) = (0, 0, 0);
            for (millis, more_calls, wanted) in steps {
                now += millis;
                for _ in 0..more_calls {
                    budget.count_call(at(now));
                }
                calls += more_calls;
                retries += (0..wanted).filter(|_| budget.take_retry(at(now))).count() as u64;
                let seconds_begun = now / 1_000 + 1;
                prop_assert!(retries <= calls / 5 + 10 * seconds_begun, "{retries} retries, {calls} calls, {now} ms");
            }
        }
    }
}
