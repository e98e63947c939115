//! A node's disk, which fails as disks do.
//!
//! What was synced is there after a power cut; of what was not, each sector of 512 bytes is
//! written, half written or as it was, by the run's seed, and so are the length of a file and, in
//! the order they were changed, the names. Nothing is ever read that was not written, but zeros
//! where a file grew, and bits that a fault flipped. A failed sync leaves data that is neither
//! durable nor tried again (Rebello et al., ATC 2020).
//!
//! Calls take no time by themselves: what they would take is added up, for the engine to charge.
//! A process that ends loses nothing. Absent: links, permissions, removing directories.

mod faults;
mod inode;
mod names;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nitro::host::disk::{Disk, File, Open};

use crate::draw::Draw;
use crate::fault::Fault;
use crate::record::Recorder;
use faults::{Call, Faults, failure, full};
use inode::{Held, Inode, SECTOR_BYTES};
use names::Names;

/// What a call takes: a read that misses the page cache, a write into it, a sync, and each sector
/// of one, on a solid-state disk of a server.
const READ: Duration = Duration::from_micros(80);
const WRITE: Duration = Duration::from_micros(5);
const SYNC: Duration = Duration::from_micros(500);
const SECTOR: Duration = Duration::from_micros(1);

/// A disk, which outlives its node. A clone is the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// What calls would have taken, in nanoseconds; beside the lock, because every turn of the
    /// node asks.
    cost: Arc<AtomicU64>,
}

struct State {
    names: Names,
    faults: Faults,
    draw: Draw,
    recorder: Recorder,
    capacity_bytes: u64,
    used: Arc<AtomicU64>,
    cost: Arc<AtomicU64>,
    /// How often its power was cut: handles from before have no effect.
    cuts: u64,
    /// How many lives of the node it has seen: what is held exclusively is let go with a life.
    lives: u64,
}

impl std::fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl SimulatedDisk {
    /// An empty disk of a node.
    pub fn new(seed: u64, node: &str, capacity_bytes: u64, recorder: Recorder) -> Self {
        let cost = Arc::new(AtomicU64::new(0));
        let state = State {
            names: Names::default(),
            faults: Faults::default(),
            draw: Draw::new(seed, &format!("disk/{node}")),
            recorder,
            capacity_bytes,
            used: Arc::default(),
            cost: Arc::clone(&cost),
            cuts: 0,
            lives: 0,
        };
        let state = Arc::new(Mutex::new(state));
        Self { state, cost }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the disk is held")
    }

    /// The disk as the node sees it in a life of its own, until the next power cut.
    pub fn attach(&self) -> Arc<dyn Disk> {
        let mut state = self.lock();
        state.lives += 1;
        let (cuts, life) = (state.cuts, state.lives);
        let disk = self.clone();
        Arc::new(Attached { disk, cuts, life })
    }

    /// Cuts the power: decides what is left of what was not synced.
    pub fn cut_power(&self) {
        let mut state = self.lock();
        let State { names, draw, .. } = &mut *state;
        names.cut_power(draw);
        state.cuts += 1;
    }

    /// Puts a fault in force, if it is one of disks.
    pub fn begin_fault(&self, id: &str, fault: &Fault) {
        self.lock().faults.begin(id, fault);
    }

    /// Ends a fault.
    pub fn end_fault(&self, id: &str) {
        self.lock().faults.end(id);
    }

    /// How long the calls since the last time would have taken.
    pub fn take_cost(&self) -> Duration {
        if self.cost.load(Ordering::Relaxed) == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.cost.swap(0, Ordering::Relaxed))
    }

    /// Does some work: how long its calls would have taken, which are not in [`take_cost`] then.
    ///
    /// [`take_cost`]: Self::take_cost
    pub fn cost_of(&self, work: impl FnOnce()) -> Duration {
        let before = self.cost.swap(0, Ordering::Relaxed);
        work();
        Duration::from_nanos(self.cost.swap(before, Ordering::Relaxed))
    }
}

impl State {
    fn charge(&mut self, usual: Duration) {
        let cost = self.faults.cost(usual, &self.recorder).as_nanos();
        let cost = u64::try_from(cost).unwrap_or(u64::MAX / 2);
        self.cost.fetch_add(cost, Ordering::Relaxed);
    }

    fn fails(&mut self, call: Call) -> bool {
        self.faults.fails(call, &mut self.draw, &self.recorder)
    }

    /// How many of so many bytes that a file grows by there is room for.
    fn room(&mut self, wanted: u64) -> u64 {
        let used = self.used.load(Ordering::Relaxed);
        let mut room = self.capacity_bytes.saturating_sub(used);
        if let Some((fault, free)) = self.faults.bound()
            && free < wanted
        {
            self.recorder.touch(fault);
            room = room.min(free);
        }
        let room = room.min(wanted);
        self.faults.take_free(room);
        room
    }

    fn write(&mut self, inode: &mut Inode, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.charge(WRITE);
        let mut count = bytes.len() as u64;
        let mut result = Ok(());
        if self.fails(Call::Write) {
            count = self.draw.whole(0, count);
            result = Err(failure(Call::Write));
        }
        let end = offset.checked_add(count).ok_or_else(full)?;
        let growth = end.saturating_sub(inode.length());
        let room = self.room(growth);
        if room < growth {
            // As much as there is room for is written, in whole sectors.
            let last = (inode.length() + room) / SECTOR_BYTES * SECTOR_BYTES;
            count = last.max(inode.length()).saturating_sub(offset).min(count);
            result = Err(full());
        }
        if count > 0 {
            inode.write(offset as usize, &bytes[..count as usize], &mut self.draw);
        }
        result
    }
}

/// A disk in one life of its node.
#[derive(Clone)]
struct Attached {
    disk: SimulatedDisk,
    cuts: u64,
    life: u64,
}

impl Attached {
    /// The state, unless the power was cut since.
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        match state.cuts == self.cuts {
            true => Ok(state),
            false => Err(io::Error::other("the power of the machine was cut")),
        }
    }
}

impl Disk for Attached {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut state = self.lock()?;
        let inode = if state.names.contains(path) {
            let inode = state.names.file(path)?;
            if how == Open::New {
                let message = format!("{}: it exists", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            inode
        } else if how == Open::Existing {
            state.names.file(path)?
        } else {
            let inode = Inode::new(Arc::clone(&state.used));
            state.names.create(path, inode)?
        };
        drop(state);
        let held = match how {
            Open::Exclusive => {
                let mut inode = inode.lock().expect("no panic while a file is held");
                let held = inode.hold(self.life).ok_or_else(|| {
                    let message = format!("{}: somebody else holds it", path.display());
                    io::Error::new(io::ErrorKind::WouldBlock, message)
                })?;
                Some(held)
            }
            Open::Existing | Open::OrCreate | Open::New => None,
        };
        let at = self.clone();
        Ok(Arc::new(OpenFile {
            at,
            inode,
            _held: held,
        }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.lock()?.names.list(directory)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.lock()?.names.create_directory(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.lock()?.names.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock()?.names.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.lock()?;
        state.charge(SYNC);
        if state.fails(Call::Sync) {
            state.names.fail_sync(directory);
            return Err(failure(Call::Sync));
        }
        state.names.sync(directory)
    }
}

struct OpenFile {
    at: Attached,
    inode: Arc<Mutex<Inode>>,
    _held: Option<Held>,
}

impl OpenFile {
    fn with<T>(&self, work: impl FnOnce(&mut State, &mut Inode) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.at.lock()?;
        let mut inode = self.inode.lock().expect("no panic while a file is held");
        work(&mut state, &mut inode)
    }
}

impl File for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.with(|state, inode| {
            state.charge(READ);
            if state.fails(Call::Read) {
                return Err(failure(Call::Read));
            }
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            if inode.read(start, buffer.len()).is_none() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !buffer.is_empty() && state.faults.flips(&mut state.draw, &state.recorder) {
                let within = state.draw.whole(0, buffer.len() as u64 - 1) as usize;
                inode.flip(start + within, state.draw.whole(0, 7));
            }
            buffer.copy_from_slice(inode.read(start, buffer.len()).unwrap_or_default());
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|state, inode| state.write(inode, offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state, inode| {
            let sectors = u32::try_from(inode.dirty()).unwrap_or(u32::MAX);
            state.charge(SYNC + SECTOR * sectors);
            if state.fails(Call::Sync) {
                inode.fail_sync(&mut state.draw);
                return Err(failure(Call::Sync));
            }
            inode.sync();
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|_, inode| Ok(inode.length()))
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.with(|state, inode| {
            state.charge(WRITE);
            if state.fails(Call::Write) {
                return Err(failure(Call::Write));
            }
            let growth = bytes.saturating_sub(inode.length());
            if state.room(growth) < growth {
                return Err(full());
            }
            inode.set_length(bytes as usize);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
