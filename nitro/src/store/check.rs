//! What a request to a store must be like, the same for every backend.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{
    Action, BATCH_BYTES_MAX, Commit, Condition, Fence, KEY_BYTES_MAX, LIST_MAX, METADATA_BYTES_MAX,
    NAME_BYTES_MAX, Request, Select, TTL_MAX, TableName, VALUE_BYTES_MAX, WRITES_MAX, Write,
};
use crate::error::{Error, Result};

impl Request {
    /// Checks it against the limits of the port; backends do so before anything else.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument), saying what is wrong and what is right.
    pub fn check(&self) -> Result<()> {
        match self {
            Request::Read { table, key } => {
                table.check()?;
                check_key(key)
            }
            Request::List { table, select } => {
                table.check()?;
                select.check()
            }
            Request::Commit(commit) => commit.check(),
            Request::Watch { table, prefix, .. } => {
                table.check()?;
                check_part("prefix", prefix)
            }
        }
    }
}

impl TableName {
    fn check(&self) -> Result<()> {
        check_name("database", &self.database)?;
        check_name("table", &self.table)
    }
}

impl Select {
    fn check(&self) -> Result<()> {
        check_part("prefix", &self.prefix)?;
        check_part("suffix", &self.suffix)?;
        if let Some(after) = &self.after {
            check_part("after", after)?;
        }
        if !(1..=LIST_MAX).contains(&self.limit) {
            let limit = self.limit;
            return Err(wrong(format!("limit {limit}: expected 1 to {LIST_MAX}")));
        }
        Ok(())
    }
}

impl Commit {
    /// Checks it against the limits of the port.
    ///
    /// # Errors
    ///
    /// As [`Request::check`].
    pub fn check(&self) -> Result<()> {
        if let Some(fence) = &self.fence {
            fence.check()?;
        }
        if self.writes.is_empty() && self.fence.is_none() {
            return Err(wrong("a commit without writes and without a fence"));
        }
        if self.writes.len() > WRITES_MAX {
            let count = self.writes.len();
            return Err(wrong(format!("{count} writes: at most {WRITES_MAX}")));
        }
        let mut keys = BTreeSet::new();
        for write in &self.writes {
            write.check()?;
            if !keys.insert((&write.table, &write.key)) {
                let key = write.key.escape_debug();
                return Err(wrong(format!("the key \"{key}\" stands twice in a commit")));
            }
        }
        let bytes: usize = self.writes.iter().map(Write::bytes).sum();
        if bytes > BATCH_BYTES_MAX {
            let message = format!("a commit of {bytes} bytes: at most {BATCH_BYTES_MAX}");
            return Err(wrong(message));
        }
        Ok(())
    }
}

impl Write {
    fn check(&self) -> Result<()> {
        self.table.check()?;
        check_key(&self.key)?;
        if self.condition == Condition::Always && self.action == Action::Check {
            return Err(wrong("a check without a condition: give it one"));
        }
        let Action::Put {
            value,
            metadata,
            ttl_ms,
        } = &self.action
        else {
            return Ok(());
        };
        if value.len() > VALUE_BYTES_MAX {
            let length = value.len();
            let message = format!("a value of {length} bytes: at most {VALUE_BYTES_MAX}");
            return Err(wrong(message));
        }
        let length = metadata_bytes(metadata);
        if length > METADATA_BYTES_MAX {
            let message = format!("metadata of {length} bytes: at most {METADATA_BYTES_MAX}");
            return Err(wrong(message));
        }
        ttl_ms.map_or(Ok(()), check_ttl)
    }

    /// What it adds to a store or a message, about.
    pub(super) fn bytes(&self) -> usize {
        let put = match &self.action {
            Action::Put {
                value, metadata, ..
            } => value.len() + metadata_bytes(metadata),
            Action::Delete | Action::Check => 0,
        };
        put + self.key.len() + self.table.database.len() + self.table.table.len()
    }
}

impl Fence {
    fn check(&self) -> Result<()> {
        check_name_length("fence", &self.name)?;
        if self.token > i64::MAX as u64 {
            let token = self.token;
            let message = format!("fencing token {token}: at most {}", i64::MAX);
            return Err(wrong(message));
        }
        Ok(())
    }
}

pub(super) fn metadata_bytes(metadata: &BTreeMap<String, String>) -> usize {
    let pairs = metadata.iter();
    pairs.map(|(name, value)| name.len() + value.len()).sum()
}

fn check_ttl(ttl_ms: u64) -> Result<()> {
    if ttl_ms == 0 || Duration::from_millis(ttl_ms) > TTL_MAX {
        return Err(wrong(format!(
            "ttl of {ttl_ms} ms: expected 1 to {}; without one a record stays",
            TTL_MAX.as_millis()
        )));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(wrong("the key is empty: give it 1 byte or more"));
    }
    check_part("key", key)
}

fn check_part(what: &str, text: &str) -> Result<()> {
    if text.len() > KEY_BYTES_MAX {
        let length = text.len();
        let message = format!("a {what} of {length} bytes: at most {KEY_BYTES_MAX}");
        return Err(wrong(message));
    }
    if text.contains('\0') {
        let shown = text.escape_debug();
        let message = format!("the {what} \"{shown}\" has a NUL, which not every store can keep");
        return Err(wrong(message));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<()> {
    check_name_length(what, name)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(allowed) {
        let shown = name.escape_debug();
        return Err(wrong(format!(
            "the {what} \"{shown}\": expected ASCII letters, digits, '-', '_' and '.'"
        )));
    }
    Ok(())
}

fn check_name_length(what: &str, name: &str) -> Result<()> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        let length = name.len();
        return Err(wrong(format!(
            "a {what} of {length} bytes: expected 1 to {NAME_BYTES_MAX}"
        )));
    }
    Ok(())
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("store: {what}"))
}
