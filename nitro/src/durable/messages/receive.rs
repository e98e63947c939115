//! Receiving: claims beside messages, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use super::groups::{Groups, TRIES_MAX, is_race};
use super::records::{self, ATTEMPTS, DELAY, REASON, decode, noted, number_of, put};
use crate::broker::check::{not_out, silence};
use crate::broker::{
    BATCH_BYTES_MAX, Consumer, Delivered, Message, NAME_BYTES_MAX, Pulled, Receipt, Verdict,
};
use crate::error::{Error, Kind, Result};
use crate::port::Revision;
use crate::store::{Action, Condition, Record, Select, Write};
use crate::time::Instant;

/// How many messages of a group are looked through for one that can be delivered.
const LOOKED_AT: usize = 200;

/// A group's place in the store, as of one moment.
struct Seen {
    messages: Vec<Record>,
    claims: BTreeMap<u64, Record>,
    revision: Revision,
}

impl Groups {
    async fn seen(&self, name: &str) -> Result<Seen> {
        let claims = self
            .table
            .list(Select::prefix(records::claims(name)))
            .await?;
        let first = Select {
            limit: LOOKED_AT + claims.records.len().min(800),
            ..Select::prefix(records::messages(name))
        };
        let messages = self.table.list(first).await?;
        let claims = claims.records.into_iter();
        Ok(Seen {
            messages: messages.records,
            claims: claims.map(|claim| (number_of(&claim), claim)).collect(),
            // Later than the claims: a claim that went between the two is looked for again.
            revision: messages.revision,
        })
    }

    pub(super) async fn pull(&self, name: &str, limit: usize, until: Instant) -> Result<Pulled> {
        let mut tries = 0;
        self.keep(name).await?;
        loop {
            let consumer = self.consumer(name).await?;
            let seen = self.seen(name).await?;
            let claimed = match self.bury_one(name, &consumer, &seen).await {
                Ok(true) => continue,
                Ok(false) => self.claim(name, &consumer, &seen, limit).await,
                Err(error) => Err(error),
            };
            match claimed {
                Ok(delivered) if delivered.is_empty() => {}
                Ok(delivered) => {
                    let (counts, _) = self.counts(name).await?;
                    return Ok(Pulled {
                        delivered,
                        ..counts
                    });
                }
                // Another member, or another broker, was faster.
                Err(error) if is_race(&error) && tries < TRIES_MAX => {
                    tries += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if self.clock().now() >= until {
                return Ok(self.counts(name).await?.0);
            }
            self.wait(&records::of(name), seen.revision, until).await?;
        }
    }

    /// Buries one message that has been delivered too often; answers whether there was one.
    async fn bury_one(&self, name: &str, consumer: &Consumer, seen: &Seen) -> Result<bool> {
        let is_dying = |record: &&Record| {
            let is_out = seen.claims.contains_key(&number_of(record));
            !is_out && noted(record, ATTEMPTS) >= consumer.attempts_max.into()
        };
        let Some(record) = seen.messages.iter().find(is_dying) else {
            return Ok(false);
        };
        let reason = record.metadata.get(REASON).cloned();
        let reason = reason.unwrap_or_else(|| silence(consumer));
        let message = decode(record)?;
        self.bury(name, consumer, record, &message, &reason).await?;
        Ok(true)
    }

    /// Claims what can be delivered.
    async fn claim(
        &self,
        name: &str,
        consumer: &Consumer,
        seen: &Seen,
        limit: usize,
    ) -> Result<Vec<Delivered>> {
        let mut busy: BTreeSet<String> = BTreeSet::new();
        let (mut delivered, mut writes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for record in &seen.messages {
            let (number, message): (u64, Message) = (number_of(record), decode(record)?);
            let is_free = match &message.key {
                Some(key) => busy.insert(key.clone()),
                None => true,
            };
            if !is_free || seen.claims.contains_key(&number) {
                continue;
            }
            let attempt = noted(record, ATTEMPTS) as u32 + 1;
            bytes += record.value.len();
            if delivered.len() == limit || (bytes > BATCH_BYTES_MAX && !delivered.is_empty()) {
                break;
            }
            writes.extend(self.claim_one(name, consumer, record, attempt));
            delivered.push(Delivered {
                receipt: Receipt { number, claim: 0 },
                attempt,
                message,
            });
        }
        if delivered.is_empty() {
            return Ok(delivered);
        }
        let claim = self.table.commit(writes, None).await?.revision.number;
        for one in &mut delivered {
            one.receipt.claim = claim;
        }
        Ok(delivered)
    }

    fn claim_one(
        &self,
        name: &str,
        consumer: &Consumer,
        record: &Record,
        attempt: u32,
    ) -> [Write; 2] {
        let tried = put(
            record.value.clone(),
            &[(ATTEMPTS, attempt.to_string())],
            record.ttl_ms,
        );
        let unchanged = Condition::IfVersion(record.version);
        let claim = put(Default::default(), &[], Some(consumer.visibility_ms));
        let key = records::claim(name, number_of(record));
        [
            self.table.prepare(&*record.key, unchanged, tried),
            self.table.prepare(key, Condition::IfAbsent, claim),
        ]
    }

    /// Takes a dead message off a group, and sends a letter about it.
    async fn bury(
        &self,
        name: &str,
        consumer: &Consumer,
        record: &Record,
        message: &Message,
        reason: &str,
    ) -> Result<()> {
        tracing::warn!(group = name, id = message.id, reason, "a message died");
        if let Some(topic) = &consumer.dead_letter {
            let mut letter = message.dead(topic, name, reason);
            // Sent again after a crash it is the same letter.
            letter.id = format!("dead/{}/{name}", number_of(record));
            let most = (0..=NAME_BYTES_MAX).rev();
            let mut ends = most.filter(|end| letter.id.is_char_boundary(*end));
            let end = ends.next().unwrap_or(0);
            letter.id.truncate(end);
            // No turn is waited for: who pulls is no publisher.
            let (groups, _) = self.groups().await?;
            let sent = self.publish_some(&[letter], &groups, Instant::ORIGIN).await;
            match sent {
                Err(error) if error.kind() == Kind::AlreadyExists => {}
                sent => drop(sent?),
            }
        }
        let unchanged = Condition::IfVersion(record.version);
        let mut writes = vec![self.table.prepare(&*record.key, unchanged, Action::Delete)];
        let claim = records::claim(name, number_of(record));
        writes.push(self.always(claim, Action::Delete));
        writes.push(self.count(name, consumer, (0, 1)).await?);
        self.table.commit(writes, None).await.map(drop)
    }

    pub(super) async fn settle(
        &self,
        name: &str,
        receipt: Receipt,
        verdict: Verdict,
    ) -> Result<()> {
        let consumer = self.consumer(name).await?;
        let number = receipt.number;
        let key = records::message(name, number);
        let record = self.table.read(&*key).await?;
        let record = record.ok_or_else(|| not_out(number, false))?;
        let claim = records::claim(name, number);
        let out = self.table.read(&*claim).await?;
        let is_out = |out: &Record| out.version == receipt.claim && noted(out, DELAY) == 0;
        if !out.as_ref().is_some_and(is_out) {
            return Err(not_out(number, true));
        }
        let claimed = Condition::IfVersion(receipt.claim);
        let attempts = noted(&record, ATTEMPTS);
        let (notes, delay_ms) = match verdict {
            Verdict::Done => {
                let writes = vec![
                    self.table.prepare(claim, claimed, Action::Delete),
                    self.always(key, Action::Delete),
                ];
                let done = self.table.commit(writes, None).await;
                return done.map(drop).map_err(|error| late(number, error));
            }
            Verdict::Failed { reason, .. } if attempts >= consumer.attempts_max.into() => {
                let message = decode(&record)?;
                return self.bury(name, &consumer, &record, &message, &reason).await;
            }
            Verdict::Failed { reason, delay_ms } => (
                vec![(ATTEMPTS, attempts.to_string()), (REASON, reason)],
                delay_ms,
            ),
            Verdict::Returned { delay_ms } => {
                let before = attempts.saturating_sub(1);
                (vec![(ATTEMPTS, before.to_string())], delay_ms)
            }
        };
        let put_off = put(record.value.clone(), &notes, record.ttl_ms);
        let wait = match delay_ms {
            0 => Action::Delete,
            ms => put(Default::default(), &[(DELAY, "1".to_owned())], Some(ms)),
        };
        let writes = vec![
            self.table.prepare(claim, claimed, wait),
            self.table
                .prepare(key, Condition::IfVersion(record.version), put_off),
        ];
        let committed = self.table.commit(writes, None).await;
        committed.map(drop).map_err(|error| late(number, error))
    }
}

/// A settlement that another delivery was ahead of.
fn late(number: u64, error: Error) -> Error {
    match is_race(&error) {
        true => not_out(number, true),
        false => error,
    }
}
