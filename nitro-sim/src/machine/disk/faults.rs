//! What is wrong with a disk.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::draw::Draw;
use crate::fault::Fault;
use crate::record::Recorder;

/// The faults of a disk that are in force, each with its id.
#[derive(Default)]
pub(super) struct Faults(Vec<(String, Fault)>);

/// What is done to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Write,
    Sync,
}

impl Faults {
    /// Puts a fault in force, and says whether it is one of disks.
    pub(super) fn begin(&mut self, id: &str, fault: &Fault) -> bool {
        let is_of_disks = matches!(
            fault,
            Fault::DiskFull { .. }
                | Fault::DiskErrors { .. }
                | Fault::DiskSlow { .. }
                | Fault::DiskCorrupt { .. }
        );
        if is_of_disks {
            self.0.push((id.to_owned(), fault.clone()));
        }
        is_of_disks
    }

    pub(super) fn end(&mut self, id: &str) {
        self.0.retain(|(known, _)| known != id);
    }

    /// Whether a call fails, counted for the fault by which it does.
    pub(super) fn fails(&self, call: Call, draw: &mut Draw, recorder: &Recorder) -> bool {
        let mut fails = false;
        for (id, fault) in &self.0 {
            if let Fault::DiskErrors {
                reads,
                writes,
                syncs,
                ..
            } = fault
            {
                let share = match call {
                    Call::Read => *reads,
                    Call::Write => *writes,
                    Call::Sync => *syncs,
                };
                if draw.chance(share) {
                    recorder.touch(id);
                    fails = true;
                }
            }
        }
        fails
    }

    /// How many bytes a disk has at most that had `used` when it became full.
    pub(super) fn bound(&self) -> Option<(&str, u64)> {
        let bounds = self.0.iter().filter_map(|(id, fault)| match fault {
            Fault::DiskFull { free_bytes, .. } => Some((id.as_str(), *free_bytes)),
            _ => None,
        });
        bounds.min_by_key(|(_, free)| *free)
    }

    /// Takes from what is left of a disk that is full.
    pub(super) fn take_free(&mut self, bytes: u64) {
        for (_, fault) in &mut self.0 {
            if let Fault::DiskFull { free_bytes, .. } = fault {
                *free_bytes = free_bytes.saturating_sub(bytes);
            }
        }
    }

    /// How long a call takes that takes `usual` while nothing is wrong.
    pub(super) fn cost(&self, usual: Duration, recorder: &Recorder) -> Duration {
        let mut cost = usual;
        for (id, fault) in &self.0 {
            if let Fault::DiskSlow { factor, .. } = fault {
                recorder.touch(id);
                cost = Duration::from_nanos((cost.as_nanos() as f64 * factor) as u64);
            }
        }
        cost
    }

    /// Whether a read meets a flipped bit, counted for the fault by which it does.
    pub(super) fn flips(&self, draw: &mut Draw, recorder: &Recorder) -> bool {
        let mut flips = false;
        for (id, fault) in &self.0 {
            if let Fault::DiskCorrupt { share, .. } = fault
                && draw.chance(*share)
            {
                recorder.touch(id);
                flips = true;
            }
        }
        flips
    }
}

/// What a disk says that fails.
pub(super) fn failure(call: Call) -> io::Error {
    let what = match call {
        Call::Read => "reading",
        Call::Write => "writing",
        Call::Sync => "syncing",
    };
    io::Error::other(format!("{what}: input/output error (EIO)"))
}

/// What a disk says that is full.
pub(super) fn full() -> io::Error {
    io::Error::new(ErrorKind::StorageFull, "no space is left on the disk")
}
