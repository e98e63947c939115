//! The inbox as plain data: what waits, what is out, and what was done with lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::Outcome;
use crate::broker::check::{not_out, unknown_subscription};
use crate::broker::{BATCH_BYTES_MAX, Consumer, Delivered, Message, Pulled, Receipt, Verdict};
use crate::error::Result;
use crate::http::event::About;
use crate::time::Instant;

/// Messages of one subscription that wait to be pulled: enough for one pull of each of a few
/// members; their publishers keep the others.
const WAITING_MAX: usize = 64;

/// Messages that are remembered as acknowledged, so that one whose publisher has not heard so
/// comes once, and deliveries that are remembered as too late.
const REMEMBERED_MAX: usize = 10_000;

/// Publishers of one subscription whose counts are added up.
const PUBLISHERS_MAX: usize = 1_000;

/// A message that was posted.
pub(in crate::http) struct Arrival {
    pub(in crate::http) message: Message,
    pub(in crate::http) about: About,
}

struct Waiting {
    id: u64,
    arrival: Arrival,
    taken: oneshot::Sender<Instant>,
    verdict: oneshot::Sender<Verdict>,
}

#[derive(Default)]
struct Subscribed {
    visibility: Duration,
    waiting: VecDeque<Waiting>,
    pullers: usize,
    pulled_at: Instant,
    /// What each publisher says it has dropped and buried.
    counts: BTreeMap<String, (u64, u64)>,
}

/// Whose message it is, and which.
type Key = (String, String);

struct Claim {
    key: Key,
    number: u64,
    until: Instant,
    verdict: Option<oneshot::Sender<Verdict>>,
}

#[derive(Default)]
pub(super) struct State {
    subscribed: BTreeMap<String, Subscribed>,
    last: u64,
    /// What is out, by delivery.
    claims: BTreeMap<u64, Claim>,
    by_end: BTreeSet<(Instant, u64)>,
    late: Remembered<u64, (Key, u64)>,
    done: Remembered<Key, ()>,
}

impl State {
    /// Takes back what was out for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((at, claim)) = self.by_end.first().copied()
            && at <= now
        {
            self.by_end.remove(&(at, claim));
            if let Some(Claim { key, number, .. }) = self.claims.remove(&claim) {
                self.late.insert(claim, (key, number));
            }
        }
    }

    pub(super) fn open(&mut self, name: &str, consumer: &Consumer, now: Instant) {
        let subscribed = self.subscribed.entry(name.to_owned()).or_default();
        subscribed.visibility = Duration::from_millis(consumer.visibility_ms);
        subscribed.pulled_at = now;
    }

    pub(super) fn close(&mut self, name: &str) -> bool {
        self.done.retain(|(subscription, _)| subscription != name);
        self.subscribed.remove(name).is_some()
    }

    pub(super) fn close_idle(&mut self, now: Instant, after: Duration) -> Vec<String> {
        let is_idle = |one: &Subscribed| one.pullers == 0 && now.since(one.pulled_at) > after;
        let idle = self.subscribed.iter().filter(|(_, one)| is_idle(one));
        let idle: Vec<String> = idle.map(|(name, _)| name.clone()).collect();
        self.subscribed.retain(|_, one| !is_idle(one));
        idle
    }

    /// Notes that one more pulls, or one fewer.
    pub(super) fn pulling(&mut self, name: &str, now: Instant, change: isize) {
        if let Some(subscribed) = self.subscribed.get_mut(name) {
            subscribed.pullers = subscribed.pullers.saturating_add_signed(change);
            subscribed.pulled_at = now;
        }
    }

    pub(super) fn visibility(&self, name: &str) -> Duration {
        let subscribed = self.subscribed.get(name);
        subscribed.map_or(Duration::ZERO, |one| one.visibility)
    }

    /// Lets a message wait to be pulled; answers its number here, or what is known of it already.
    pub(super) fn arrive(
        &mut self,
        arrival: Arrival,
        taken: oneshot::Sender<Instant>,
        verdict: oneshot::Sender<Verdict>,
    ) -> Result<u64, Outcome> {
        let About {
            subscription: name,
            source,
            ..
        } = &arrival.about;
        let Some(subscribed) = self.subscribed.get_mut(name) else {
            return Err(Outcome::NoSubscription);
        };
        let counts = (arrival.about.dropped, arrival.about.dead);
        if subscribed.counts.len() < PUBLISHERS_MAX || subscribed.counts.contains_key(source) {
            subscribed.counts.insert(source.clone(), counts);
        }
        let key = (name.clone(), arrival.message.id.clone());
        if self.done.contains(&key) {
            return Err(Outcome::Known);
        }
        if let Some(claim) = self.claims.values_mut().find(|claim| claim.key == key) {
            // It is out already: whoever posts it again hears what becomes of it.
            claim.verdict = Some(verdict);
            let _ = taken.send(claim.until);
            return Ok(0);
        }
        // One whose publisher has given up waits no longer.
        subscribed.waiting.retain(|one| !one.taken.is_closed());
        if subscribed.waiting.len() >= WAITING_MAX {
            return Err(Outcome::NotTaken("as many messages wait as may"));
        }
        self.last += 1;
        subscribed.waiting.push_back(Waiting {
            id: self.last,
            arrival,
            taken,
            verdict,
        });
        Ok(self.last)
    }

    /// Takes back a message that still waits.
    pub(super) fn take_back(&mut self, name: &str, id: u64) -> bool {
        let Some(subscribed) = self.subscribed.get_mut(name) else {
            return true;
        };
        let before = subscribed.waiting.len();
        subscribed.waiting.retain(|one| one.id != id);
        subscribed.waiting.len() < before
    }

    /// Gives out what waits, the first first.
    pub(super) fn pull(&mut self, name: &str, limit: usize, now: Instant) -> Result<Pulled> {
        let subscribed = self.subscribed.get_mut(name);
        let subscribed = subscribed.ok_or_else(|| unknown_subscription(name))?;
        let until = now + subscribed.visibility;
        let (mut delivered, mut bytes) = (Vec::new(), 0);
        while delivered.len() < limit {
            let Some(next) = subscribed.waiting.front() else {
                break;
            };
            bytes += next.arrival.message.body.len();
            if bytes > BATCH_BYTES_MAX && !delivered.is_empty() {
                break;
            }
            let next = subscribed.waiting.pop_front().expect("it was at the front");
            if next.taken.send(until).is_err() {
                continue;
            }
            let Arrival { message, about } = next.arrival;
            self.last += 1;
            let claim = self.last;
            let number = about.number;
            self.by_end.insert((until, claim));
            self.claims.insert(
                claim,
                Claim {
                    key: (name.to_owned(), message.id.clone()),
                    number,
                    until,
                    verdict: Some(next.verdict),
                },
            );
            delivered.push(Delivered {
                receipt: Receipt { number, claim },
                attempt: about.attempt,
                message,
            });
        }
        let counts = subscribed.counts.values();
        let (dropped, dead) = counts.fold((0, 0), |(dropped, dead), one| {
            (dropped + one.0, dead + one.1)
        });
        Ok(Pulled {
            delivered,
            dropped,
            dead,
        })
    }

    pub(super) fn settle(&mut self, name: &str, receipt: Receipt, verdict: Verdict) -> Result<()> {
        let Receipt { number, claim } = receipt;
        let is_it = |key: &Key, of: u64| key.0 == name && of == number;
        let found = self.claims.get(&claim);
        if !found.is_some_and(|found| is_it(&found.key, found.number)) {
            let late = self.late.get(&claim);
            let is_late = late.is_some_and(|(key, of)| is_it(key, *of) && !self.done.contains(key));
            return Err(not_out(number, is_late));
        }
        let found = self.claims.remove(&claim).expect("it was found");
        self.by_end.remove(&(found.until, claim));
        if verdict == Verdict::Done {
            self.done.insert(found.key, ());
        }
        if let Some(sender) = found.verdict {
            // A publisher that hears nothing posts it again, and hears it then.
            let _ = sender.send(verdict);
        }
        Ok(())
    }
}

/// The latest of what has come by, as many as are remembered.
struct Remembered<K, V> {
    found: BTreeMap<K, V>,
    by_age: VecDeque<K>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self {
            found: BTreeMap::new(),
            by_age: VecDeque::new(),
        }
    }
}

impl<K: Ord + Clone, V> Remembered<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.found.insert(key.clone(), value).is_none() {
            self.by_age.push_back(key);
        }
        if self.by_age.len() > REMEMBERED_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.found.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.found.get(key)
    }

    fn contains(&self, key: &K) -> bool {
        self.found.contains_key(key)
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.by_age.retain(&keep);
        self.found.retain(|key, _| keep(key));
    }
}
