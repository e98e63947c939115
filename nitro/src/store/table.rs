//! A table of a store: what an application works with.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Action, Commit, Committed, Condition, Fence, Listed, Record, Reply, Request, Select, Store,
    TableName, Watched, Write, unexpected,
};
use crate::error::Result;
use crate::port::{Revision, millis, millis_at_least};

/// One table of a store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Table {
    store: Store,
    name: TableName,
}

impl Table {
    pub(super) fn new(store: Store, name: TableName) -> Self {
        Self { store, name }
    }

    /// The store it is of.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The record under a key, if there is one.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument) for a key that cannot be one.
    pub async fn read(&self, key: impl Into<String>) -> Result<Option<Record>> {
        let request = Request::Read {
            table: self.name.clone(),
            key: key.into(),
        };
        match self.store.ask(request).await? {
            Reply::Read(record) => Ok(record),
            other => Err(unexpected("read", &other)),
        }
    }

    /// Writes a value that stays; answers its version.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn write(&self, key: impl Into<String>, value: impl Into<Bytes>) -> Result<u64> {
        self.write_if(key, value, Condition::Always).await
    }

    /// Writes a value that stays, on a condition; answers its version.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn write_if(
        &self,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<u64> {
        let write = self.prepare(key, condition, Action::put(value));
        Ok(self.commit(vec![write], None).await?.revision.number)
    }

    /// Writes a value that goes after a time; answers its version.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn write_for(
        &self,
        ttl: Duration,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<u64> {
        let action = Action::Put {
            value: value.into(),
            metadata: BTreeMap::new(),
            ttl_ms: Some(millis(ttl)),
        };
        let write = self.prepare(key, condition, action);
        Ok(self.commit(vec![write], None).await?.revision.number)
    }

    /// Writes a value on the strength of a lock; answers its version.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`]: [`FailedPrecondition`](crate::Kind::FailedPrecondition) when another
    /// holder of the lock has written since.
    pub async fn write_fenced(
        &self,
        fence: Fence,
        key: impl Into<String>,
        value: impl Into<Bytes>,
        condition: Condition,
    ) -> Result<u64> {
        let write = self.prepare(key, condition, Action::put(value));
        Ok(self.commit(vec![write], Some(fence)).await?.revision.number)
    }

    /// Deletes a record; answers whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn delete(&self, key: impl Into<String>) -> Result<bool> {
        self.delete_if(key, Condition::Always).await
    }

    /// Deletes a record on a condition; answers whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn delete_if(&self, key: impl Into<String>, condition: Condition) -> Result<bool> {
        let write = self.prepare(key, condition, Action::Delete);
        Ok(self.commit(vec![write], None).await?.existed == [true])
    }

    /// Some of its records.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument) for a limit or a text out of range.
    pub async fn list(&self, select: Select) -> Result<Listed> {
        let table = self.name.clone();
        match self.store.ask(Request::List { table, select }).await? {
            Reply::Listed(listed) => Ok(listed),
            other => Err(unexpected("list", &other)),
        }
    }

    /// What happened to keys that begin so after a revision: at once if anything did, else as
    /// soon as something does, and with no changes after `wait` or
    /// [`WATCH_WAIT_MAX`](super::WATCH_WAIT_MAX).
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, or has too many watchers.
    pub async fn watch(
        &self,
        prefix: impl Into<String>,
        after: Revision,
        wait: Duration,
    ) -> Result<Watched> {
        let request = Request::Watch {
            table: self.name.clone(),
            prefix: prefix.into(),
            after,
            wait_ms: millis_at_least(wait),
        };
        match self.store.ask(request).await? {
            Reply::Watched(watched) => Ok(watched),
            other => Err(unexpected("watch", &other)),
        }
    }

    /// A write in this table, for a commit.
    pub fn prepare(&self, key: impl Into<String>, condition: Condition, action: Action) -> Write {
        Write {
            table: self.name.clone(),
            key: key.into(),
            condition,
            action,
        }
    }

    /// Makes writes together.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub async fn commit(&self, writes: Vec<Write>, fence: Option<Fence>) -> Result<Committed> {
        self.store.commit(Commit { writes, fence }).await
    }
}
