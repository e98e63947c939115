//! What a commit, a read and a list do to rows, wherever these are kept.
//!
//! The file and the memory share this, so that they cannot differ; each keeps only its rows.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::check::metadata_bytes;
use super::{
    Action, BATCH_BYTES_MAX, Change, ChangeKind, Commit, Condition, Fence, Order, Record, Select,
    TableName, Write,
};
use crate::error::{Error, Result};
use crate::port::Revision;

/// Where a row is kept: database, table and key, so that rows are in order of these.
pub(super) type Place = Vec<u8>;

/// Why a single row cannot be had, while others can: the detail `reason` of the error.
pub(super) const DAMAGED: &str = "damaged";

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) value: Bytes,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) version: u64,
    /// When it goes, in nanoseconds on the store's clock.
    pub(super) expires: Option<u64>,
}

/// Rows that can be looked at.
pub(super) trait Rows {
    fn get(&self, place: &[u8]) -> Result<Option<Row>>;
    /// Shows the rows from a place up to another, until told to stop.
    fn visit(
        &self,
        range: (&[u8], &[u8]),
        order: Order,
        each: &mut dyn FnMut(&[u8], Row) -> ControlFlow<()>,
    ) -> Result<()>;
}

/// Rows that can be changed.
pub(super) trait RowsMut: Rows {
    /// Puts a row, and notes when it goes.
    fn put(&mut self, place: &[u8], row: Row) -> Result<()>;
    fn remove(&mut self, place: &[u8]) -> Result<()>;
    /// Removes a row whose time is up.
    fn expire(&mut self, at: u64, place: &[u8]) -> Result<()>;
    /// The row that goes first, and when.
    fn first_expiry(&self) -> Result<Option<(u64, Place)>>;
    fn fence(&self, name: &str) -> Result<Option<u64>>;
    fn set_fence(&mut self, name: &str, token: u64) -> Result<()>;
    /// Whether there is room for so many more rows and bytes.
    fn check_room(&self, rows: usize, bytes: usize) -> Result<()>;
}

/// A change with the place it was made at.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) place: Place,
    pub(super) change: Change,
}

/// What a commit did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) existed: Vec<bool>,
    pub(super) changes: Vec<Logged>,
}

/// The place of a key, or the start of the places of all keys with that prefix.
pub(super) fn place(table: &TableName, key: &str) -> Place {
    let parts = [table.database.as_bytes(), table.table.as_bytes()];
    [parts[0], &[0], parts[1], &[0], key.as_bytes()].concat()
}

fn key_of(place: &[u8]) -> String {
    let key = place.splitn(3, |byte| *byte == 0).nth(2);
    let key = key.expect("a place has three parts");
    String::from_utf8(key.to_vec()).expect("a key was text when it was written")
}

/// Removes the rows whose time is up, all in one revision.
pub(super) fn expire(rows: &mut impl RowsMut, now: u64, at: &mut Revision) -> Result<Vec<Logged>> {
    let mut changes = Vec::new();
    while let Some((expires, place)) = rows.first_expiry()? {
        if expires > now {
            break;
        }
        if changes.is_empty() {
            at.number += 1;
        }
        rows.expire(expires, &place)?;
        changes.push(logged(place, *at, ChangeKind::Expired));
    }
    Ok(changes)
}

/// Makes a commit, if all its conditions hold. Rows whose time is up have been removed before.
/// On a refusal nothing is changed.
pub(super) fn apply(
    rows: &mut impl RowsMut,
    now: u64,
    at: &mut Revision,
    commit: Commit,
) -> Result<Applied> {
    if let Some(fence) = &commit.fence {
        check_fence(rows.fence(&fence.name)?, fence)?;
    }
    let (mut added, mut bytes) = (0, 0);
    let mut existed = Vec::with_capacity(commit.writes.len());
    for write in &commit.writes {
        let is_there = match rows.get(&place(&write.table, &write.key)) {
            // Who does not care what is there may write over it: that is how it is mended.
            Err(damaged) if write.condition == Condition::Always && is_damaged(&damaged) => true,
            before => {
                let before = before?;
                check_condition(write, before.as_ref())?;
                before.is_some()
            }
        };
        existed.push(is_there);
        if matches!(write.action, Action::Put { .. }) {
            added += usize::from(!is_there);
            bytes += write.bytes();
        }
    }
    rows.check_room(added, bytes)?;
    if let Some(fence) = &commit.fence {
        rows.set_fence(&fence.name, fence.token)?;
    }
    let revision = Revision {
        number: at.number + 1,
        ..*at
    };
    let mut changes = Vec::new();
    for (write, existed) in commit.writes.into_iter().zip(&existed) {
        let place = place(&write.table, &write.key);
        match write.action {
            Action::Put {
                value,
                metadata,
                ttl_ms,
            } => {
                let record = Record {
                    key: write.key,
                    value: value.clone(),
                    metadata: metadata.clone(),
                    version: revision.number,
                    ttl_ms,
                };
                let expires = ttl_ms.map(|ms| now.saturating_add(ms.saturating_mul(1_000_000)));
                let version = revision.number;
                let row = Row {
                    value,
                    metadata,
                    version,
                    expires,
                };
                rows.put(&place, row)?;
                changes.push(logged(place, revision, ChangeKind::Put(record)));
            }
            Action::Delete if *existed => {
                rows.remove(&place)?;
                changes.push(logged(place, revision, ChangeKind::Deleted));
            }
            Action::Delete | Action::Check => {}
        }
    }
    if !changes.is_empty() {
        *at = revision;
    }
    Ok(Applied { existed, changes })
}

/// Whether it is about one row, while others can be had.
pub(super) fn is_damaged(error: &Error) -> bool {
    error.detail("reason") == Some(DAMAGED)
}

fn logged(place: Place, revision: Revision, kind: ChangeKind) -> Logged {
    let key = key_of(&place);
    let change = Change {
        revision,
        key,
        kind,
    };
    Logged { place, change }
}

fn check_fence(seen: Option<u64>, fence: &Fence) -> Result<()> {
    let Some(seen) = seen.filter(|seen| *seen > fence.token) else {
        return Ok(());
    };
    let message = format!(
        "store: fencing token {} of \"{}\" has been overtaken by {seen}: the lock was lost",
        fence.token,
        fence.name.escape_debug()
    );
    Err(Error::failed_precondition(message).with_detail("reason", "fenced"))
}

fn check_condition(write: &Write, before: Option<&Row>) -> Result<()> {
    let key = || write.key.escape_debug();
    match (write.condition, before.map(|row| row.version)) {
        (Condition::Always, _) | (Condition::IfAbsent, None) => Ok(()),
        (Condition::IfVersion(asked), Some(version)) if asked == version => Ok(()),
        (Condition::IfAbsent, Some(version)) => {
            let message = format!("store: the key \"{}\" has version {version}", key());
            Err(Error::already_exists(message).with_detail("key", &*write.key))
        }
        (Condition::IfVersion(asked), found) => {
            let found = found.map_or("no record".to_owned(), |version| {
                format!("version {version}")
            });
            let message = format!("store: the key \"{}\" has {found}, not {asked}", key());
            Err(Error::aborted(message).with_detail("key", &*write.key))
        }
    }
}

/// The record at a place, if its time is not up.
pub(super) fn read(rows: &impl Rows, now: u64, place: &[u8]) -> Result<Option<Record>> {
    let row = rows.get(place)?;
    Ok(row.and_then(|row| record(key_of(place), row, now)))
}

/// The row as a record, unless its time is up.
fn record(key: String, row: Row, now: u64) -> Option<Record> {
    let left = row.expires.map(|at| at.saturating_sub(now));
    // What is left of a millisecond counts as one: a record that is there has time left.
    let ttl_ms = left.map(|left| left.div_ceil(1_000_000));
    (ttl_ms != Some(0)).then_some(Record {
        key,
        value: row.value,
        metadata: row.metadata,
        version: row.version,
        ttl_ms,
    })
}

/// The records that are asked for, and whether there are more.
pub(super) fn list(
    rows: &impl Rows,
    now: u64,
    table: &TableName,
    select: &Select,
) -> Result<(Vec<Record>, bool)> {
    let (mut from, mut to) = (place(table, &select.prefix), end_of(table, &select.prefix));
    if let Some(after) = &select.after {
        let after = place(table, after);
        match select.order {
            Order::Ascending => from = from.max([&*after, &[0]].concat()),
            Order::Descending => to = to.min(after),
        }
    }
    let (mut records, mut more) = (Vec::new(), false);
    let (mut skip, mut bytes) = (select.offset, 0);
    let suffix = select.suffix.as_bytes();
    if from >= to {
        return Ok((records, more));
    }
    rows.visit((&from, &to), select.order, &mut |place, row| {
        // The suffix is looked for in the key alone: it may not reach into the table's name.
        let key = key_of(place);
        if !key.as_bytes().ends_with(suffix) {
            return ControlFlow::Continue(());
        }
        let Some(record) = record(key, row, now) else {
            return ControlFlow::Continue(());
        };
        if skip > 0 {
            skip -= 1;
            return ControlFlow::Continue(());
        }
        bytes += record.key.len() + record.value.len() + metadata_bytes(&record.metadata);
        let is_full = bytes > BATCH_BYTES_MAX && !records.is_empty();
        if records.len() == select.limit || is_full {
            more = true;
            return ControlFlow::Break(());
        }
        records.push(record);
        ControlFlow::Continue(())
    })?;
    Ok((records, more))
}

/// The first place after those of all keys with a prefix. Text has no byte 0xFF, and a table's
/// own prefix ends with 0, so the last byte can always be raised.
fn end_of(table: &TableName, prefix: &str) -> Place {
    let mut end = place(table, prefix);
    *end.last_mut().expect("a place is not empty") += 1;
    end
}
