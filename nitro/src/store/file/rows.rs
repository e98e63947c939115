//! Rows in the file: redb's tables, and how a row is written in them.
//!
//! A row is its checksum (with the place, so that rows cannot be exchanged), version, expiry,
//! metadata and value, numbers little-endian.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use redb::{ReadableTable, Table, TableDefinition};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Kind, Result};
use crate::store::Order;
use crate::store::commit::{DAMAGED, Place, Row, Rows, RowsMut};

pub(super) const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("nitro/records");
const EXPIRIES: TableDefinition<(u64, &[u8]), ()> = TableDefinition::new("nitro/expiries");
const FENCES: TableDefinition<&str, u64> = TableDefinition::new("nitro/fences");
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("nitro/meta");

/// The keys of [`META`]: the format, the number of the last revision, the store's clock then.
pub(super) const FORMAT: &str = "format";
pub(super) const REVISION: &str = "revision";
pub(super) const TIME: &str = "time_ns";

/// What stands for never, as an expiry.
const NEVER: u64 = u64::MAX;

/// Any error of redb as nitro's own.
pub(super) fn error(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let kind = match &error {
        redb::Error::Io(io) => return from_io(io),
        redb::Error::Corrupted(_) => Kind::DataLoss,
        redb::Error::UpgradeRequired(_) => Kind::FailedPrecondition,
        redb::Error::PreviousIo | redb::Error::Backend(_) => Kind::Unavailable,
        redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => {
            Kind::FailedPrecondition
        }
        _ => Kind::Internal,
    };
    Error::new(kind, format!("store: {error}")).with_source(error)
}

/// An error of the disk; one that redb makes of a file that ends too soon is damage.
fn from_io(io: &std::io::Error) -> Error {
    let kind = match io.kind() {
        std::io::ErrorKind::UnexpectedEof => Kind::DataLoss,
        _ => Error::from(std::io::Error::from(io.kind())).kind(),
    };
    Error::new(kind, format!("store: the disk failed: {io}"))
}

/// The rows as a transaction that writes has them.
pub(super) struct Written<'txn> {
    records: Table<'txn, &'static [u8], &'static [u8]>,
    expiries: Table<'txn, (u64, &'static [u8]), ()>,
    fences: Table<'txn, &'static str, u64>,
}

impl<'txn> Written<'txn> {
    pub(super) fn open(transaction: &'txn redb::WriteTransaction) -> Result<Self> {
        Ok(Self {
            records: transaction.open_table(RECORDS).map_err(error)?,
            expiries: transaction.open_table(EXPIRIES).map_err(error)?,
            fences: transaction.open_table(FENCES).map_err(error)?,
        })
    }
}

/// The rows as a transaction that reads has them.
pub(super) struct Seen(pub(super) redb::ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Rows for Seen {
    fn get(&self, place: &[u8]) -> Result<Option<Row>> {
        get(&self.0, place)
    }

    fn visit(
        &self,
        range: (&[u8], &[u8]),
        order: Order,
        each: &mut dyn FnMut(&[u8], Row) -> ControlFlow<()>,
    ) -> Result<()> {
        visit(&self.0, range, order, each)
    }
}

impl Rows for Written<'_> {
    fn get(&self, place: &[u8]) -> Result<Option<Row>> {
        get(&self.records, place)
    }

    fn visit(
        &self,
        range: (&[u8], &[u8]),
        order: Order,
        each: &mut dyn FnMut(&[u8], Row) -> ControlFlow<()>,
    ) -> Result<()> {
        visit(&self.records, range, order, each)
    }
}

impl RowsMut for Written<'_> {
    fn put(&mut self, place: &[u8], row: Row) -> Result<()> {
        self.remove(place)?;
        if let Some(at) = row.expires {
            self.expiries.insert((at, place), ()).map_err(error)?;
        }
        let encoded = encode(place, &row);
        self.records.insert(place, &*encoded).map_err(error)?;
        Ok(())
    }

    fn remove(&mut self, place: &[u8]) -> Result<()> {
        let removed = self.records.remove(place).map_err(error)?;
        let expires = removed.and_then(|row| expiry(row.value()));
        if let Some(at) = expires {
            self.expiries.remove((at, place)).map_err(error)?;
        }
        Ok(())
    }

    fn first_expiry(&self) -> Result<Option<(u64, Place)>> {
        let first = self.expiries.first().map_err(error)?;
        Ok(first.map(|(key, _)| (key.value().0, key.value().1.to_vec())))
    }

    /// The note may be about a row that is gone, or was damaged and written anew: then it is all
    /// that is removed.
    fn expire(&mut self, at: u64, place: &[u8]) -> Result<()> {
        let found = self.records.get(place).map_err(error)?;
        let expires = found.and_then(|row| expiry(row.value()));
        if expires == Some(at) {
            self.remove(place)?;
        }
        self.expiries.remove((at, place)).map_err(error)?;
        Ok(())
    }

    fn fence(&self, name: &str) -> Result<Option<u64>> {
        let found = self.fences.get(name).map_err(error)?;
        Ok(found.map(|token| token.value()))
    }

    fn set_fence(&mut self, name: &str, token: u64) -> Result<()> {
        self.fences.insert(name, token).map_err(error)?;
        Ok(())
    }

    /// The disk says when it is full.
    fn check_room(&self, _rows: usize, _bytes: usize) -> Result<()> {
        Ok(())
    }
}

fn get(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    place: &[u8],
) -> Result<Option<Row>> {
    let found = records.get(place).map_err(error)?;
    found.map(|row| decode(place, row.value())).transpose()
}

fn visit(
    records: &impl ReadableTable<&'static [u8], &'static [u8]>,
    (from, to): (&[u8], &[u8]),
    order: Order,
    each: &mut dyn FnMut(&[u8], Row) -> ControlFlow<()>,
) -> Result<()> {
    let mut range = records.range::<&[u8]>(from..to).map_err(error)?;
    loop {
        let next = match order {
            Order::Ascending => range.next(),
            Order::Descending => range.next_back(),
        };
        let Some(next) = next else { return Ok(()) };
        let (place, row) = next.map_err(error)?;
        let row = decode(place.value(), row.value())?;
        if each(place.value(), row).is_break() {
            return Ok(());
        }
    }
}

fn encode(place: &[u8], row: &Row) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(row.version.to_le_bytes());
    bytes.extend(row.expires.unwrap_or(NEVER).to_le_bytes());
    let count = u16::try_from(row.metadata.len()).expect("metadata is limited");
    bytes.extend(count.to_le_bytes());
    for text in row.metadata.iter().flat_map(|(name, value)| [name, value]) {
        let length = u16::try_from(text.len()).expect("metadata is limited");
        bytes.extend(length.to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes.extend(&*row.value);
    let checksum = checksum(place, &bytes[8..]);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn checksum(place: &[u8], rest: &[u8]) -> u64 {
    xxh3_64_with_seed(rest, xxhash_rust::xxh3::xxh3_64(place))
}

/// When a row goes, without looking at the rest of it.
fn expiry(bytes: &[u8]) -> Option<u64> {
    let at = bytes.get(16..24)?.try_into().expect("8 bytes");
    Some(u64::from_le_bytes(at)).filter(|at| *at != NEVER)
}

fn decode(place: &[u8], bytes: &[u8]) -> Result<Row> {
    let damaged = || {
        let place = place.escape_ascii();
        let message = format!("store: the record at {place} is damaged");
        Error::data_loss(message).with_detail("reason", DAMAGED)
    };
    let (stored, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    if u64::from_le_bytes(*stored) != checksum(place, rest) {
        return Err(damaged());
    }
    parse(rest).ok_or_else(damaged)
}

fn parse(bytes: &[u8]) -> Option<Row> {
    let (version, rest) = bytes.split_first_chunk::<8>()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let (count, mut rest) = rest.split_first_chunk::<2>()?;
    let mut metadata = BTreeMap::new();
    let mut text = || {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (text, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        rest = after;
        String::from_utf8(text.to_vec()).ok()
    };
    for _ in 0..u16::from_le_bytes(*count) {
        metadata.insert(text()?, text()?);
    }
    Some(Row {
        value: Bytes::copy_from_slice(rest),
        metadata,
        version: u64::from_le_bytes(*version),
        expires: Some(u64::from_le_bytes(*expires)).filter(|at| *at != NEVER),
    })
}
