//! The bytes of a file: what its node sees, and what would be left of it after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::draw::Draw;

/// What a disk writes in one go.
pub(super) const SECTOR_BYTES: u64 = 512;

type Sector = [u8; SECTOR_BYTES as usize];

/// How probable it is that a sector reaches the disk before it is written anew, unasked.
const WRITTEN_BACK: f64 = 0.25;

/// Of the sectors that were not synced, the share that a power cut finds written, and the share
/// that it finds half written; the others are as they were.
const KEPT: f64 = 0.4;
const TORN: f64 = 0.2;

/// A file without its name.
pub(super) struct Inode {
    /// What the node sees.
    bytes: Vec<u8>,
    /// What is on the disk: sectors by number, those that are missing are zeros.
    durable: BTreeMap<u64, Sector>,
    durable_length: u64,
    /// The sectors that differ, so far as the machine knows.
    dirty: BTreeSet<u64>,
    /// How many bytes all files of the disk have.
    used: Arc<AtomicU64>,
    /// Who holds it exclusively, and in which life of the node.
    holder: (Weak<()>, u64),
}

/// A file that nobody else of the same life can hold until this is dropped.
pub(super) struct Held {
    _holder: Arc<()>,
}

impl Inode {
    pub(super) fn new(used: Arc<AtomicU64>) -> Self {
        Self {
            bytes: Vec::new(),
            durable: BTreeMap::new(),
            durable_length: 0,
            dirty: BTreeSet::new(),
            used,
            holder: (Weak::new(), 0),
        }
    }

    /// Takes the file for one who is alone with it, unless somebody of the same life is so.
    pub(super) fn hold(&mut self, life: u64) -> Option<Held> {
        let (holder, of) = &self.holder;
        if *of == life && holder.strong_count() > 0 {
            return None;
        }
        let holder = Arc::new(());
        self.holder = (Arc::downgrade(&holder), life);
        Some(Held { _holder: holder })
    }

    pub(super) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many sectors a sync would write.
    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    pub(super) fn read(&self, offset: usize, length: usize) -> Option<&[u8]> {
        self.bytes.get(offset..offset.checked_add(length)?)
    }

    pub(super) fn write(&mut self, offset: usize, new: &[u8], draw: &mut Draw) {
        let end = offset + new.len();
        if new.is_empty() {
            return;
        }
        for sector in offset as u64 / SECTOR_BYTES..=(end as u64 - 1) / SECTOR_BYTES {
            if !self.dirty.insert(sector) && draw.chance(WRITTEN_BACK) {
                self.durable.insert(sector, self.sector(sector));
            }
        }
        if self.bytes.len() < end {
            self.resize(end);
        }
        self.bytes[offset..end].copy_from_slice(new);
    }

    pub(super) fn set_length(&mut self, length: usize) {
        let cut = length as u64 / SECTOR_BYTES;
        // What is cut off must not show again when the file grows.
        let beyond = self.durable.range(cut..).map(|(sector, _)| *sector);
        self.dirty.extend(beyond);
        self.dirty.insert(cut);
        self.resize(length);
    }

    fn resize(&mut self, length: usize) {
        self.used.fetch_sub(self.length(), Ordering::Relaxed);
        self.bytes.resize(length, 0);
        self.used.fetch_add(self.length(), Ordering::Relaxed);
    }

    /// Flips a bit of a byte, in memory and on the disk.
    pub(super) fn flip(&mut self, offset: usize, bit: u64) {
        let flip = 1 << bit;
        if let Some(byte) = self.bytes.get_mut(offset) {
            *byte ^= flip;
        }
        let (sector, at) = (offset as u64 / SECTOR_BYTES, offset % SECTOR_BYTES as usize);
        if let Some(durable) = self.durable.get_mut(&sector) {
            durable[at] ^= flip;
        }
    }

    fn sector(&self, sector: u64) -> Sector {
        let start = (sector * SECTOR_BYTES).min(self.length()) as usize;
        let end = ((sector + 1) * SECTOR_BYTES).min(self.length()) as usize;
        let mut bytes = [0; SECTOR_BYTES as usize];
        bytes[..end - start].copy_from_slice(&self.bytes[start..end]);
        bytes
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.durable.insert(sector, self.sector(sector));
        }
        self.durable_length = self.length();
        self.cut_durable();
    }

    /// Fails to: some of it is durable, and the machine takes the rest for clean, as Linux does.
    pub(super) fn fail_sync(&mut self, draw: &mut Draw) {
        for sector in std::mem::take(&mut self.dirty) {
            if draw.chance(KEPT) {
                self.durable.insert(sector, self.sector(sector));
            }
        }
    }

    /// The power is cut: each sector that was not synced is written, half written or as it was.
    pub(super) fn cut_power(&mut self, draw: &mut Draw) {
        let is_new_length = self.length() != self.durable_length && draw.chance(0.5);
        for sector in std::mem::take(&mut self.dirty) {
            let old = self.durable.get(&sector).copied();
            let mut left = old.unwrap_or([0; SECTOR_BYTES as usize]);
            let mut new = self.sector(sector);
            if !is_new_length {
                // A cut of the file that never was has changed nothing beyond it.
                let seen = self.length().saturating_sub(sector * SECTOR_BYTES);
                let seen = seen.min(SECTOR_BYTES) as usize;
                new[seen..].copy_from_slice(&left[seen..]);
            }
            let fate = draw.number(0.0, 1.0);
            if fate < KEPT {
                left = new;
            } else if fate < KEPT + TORN {
                let tear = draw.whole(1, SECTOR_BYTES - 1) as usize;
                left[..tear].copy_from_slice(&new[..tear]);
            } else if old.is_none() {
                continue;
            }
            self.durable.insert(sector, left);
        }
        if is_new_length {
            self.durable_length = self.length();
        }
        self.cut_durable();
        self.resize(self.durable_length as usize);
        self.bytes.fill(0);
        for (sector, bytes) in &self.durable {
            let start = (sector * SECTOR_BYTES) as usize;
            let length = (self.bytes.len() - start).min(bytes.len());
            self.bytes[start..start + length].copy_from_slice(&bytes[..length]);
        }
    }

    /// Forgets what is on the disk beyond the end of the file.
    fn cut_durable(&mut self) {
        let whole = self.durable_length / SECTOR_BYTES;
        let rest = (self.durable_length % SECTOR_BYTES) as usize;
        let first_beyond = whole + u64::from(rest > 0);
        drop(self.durable.split_off(&first_beyond));
        if let Some(last) = self.durable.get_mut(&whole) {
            last[rest..].fill(0);
        }
    }
}

impl Drop for Inode {
    fn drop(&mut self) {
        self.used.fetch_sub(self.length(), Ordering::Relaxed);
    }
}
