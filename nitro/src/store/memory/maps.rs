//! Rows in memory: maps, and what they may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::Limits;
use crate::error::{Error, Result};
use crate::store::Order;
use crate::store::check::metadata_bytes;
use crate::store::commit::{Place, Row, Rows, RowsMut};

/// The rows of a store in memory.
pub(super) struct Maps {
    rows: BTreeMap<Place, Row>,
    /// The rows that go, by time.
    expiries: BTreeSet<(u64, Place)>,
    fences: BTreeMap<String, u64>,
    bytes: usize,
    limits: Limits,
}

impl Maps {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rows: BTreeMap::new(),
            expiries: BTreeSet::new(),
            fences: BTreeMap::new(),
            bytes: 0,
            limits,
        }
    }
}

fn bytes(place: &[u8], row: &Row) -> usize {
    place.len() + row.value.len() + metadata_bytes(&row.metadata)
}

impl Rows for Maps {
    fn get(&self, place: &[u8]) -> Result<Option<Row>> {
        Ok(self.rows.get(place).cloned())
    }

    fn visit(
        &self,
        (from, to): (&[u8], &[u8]),
        order: Order,
        each: &mut dyn FnMut(&[u8], Row) -> ControlFlow<()>,
    ) -> Result<()> {
        let range = self.rows.range(from.to_vec()..to.to_vec());
        let mut show = |(place, row): (&Place, &Row)| each(place, row.clone());
        // Being told to stop is no failure.
        let _ = match order {
            Order::Ascending => range.into_iter().try_for_each(&mut show),
            Order::Descending => range.rev().try_for_each(&mut show),
        };
        Ok(())
    }
}

impl RowsMut for Maps {
    fn put(&mut self, place: &[u8], row: Row) -> Result<()> {
        self.remove(place)?;
        self.bytes += bytes(place, &row);
        if let Some(at) = row.expires {
            self.expiries.insert((at, place.to_vec()));
        }
        self.rows.insert(place.to_vec(), row);
        Ok(())
    }

    fn remove(&mut self, place: &[u8]) -> Result<()> {
        if let Some(row) = self.rows.remove(place) {
            self.bytes -= bytes(place, &row);
            if let Some(at) = row.expires {
                self.expiries.remove(&(at, place.to_vec()));
            }
        }
        Ok(())
    }

    fn expire(&mut self, _at: u64, place: &[u8]) -> Result<()> {
        self.remove(place)
    }

    fn first_expiry(&self) -> Result<Option<(u64, Place)>> {
        Ok(self.expiries.first().cloned())
    }

    fn fence(&self, name: &str) -> Result<Option<u64>> {
        if let Some(token) = self.fences.get(name) {
            return Ok(Some(*token));
        }
        if self.fences.len() >= self.limits.fences_max {
            let most = self.limits.fences_max;
            let message = format!("store: it remembers tokens under {most} names, the most it can");
            return Err(Error::resource_exhausted(message));
        }
        Ok(None)
    }

    fn set_fence(&mut self, name: &str, token: u64) -> Result<()> {
        self.fences.insert(name.to_owned(), token);
        Ok(())
    }

    fn check_room(&self, rows: usize, bytes: usize) -> Result<()> {
        let Limits {
            records_max,
            bytes_max,
            ..
        } = self.limits;
        if rows > 0 && self.rows.len() + rows > records_max {
            let message = format!("store: it is full: at most {records_max} records");
            return Err(Error::resource_exhausted(message));
        }
        if bytes > 0 && self.bytes + bytes > bytes_max {
            let message = format!("store: it is full: at most {bytes_max} bytes");
            return Err(Error::resource_exhausted(message));
        }
        Ok(())
    }
}
