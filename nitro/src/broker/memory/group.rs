//! What waits for one group, as plain data that only its methods change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::broker::check::{not_out, silence};
use crate::broker::{Consumer, Delivered, Message, Receipt, Verdict};
use crate::error::Result;
use crate::time::Instant;

/// The messages of a group, from when they come until they are done with.
pub(super) struct Group {
    pub(super) consumer: Consumer,
    /// Everything that is not done with, by number.
    entries: BTreeMap<u64, Entry>,
    /// What can be delivered now.
    ready: BTreeSet<u64>,
    /// What is out or put off, by when that ends.
    timed: BTreeSet<(Instant, u64)>,
    /// The messages of each key, in order; only the first is ready, out or put off.
    keys: BTreeMap<String, VecDeque<u64>>,
    pub(super) pulled_at: Instant,
    pub(super) dropped: u64,
    pub(super) dead: u64,
}

struct Entry {
    message: Arc<Message>,
    attempts: u32,
    /// The delivery that it is out with.
    claim: Option<u64>,
    until: Instant,
}

/// A message that died, and why.
pub(super) struct Dead {
    pub(super) message: Arc<Message>,
    pub(super) reason: String,
}

impl Group {
    pub(super) fn new(consumer: Consumer, now: Instant) -> Self {
        Self {
            consumer,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            timed: BTreeSet::new(),
            keys: BTreeMap::new(),
            pulled_at: now,
            dropped: 0,
            dead: 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.consumer.backlog_max
    }

    pub(super) fn next_timed(&self) -> Option<Instant> {
        self.timed.first().map(|(at, _)| *at)
    }

    pub(super) fn push(&mut self, number: u64, message: &Arc<Message>) {
        let mut is_first = true;
        if let Some(key) = &message.key {
            let queue = self.keys.entry(key.clone()).or_default();
            is_first = queue.is_empty();
            queue.push_back(number);
        }
        if is_first {
            self.ready.insert(number);
        }
        let entry = Entry {
            message: Arc::clone(message),
            attempts: 0,
            claim: None,
            until: Instant::ORIGIN,
        };
        self.entries.insert(number, entry);
    }

    /// Drops the oldest that waits; if all are out, nothing.
    pub(super) fn drop_oldest(&mut self) {
        let mut waiting = self.entries.iter();
        let oldest = waiting.find(|(_, entry)| entry.claim.is_none());
        if let Some(number) = oldest.map(|(number, _)| *number) {
            self.remove(number);
            self.dropped += 1;
        }
    }

    /// Delivers what is ready, the first first.
    pub(super) fn take(&mut self, now: Instant, limit: usize, claims: &mut u64) -> Vec<Delivered> {
        let until = now + Duration::from_millis(self.consumer.visibility_ms);
        let (mut delivered, mut bytes) = (Vec::new(), 0);
        while delivered.len() < limit {
            let Some(number) = self.ready.first().copied() else {
                break;
            };
            let entry = self
                .entries
                .get_mut(&number)
                .expect("what is ready is there");
            bytes += entry.message.body.len();
            if bytes > crate::broker::BATCH_BYTES_MAX && !delivered.is_empty() {
                break;
            }
            self.ready.remove(&number);
            *claims += 1;
            entry.attempts += 1;
            (entry.claim, entry.until) = (Some(*claims), until);
            self.timed.insert((until, number));
            let claim = *claims;
            delivered.push(Delivered {
                receipt: Receipt { number, claim },
                attempt: entry.attempts,
                message: (*entry.message).clone(),
            });
        }
        delivered
    }

    /// Settles a delivery; answers what died of it.
    pub(super) fn settle(
        &mut self,
        receipt: Receipt,
        verdict: Verdict,
        now: Instant,
    ) -> Result<Option<Dead>> {
        let number = receipt.number;
        let entry = self.entries.get_mut(&number);
        let entry = entry.ok_or_else(|| not_out(number, false))?;
        if entry.claim != Some(receipt.claim) {
            return Err(not_out(number, true));
        }
        let delay_ms = match verdict {
            Verdict::Done => {
                self.remove(number);
                return Ok(None);
            }
            Verdict::Failed { reason, .. } if entry.attempts >= self.consumer.attempts_max => {
                return Ok(self.bury(number, reason));
            }
            Verdict::Failed { delay_ms, .. } => delay_ms,
            Verdict::Returned { delay_ms } => {
                entry.attempts -= 1;
                delay_ms
            }
        };
        self.timed.remove(&(entry.until, number));
        entry.claim = None;
        entry.until = now + Duration::from_millis(delay_ms);
        self.timed.insert((entry.until, number));
        Ok(None)
    }

    /// Takes back what has been out or put off for long enough; answers what died of it.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Dead> {
        let mut dead = Vec::new();
        while let Some((at, number)) = self.timed.first().copied()
            && at <= now
        {
            self.timed.remove(&(at, number));
            let entry = self
                .entries
                .get_mut(&number)
                .expect("what is timed is there");
            let was_out = entry.claim.take().is_some();
            if was_out && entry.attempts >= self.consumer.attempts_max {
                let reason = silence(&self.consumer);
                dead.extend(self.bury(number, reason));
            } else {
                self.ready.insert(number);
            }
        }
        dead
    }

    fn bury(&mut self, number: u64, reason: String) -> Option<Dead> {
        let message = self.remove(number)?;
        self.dead += 1;
        Some(Dead { message, reason })
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Message>> {
        let entry = self.entries.remove(&number)?;
        self.ready.remove(&number);
        self.timed.remove(&(entry.until, number));
        if let Some(key) = &entry.message.key
            && let Some(queue) = self.keys.get_mut(key)
        {
            queue.retain(|other| *other != number);
            match queue.front() {
                // The next of the key may go, unless it is the one that is out already.
                Some(next) if self.entries.get(next).is_some_and(Entry::is_untouched) => {
                    self.ready.insert(*next);
                }
                Some(_) => {}
                None => drop(self.keys.remove(key)),
            }
        }
        Some(entry.message)
    }
}

impl Entry {
    /// Whether it has never been delivered, so that it is neither out nor put off.
    fn is_untouched(&self) -> bool {
        self.until == Instant::ORIGIN
    }
}
