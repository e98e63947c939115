//! What is done to the messages of groups, each time in one commit.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::records::{self, ATTEMPTS, decode, encode, noted, number_of, put};
use super::{GROUPS_MAX, KEPT};
use crate::broker::check::{same_terms, unknown_subscription};
use crate::broker::{Consumer, Message, PRIVATE_TTL, Pulled, Start, matches};
use crate::error::{Error, Kind, Result};
use crate::held;
use crate::host::{Clock, Host};
use crate::port::{Revision, millis};
use crate::store::{Action, Condition, Record, Select, Store, Table, WRITES_MAX, Watched, Write};
use crate::time::Instant;

/// How often a commit is tried that another broker over the same store was ahead of.
pub(super) const TRIES_MAX: usize = 64;

pub(super) struct Groups {
    clock: Arc<dyn Clock>,
    pub(super) table: Table,
    /// Publishers here take turns, instead of getting in each other's way in the store.
    pub(super) turn: Mutex<()>,
}

pub(super) type Group = (String, Consumer);

impl Groups {
    pub(super) fn new(host: &Host, store: &Store) -> Self {
        Self {
            clock: Arc::clone(&host.clock),
            table: store.table("nitro", "messages"),
            turn: Mutex::new(()),
        }
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) async fn groups(&self) -> Result<(Vec<Group>, Revision)> {
        let listed = self.table.list(Select::prefix(records::GROUPS)).await?;
        let group = |record: &Record| {
            let name = record.key[records::GROUPS.len()..].to_owned();
            Ok((name, decode(record)?))
        };
        let groups = listed
            .records
            .iter()
            .map(group)
            .collect::<Result<Vec<_>>>()?;
        held::tell(held::SUBSCRIPTIONS, groups.len());
        Ok((groups, listed.revision))
    }

    pub(super) async fn consumer(&self, name: &str) -> Result<Consumer> {
        let found = self.table.read(records::group(name)).await?;
        let found = found.ok_or_else(|| unknown_subscription(name))?;
        decode(&found)
    }

    pub(super) fn always(&self, key: String, action: Action) -> Write {
        self.table.prepare(key, Condition::Always, action)
    }

    /// A write that counts what a group has lost and what has died.
    pub(super) async fn count(
        &self,
        name: &str,
        consumer: &Consumer,
        (dropped, dead): (u64, u64),
    ) -> Result<Write> {
        let (before, found) = self.counts(name).await?;
        let condition = found.map_or(Condition::IfAbsent, |record| {
            Condition::IfVersion(record.version)
        });
        let noted = [
            ("dropped", (before.dropped + dropped).to_string()),
            ("dead", (before.dead + dead).to_string()),
        ];
        let action = put(Default::default(), &noted, copy_ttl(consumer));
        Ok(self.table.prepare(records::counts(name), condition, action))
    }

    pub(super) async fn counts(&self, name: &str) -> Result<(Pulled, Option<Record>)> {
        let found = self.table.read(records::counts(name)).await?;
        let noted = |what| found.as_ref().map_or(0, |record| noted(record, what));
        let pulled = Pulled {
            delivered: Vec::new(),
            dropped: noted("dropped"),
            dead: noted("dead"),
        };
        Ok((pulled, found))
    }

    pub(super) async fn subscribe(&self, name: &str, consumer: Consumer) -> Result<()> {
        let key = records::group(name);
        if let Some(found) = self.table.read(&*key).await? {
            same_terms(name, &decode(&found)?, &consumer)?;
            return self.keep(name).await;
        }
        let count = self.groups().await?.0.len();
        if count >= GROUPS_MAX {
            let message = format!("broker: there are {GROUPS_MAX} subscriptions, the most it has");
            return Err(Error::resource_exhausted(message));
        }
        if consumer.group.is_none() {
            // What it had left when it was forgotten. A group may be another's by now.
            self.clear(name).await?;
        }
        let terms = put(encode(&consumer)?, &[], private_ttl(&consumer));
        let write = self.table.prepare(&*key, Condition::IfAbsent, terms);
        match self.table.commit(vec![write], None).await {
            Err(error) if error.kind() == Kind::AlreadyExists => {
                return same_terms(name, &self.consumer(name).await?, &consumer);
            }
            committed => drop(committed?),
        }
        held::tell(held::SUBSCRIPTIONS, count + 1);
        if let Start::From(first) = consumer.start {
            self.catch_up(name, &consumer, first).await?;
        }
        Ok(())
    }

    /// Lets one who receives alone stay for a while from now.
    pub(super) async fn keep(&self, name: &str) -> Result<()> {
        let found = self.table.read(records::group(name)).await?;
        let found = found.ok_or_else(|| unknown_subscription(name))?;
        let is_ending = |left_ms: u64| left_ms < millis(PRIVATE_TTL) * 3 / 4;
        if !found.ttl_ms.is_some_and(is_ending) {
            return Ok(());
        }
        let terms = put(found.value, &[], Some(millis(PRIVATE_TTL)));
        let unchanged = Condition::IfVersion(found.version);
        let write = self.table.prepare(found.key, unchanged, terms);
        match self.table.commit(vec![write], None).await {
            // Somebody else has just done so.
            Err(error) if is_race(&error) => Ok(()),
            kept => kept.map(drop),
        }
    }

    /// Gives a new group what was kept. What is published meanwhile comes twice to the same key,
    /// which is once.
    async fn catch_up(&self, name: &str, consumer: &Consumer, first: u64) -> Result<()> {
        let mut select = Select {
            after: first.checked_sub(1).map(records::kept),
            ..Select::prefix(records::KEPT)
        };
        loop {
            let listed = self.table.list(select.clone()).await?;
            let mut writes = Vec::new();
            for record in &listed.records {
                let message: Message = decode(record)?;
                if matches(&consumer.pattern, &message.topic) {
                    let copy = put(
                        record.value.clone(),
                        &[(ATTEMPTS, "0".to_owned())],
                        copy_ttl(consumer),
                    );
                    writes.push(self.always(records::message(name, number_of(record)), copy));
                }
            }
            for some in writes.chunks(WRITES_MAX / 8) {
                self.table.commit(some.to_vec(), None).await?;
            }
            select.after = listed.records.last().map(|record| record.key.clone());
            if !listed.more {
                return Ok(());
            }
        }
    }

    pub(super) async fn unsubscribe(&self, name: &str) -> Result<bool> {
        let existed = self.table.delete(records::group(name)).await?;
        self.clear(name).await?;
        if held::is_heard() {
            // It tells how many are left.
            self.groups().await?;
        }
        Ok(existed)
    }

    /// Removes all that waits for a group, which is not there any more or not yet.
    async fn clear(&self, name: &str) -> Result<()> {
        loop {
            let listed = self.table.list(Select::prefix(records::of(name))).await?;
            let keys = listed.records.into_iter().map(|record| record.key);
            let deletes = keys.take(WRITES_MAX);
            let writes: Vec<Write> = deletes
                .map(|key| self.always(key, Action::Delete))
                .collect();
            if writes.is_empty() {
                return Ok(());
            }
            self.table.commit(writes, None).await?;
        }
    }

    /// Waits for any change of keys that begin so, no longer than until.
    pub(super) async fn wait(&self, prefix: &str, after: Revision, until: Instant) -> Result<()> {
        let mut after = after;
        loop {
            let wait = until.since(self.clock.now());
            match self.table.watch(prefix, after, wait).await? {
                Watched::Changes { changes, revision }
                    if changes.is_empty() && self.clock.now() < until =>
                {
                    after = revision;
                }
                Watched::Changes { .. } | Watched::Reset => return Ok(()),
            }
        }
    }
}

/// How long what is written for someone who receives alone stays: no longer than what is kept for
/// all, so that nothing is left of those who have gone.
pub(super) fn copy_ttl(consumer: &Consumer) -> Option<u64> {
    consumer.group.is_none().then(|| millis(KEPT))
}

/// How long someone who receives alone stays, when nobody pulls.
fn private_ttl(consumer: &Consumer) -> Option<u64> {
    consumer.group.is_none().then(|| millis(PRIVATE_TTL))
}

/// Whether somebody else was faster.
pub(super) fn is_race(error: &Error) -> bool {
    matches!(error.kind(), Kind::Aborted | Kind::AlreadyExists)
}
