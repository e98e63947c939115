//! Publishing: a message, its copies and its number in one commit.

use std::collections::BTreeMap;

use super::KEPT;
use super::groups::{Group, Groups, TRIES_MAX, copy_ttl};
use super::records::{self, ATTEMPTS, DELAY, encode, noted, number_of, put};
use crate::broker::check::full;
use crate::broker::{Consumer, Message, REMEMBERED, Slow, matches};
use crate::error::{Error, Kind, Result};
use crate::port::millis;
use crate::store::{Action, Condition, LIST_MAX, Order, Record, Select, WRITES_MAX, Write};
use crate::time::Instant;

/// Why publishing must wait: the detail `reason` of the error.
const BLOCKED: &str = "blocked";

impl Groups {
    pub(super) async fn publish(&self, messages: &[Message], until: Instant) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let (mut last, mut tries) = (0, 0);
        let mut rest = messages;
        while !rest.is_empty() {
            let (groups, revision) = self.groups().await?;
            // Two for the number and the id, one that is kept, one for each group.
            let each = 3 + groups.len();
            let count = rest.len().min((WRITES_MAX - 1) / each).max(1);
            match self.publish_some(&rest[..count], &groups, until).await {
                Err(error) if error.detail("reason") == Some(BLOCKED) => {
                    self.wait(records::OF, revision, until).await?;
                }
                // Another broker over the same store was faster.
                Err(error) if error.kind() == Kind::Aborted && tries < TRIES_MAX => tries += 1,
                Err(error) if error.kind() == Kind::AlreadyExists => {
                    rest = self.without_known(rest, &mut last).await?;
                }
                Err(error) => return Err(error),
                Ok(number) => {
                    last = number;
                    rest = &rest[count..];
                }
            }
        }
        Ok(last)
    }

    /// What is left after the first messages that have been published already.
    async fn without_known<'a>(
        &self,
        messages: &'a [Message],
        last: &mut u64,
    ) -> Result<&'a [Message]> {
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let Some(known) = self.table.read(records::id(&first.id)).await? else {
                break;
            };
            *last = noted(&known, records::NUMBER);
            rest = &rest[1..];
        }
        Ok(rest)
    }

    pub(super) async fn publish_some(
        &self,
        messages: &[Message],
        groups: &[Group],
        until: Instant,
    ) -> Result<u64> {
        let counter = self.table.read(records::NUMBER).await?;
        let mut number = counter.as_ref().map_or(0, |record| noted(record, "last"));
        let mut writes = Vec::new();
        for (name, consumer) in groups {
            let wanted = |message: &&Message| matches(&consumer.pattern, &message.topic);
            let count = messages.iter().filter(wanted).count();
            if count > 0 {
                writes.extend(self.make_room(name, consumer, count, until).await?);
            }
        }
        for message in messages {
            number += 1;
            let known = put(
                Default::default(),
                &[(records::NUMBER, number.to_string())],
                Some(millis(REMEMBERED)),
            );
            let absent = Condition::IfAbsent;
            writes.push(self.table.prepare(records::id(&message.id), absent, known));
            writes.extend(self.copies(message, number, groups)?);
        }
        let version = counter.map_or(Condition::IfAbsent, |record| {
            Condition::IfVersion(record.version)
        });
        let counter = put(Default::default(), &[("last", number.to_string())], None);
        writes.push(self.table.prepare(records::NUMBER, version, counter));
        let committed = self.table.commit(writes, None).await;
        committed.map_err(counter_moved)?;
        Ok(number)
    }

    fn copies(&self, message: &Message, number: u64, groups: &[Group]) -> Result<Vec<Write>> {
        let value = encode(message)?;
        let kept = put(value.clone(), &[], Some(millis(KEPT)));
        let mut writes = vec![self.always(records::kept(number), kept)];
        for (name, consumer) in groups {
            if matches(&consumer.pattern, &message.topic) {
                let copy = put(
                    value.clone(),
                    &[(ATTEMPTS, "0".to_owned())],
                    copy_ttl(consumer),
                );
                writes.push(self.always(records::message(name, number), copy));
            }
        }
        Ok(writes)
    }

    /// What must be written so that a group has room for more; an error when it will not have it.
    async fn make_room(
        &self,
        name: &str,
        consumer: &Consumer,
        count: usize,
        until: Instant,
    ) -> Result<Vec<Write>> {
        let over = Select {
            offset: consumer.backlog_max.saturating_sub(count),
            limit: count.max(1),
            order: Order::Descending,
            ..Select::prefix(records::messages(name))
        };
        let over = self.table.list(over).await?.records;
        if over.is_empty() {
            return Ok(Vec::new());
        }
        match consumer.slow {
            Slow::Refuse => Err(full(name, consumer)),
            Slow::Block if self.clock().now() >= until => Err(full(name, consumer)),
            Slow::Block => Err(Error::aborted("full").with_detail("reason", BLOCKED)),
            Slow::DropOldest => {
                let oldest = self.oldest_waiting(name, over.len()).await?;
                let dropped = oldest.len() as u64;
                let mut writes = Vec::new();
                for (number, put_off) in oldest {
                    let message = records::message(name, number);
                    writes.push(self.always(message, Action::Delete));
                    // If it is delivered meanwhile, another is looked for.
                    let claim = records::claim(name, number);
                    writes.push(match put_off {
                        Some(version) => {
                            let unchanged = Condition::IfVersion(version);
                            self.table.prepare(claim, unchanged, Action::Delete)
                        }
                        None => self
                            .table
                            .prepare(claim, Condition::IfAbsent, Action::Check),
                    });
                }
                if dropped > 0 {
                    writes.push(self.count(name, consumer, (dropped, 0)).await?);
                }
                Ok(writes)
            }
        }
    }

    /// The oldest messages that wait, which those that are out do not; with the version of what
    /// puts them off, if anything does.
    async fn oldest_waiting(&self, name: &str, count: usize) -> Result<Vec<(u64, Option<u64>)>> {
        let claims = self
            .table
            .list(Select::prefix(records::claims(name)))
            .await?;
        let claims = claims.records.iter();
        let claims: BTreeMap<u64, &Record> =
            claims.map(|claim| (number_of(claim), claim)).collect();
        let oldest = Select {
            limit: (count + claims.len()).min(LIST_MAX),
            ..Select::prefix(records::messages(name))
        };
        let oldest = self.table.list(oldest).await?;
        let waiting =
            oldest
                .records
                .iter()
                .map(number_of)
                .filter_map(|number| match claims.get(&number) {
                    None => Some((number, None)),
                    Some(claim) if noted(claim, DELAY) > 0 => Some((number, Some(claim.version))),
                    Some(_) => None,
                });
        Ok(waiting.take(count).collect())
    }
}

/// An id that was published is no race; a counter that another has made is.
fn counter_moved(error: Error) -> Error {
    match error.detail("key") {
        Some(key) if key.starts_with(records::ID) => error,
        Some(_) => Error::aborted(error.message().to_owned()),
        None => error,
    }
}
