//! What a store is asked and what it answers, as plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::WATCH_WAIT_MAX;
use crate::port::{Fence, PortRequest, Revision, octets};

/// The name of a table: 1 to 255 ASCII letters, digits, `-`, `_` and `.` each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The database it is in.
    pub database: String,
    /// The table.
    pub table: String,
}

/// What a store is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The record under a key.
    Read {
        /// The table.
        table: TableName,
        /// The key.
        key: String,
    },
    /// The records of a table by key.
    List {
        /// The table.
        table: TableName,
        /// Which of them.
        select: Select,
    },
    /// Make writes, all or none.
    Commit(Commit),
    /// What changed since, waiting for a change if there is none yet.
    Watch {
        /// The table.
        table: TableName,
        /// The start of the keys that matter; empty for all.
        prefix: String,
        /// The last revision seen.
        after: Revision,
        /// How long to wait, in milliseconds; see [`WATCH_WAIT_MAX`].
        wait_ms: u64,
    },
}

impl PortRequest for Request {
    fn name(&self) -> &'static str {
        match self {
            Request::Read { .. } => "store/read",
            Request::List { .. } => "store/list",
            Request::Commit(_) => "store/commit",
            Request::Watch { .. } => "store/watch",
        }
    }

    /// A commit is not: between its two times somebody else may have written.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Request::Commit(_))
    }

    fn wait(&self) -> Duration {
        match self {
            Request::Watch { wait_ms, .. } => Duration::from_millis(*wait_ms).min(WATCH_WAIT_MAX),
            _ => Duration::ZERO,
        }
    }
}

/// Which records of a table. The default is all of them, as many as one answer holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Select {
    /// What keys begin with.
    pub prefix: String,
    /// What keys end with.
    pub suffix: String,
    /// The key after which to go on, in the order asked for, whether or not it is there.
    pub after: Option<String>,
    /// How many of those that match to pass over.
    pub offset: usize,
    /// How many at the most, 1 to [`LIST_MAX`](super::LIST_MAX).
    pub limit: usize,
    /// In which order.
    pub order: Order,
}

impl Default for Select {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            suffix: String::new(),
            after: None,
            offset: 0,
            limit: super::LIST_MAX,
            order: Order::Ascending,
        }
    }
}

impl Select {
    /// The records whose keys begin so.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            ..Self::default()
        }
    }
}

/// The order of keys, by their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The smallest first.
    #[default]
    Ascending,
    /// The greatest first.
    Descending,
}

/// Writes that are made together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The writes; no key stands twice.
    pub writes: Vec<Write>,
    /// The lock on whose strength they are made.
    pub fence: Option<Fence>,
}

/// One write of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The table.
    pub table: TableName,
    /// The key: 1 to [`KEY_BYTES_MAX`](super::KEY_BYTES_MAX) bytes without NUL.
    pub key: String,
    /// On which condition.
    pub condition: Condition,
    /// What is done.
    pub action: Action,
}

/// On which condition a write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// On none.
    #[default]
    Always,
    /// The key has no record.
    IfAbsent,
    /// The key has a record of this version.
    IfVersion(u64),
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Puts a record in place of what was there.
    Put {
        /// The value.
        #[serde(with = "octets")]
        value: Bytes,
        /// What is said about it.
        metadata: BTreeMap<String, String>,
        /// How long it stays, in milliseconds; for ever without.
        ttl_ms: Option<u64>,
    },
    /// Removes the record; no error if there is none.
    Delete,
    /// Does nothing; the condition is all that matters.
    Check,
}

impl Action {
    /// Puts a value that stays.
    pub fn put(value: impl Into<Bytes>) -> Self {
        Action::Put {
            value: value.into(),
            metadata: BTreeMap::new(),
            ttl_ms: None,
        }
    }
}

/// What a store answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Read`].
    Read(Option<Record>),
    /// To [`Request::List`].
    Listed(Listed),
    /// To [`Request::Commit`].
    Committed(Committed),
    /// To [`Request::Watch`].
    Watched(Watched),
}

/// A value under its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The key.
    pub key: String,
    /// The value.
    #[serde(with = "octets")]
    pub value: Bytes,
    /// What is said about it.
    pub metadata: BTreeMap<String, String>,
    /// The number of the revision that wrote it.
    pub version: u64,
    /// How long it still stays, in milliseconds; for ever without.
    pub ttl_ms: Option<u64>,
}

/// Records of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The records; empty when none match, which is not an error.
    pub records: Vec<Record>,
    /// Whether there are more than one answer holds, or than the limit asked for: go on after the
    /// last key.
    pub more: bool,
    /// The moment.
    pub revision: Revision,
}

/// What a commit came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The revision it made; the one before if it changed nothing.
    pub revision: Revision,
    /// For each write, whether there had been a record.
    pub existed: Vec<bool>,
}

/// What happened after a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watched {
    /// These changes, and no others; those of a commit always together.
    Changes {
        /// The changes, oldest first; empty when the wait was over first.
        changes: Vec<Change>,
        /// What to ask after next.
        revision: Revision,
    },
    /// It cannot be told, because the store was opened anew or it is too long ago: list what
    /// there is, and watch after the list's revision.
    Reset,
}

/// A change of one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The revision that made it.
    pub revision: Revision,
    /// The key.
    pub key: String,
    /// What happened to the record.
    pub kind: ChangeKind,
}

/// What can happen to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was written: what it was then, with the time to live it was given.
    Put(Record),
    /// It was deleted.
    Deleted,
    /// Its time to live passed.
    Expired,
}
