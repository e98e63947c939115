//! What a power cut may leave, and what the faults do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use proptest::prelude::*;

use super::*;
use crate::trace::Trace;

fn recorder() -> Recorder {
    Recorder::new(Trace::new("plan", "test"))
}

fn disk(seed: u64) -> SimulatedDisk {
    SimulatedDisk::new(seed, "a-1", 1 << 20, recorder())
}

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn read(disk: &SimulatedDisk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.attach().open(path(name), Open::Existing)?;
    let mut bytes = vec![0; file.length()? as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// A file that is durable with these bytes.
fn durable(disk: &SimulatedDisk, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let attached = disk.attach();
    let file = attached.open(path(name), Open::OrCreate).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync().unwrap();
    attached.sync_directory(path("")).unwrap();
    file
}

#[test]
fn every_fate_of_a_sector_comes_about() {
    let mut fates = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        let file = durable(&disk, "f", &[1; 512]);
        file.write_at(0, &[2; 512]).unwrap();
        disk.cut_power();
        let bytes = read(&disk, "f").unwrap();
        let old = bytes.iter().filter(|byte| **byte == 1).count();
        assert!(
            bytes.is_sorted_by(|a, b| a >= b),
            "new bytes, then old ones"
        );
        fates.insert((old > 0, old < 512));
    }
    assert_eq!(fates.len(), 3, "{fates:?}");
}

#[test]
fn sectors_of_one_write_have_fates_of_their_own() {
    let disk = disk(3);
    let file = durable(&disk, "f", &[1; 512 * 64]);
    file.write_at(0, &[2; 512 * 64]).unwrap();
    disk.cut_power();
    let bytes = read(&disk, "f").unwrap();
    let new = bytes.chunks(512).filter(|sector| **sector == [2; 512]);
    assert!((10..54).contains(&new.count()));
}

#[test]
fn a_cut_of_a_file_that_was_not_synced_is_whole_or_never_was() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        durable(&disk, "f", &[1; 2000]).set_length(700).unwrap();
        disk.cut_power();
        let bytes = read(&disk, "f").unwrap();
        assert!(bytes.iter().all(|byte| *byte == 1), "seed {seed}");
        lengths.insert(bytes.len());
    }
    assert_eq!(lengths, BTreeSet::from([700, 2000]));
}

#[test]
fn names_are_durable_in_the_order_they_were_changed() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = disk(seed);
        drop(durable(&disk, "x", b"old"));
        let attached = disk.attach();
        let file = attached.open(path("y"), Open::New).unwrap();
        file.write_at(0, b"new").unwrap();
        file.sync().unwrap();
        attached.rename(path("y"), path("x")).unwrap();
        disk.cut_power();
        let names = disk.attach().list(path("")).unwrap();
        seen.insert((names.len(), read(&disk, "x").unwrap()));
    }
    let old = b"old".to_vec();
    let expected = [(1, b"new".to_vec()), (1, old.clone()), (2, old)];
    assert_eq!(seen, BTreeSet::from(expected));
}

#[test]
fn a_renamed_file_is_there_after_its_directory_was_synced() {
    for seed in 0..50 {
        let disk = disk(seed);
        let attached = disk.attach();
        attached.create_directory(path("d/e")).unwrap();
        let file = attached.open(path("d/e/new"), Open::New).unwrap();
        file.write_at(0, b"bytes").unwrap();
        file.sync().unwrap();
        attached.rename(path("d/e/new"), path("d/e/f")).unwrap();
        attached.sync_directory(path("d/e")).unwrap();
        attached.remove(path("d/e/f")).unwrap();
        disk.cut_power();
        match read(&disk, "d/e/f") {
            Ok(bytes) => assert_eq!(bytes, b"bytes"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        }
        assert!(
            !disk
                .attach()
                .list(path("d/e"))
                .unwrap()
                .contains(&"new".into())
        );
    }
}

#[test]
fn a_handle_from_before_a_power_cut_has_no_effect() {
    let disk = disk(1);
    let file = durable(&disk, "f", b"bytes");
    let attached = disk.attach();
    disk.cut_power();
    assert!(file.write_at(0, b"other").is_err());
    assert!(attached.remove(path("f")).is_err());
    assert_eq!(read(&disk, "f").unwrap(), b"bytes");
}

#[test]
fn what_a_failed_sync_was_to_write_is_not_written_by_the_next() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = disk(seed);
        let file = durable(&disk, "f", &[1; 512]);
        file.write_at(0, &[2; 512]).unwrap();
        disk.begin_fault("f", &errors(0.0, 0.0, 1.0));
        assert!(file.sync().is_err());
        disk.end_fault("f");
        file.sync().unwrap();
        // The node itself sees what it wrote, until the power is cut.
        assert_eq!(read(&disk, "f").unwrap(), [2; 512]);
        disk.cut_power();
        lost += u32::from(read(&disk, "f").unwrap() == [1; 512]);
    }
    assert!((15..45).contains(&lost), "{lost}");
}

fn errors(reads: f64, writes: f64, syncs: f64) -> Fault {
    Fault::DiskErrors {
        node: "a-1".to_owned(),
        reads,
        writes,
        syncs,
    }
}

#[test]
fn a_failed_sync_of_a_directory_leaves_names_that_no_later_one_makes_durable() {
    let disk = disk(1);
    let attached = disk.attach();
    attached.open(path("f"), Open::New).unwrap();
    disk.begin_fault("f", &errors(0.0, 0.0, 1.0));
    assert!(attached.sync_directory(path("")).is_err());
    disk.end_fault("f");
    attached.sync_directory(path("")).unwrap();
    assert_eq!(attached.list(path("")).unwrap().len(), 1);
    disk.cut_power();
    assert_eq!(disk.attach().list(path("")).unwrap().len(), 0);
}

#[test]
fn failing_calls_are_counted_and_a_failed_write_may_have_written_any_part() {
    let recorder = recorder();
    let disk = SimulatedDisk::new(5, "a-1", 1 << 20, recorder.clone());
    let file = durable(&disk, "f", &[1; 4096]);
    disk.begin_fault("e", &errors(1.0, 1.0, 0.0));
    assert!(file.read_at(0, &mut [0; 8]).is_err());
    let error = file.write_at(0, &[2; 4096]).unwrap_err();
    assert!(error.to_string().contains("EIO"), "{error}");
    disk.end_fault("e");
    let bytes = read(&disk, "f").unwrap();
    let new = bytes.iter().filter(|byte| **byte == 2).count();
    assert!(new > 0 && new < 4096, "{new}");
    assert_eq!(recorder.touched("e"), 2);
}

#[test]
fn a_full_disk_takes_what_fits_and_more_once_there_is_space() {
    let recorder = recorder();
    let disk = SimulatedDisk::new(5, "a-1", 8192, recorder.clone());
    let file = durable(&disk, "f", &[1; 1024]);
    let free_bytes = 1100;
    let node = "a-1".to_owned();
    disk.begin_fault("full", &Fault::DiskFull { node, free_bytes });
    // What is there can be overwritten.
    file.write_at(0, &[2; 1024]).unwrap();
    let error = file.write_at(1024, &[2; 2048]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.length().unwrap(), 2048);
    assert_eq!(
        file.set_length(4096).unwrap_err().kind(),
        ErrorKind::StorageFull
    );
    assert_eq!(recorder.touched("full"), 2);
    disk.end_fault("full");
    file.write_at(1024, &[2; 2048]).unwrap();
    // The disk's own bound, and room again where a file was removed.
    let error = file.write_at(0, &[0; 9000]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    drop(file);
    let attached = disk.attach();
    attached.remove(path("f")).unwrap();
    attached.sync_directory(path("")).unwrap();
    let other = attached.open(path("g"), Open::New).unwrap();
    other.write_at(0, &[0; 8192]).unwrap();
}

#[test]
fn a_flipped_bit_stays_flipped() {
    let disk = disk(5);
    let file = durable(&disk, "f", &[0; 1000]);
    let (node, share) = ("a-1".to_owned(), 1.0);
    disk.begin_fault("c", &Fault::DiskCorrupt { node, share });
    let bytes = read(&disk, "f").unwrap();
    disk.end_fault("c");
    let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(ones, 1);
    drop(file);
    disk.cut_power();
    assert_eq!(read(&disk, "f").unwrap(), bytes);
}

#[test]
fn calls_cost_time_and_a_slow_disk_more_of_it() {
    let disk = disk(5);
    let file = durable(&disk, "f", &[0; 1000]);
    disk.take_cost();
    file.sync().unwrap();
    let usual = disk.take_cost();
    assert_eq!(usual, Duration::from_micros(500));
    let (node, factor) = ("a-1".to_owned(), 10.0);
    disk.begin_fault("s", &Fault::DiskSlow { node, factor });
    file.sync().unwrap();
    assert_eq!(disk.take_cost(), usual * 10);
    assert_eq!(disk.take_cost(), Duration::ZERO);
}

#[test]
fn paths_are_those_of_a_file_system() {
    let disk = disk(5);
    let attached = disk.attach();
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    let open = |name: &str, how| attached.open(path(name), how).map(drop);
    assert_eq!(kind(open("d/f", Open::OrCreate)), ErrorKind::NotFound);
    attached.create_directory(path("d")).unwrap();
    attached.create_directory(path("d")).unwrap();
    open("d/f", Open::New).unwrap();
    assert_eq!(kind(open("d/f", Open::New)), ErrorKind::AlreadyExists);
    assert_eq!(kind(open("d/g", Open::Existing)), ErrorKind::NotFound);
    assert_eq!(
        kind(attached.rename(path("d/g"), path("d/h"))),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(attached.rename(path("d/f"), path("e/f"))),
        ErrorKind::NotFound
    );
    assert_eq!(kind(attached.remove(path("d/g"))), ErrorKind::NotFound);
    assert_eq!(
        kind(attached.sync_directory(path("e"))),
        ErrorKind::NotFound
    );
    assert_eq!(attached.list(path("d")).unwrap(), [PathBuf::from("f")]);
    assert_eq!(attached.list(path("")).unwrap(), [PathBuf::from("d")]);
}

/// A step of a program that writes to one file.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, usize),
    SetLength(u64),
    Sync,
    CutPower,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3000_u64, 1..1500_usize).prop_map(|(at, length)| Step::Write(at, length)),
        1 => (0..4000_u64).prop_map(Step::SetLength),
        2 => Just(Step::Sync),
        1 => Just(Step::CutPower),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What each byte of a file may be after a power cut, and how long the file may be.
#[derive(Default)]
struct Allowed {
    bytes: BTreeMap<u64, BTreeSet<u8>>,
    lengths: BTreeSet<u64>,
}

impl Allowed {
    /// Only this is allowed from now on.
    fn reset(&mut self, bytes: &[u8]) {
        let one = |(at, byte): (usize, &u8)| (at as u64, BTreeSet::from([*byte]));
        self.bytes = bytes.iter().enumerate().map(one).collect();
        self.lengths = BTreeSet::from([bytes.len() as u64]);
    }

    fn add(&mut self, at: u64, byte: u8) {
        // A byte that no sync has seen may be a zero: the file grew and the byte did not arrive.
        let bytes = self.bytes.entry(at).or_insert_with(|| BTreeSet::from([0]));
        bytes.insert(byte);
    }

    fn check(&self, bytes: &[u8]) -> Result<(), TestCaseError> {
        let length = bytes.len() as u64;
        prop_assert!(
            self.lengths.contains(&length),
            "{} of {:?}",
            length,
            self.lengths
        );
        for (at, byte) in bytes.iter().enumerate() {
            let allowed = self.bytes.get(&(at as u64));
            let is_allowed = allowed.map_or(*byte == 0, |allowed| allowed.contains(byte));
            prop_assert!(is_allowed, "byte {} is {}, not of {:?}", at, byte, allowed);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn what_was_synced_is_there_and_nothing_that_was_not_written(seed: u64, steps in steps()) {
        let disk = disk(seed);
        let mut file = durable(&disk, "f", b"");
        let (mut seen, mut allowed) = (Vec::new(), Allowed::default());
        allowed.reset(&seen);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write(at, length) => {
                    let byte = (number % 250 + 1) as u8;
                    file.write_at(at, &vec![byte; length]).unwrap();
                    let end = at as usize + length;
                    if seen.len() < end {
                        seen.resize(end, 0);
                    }
                    seen[at as usize..end].fill(byte);
                    (at..end as u64).for_each(|at| allowed.add(at, byte));
                    allowed.lengths.insert(seen.len() as u64);
                }
                Step::SetLength(length) => {
                    file.set_length(length).unwrap();
                    let from = length.min(seen.len() as u64);
                    (from..4600).for_each(|at| allowed.add(at, 0));
                    seen.resize(length as usize, 0);
                    allowed.lengths.insert(length);
                }
                Step::Sync => {
                    file.sync().unwrap();
                    allowed.reset(&seen);
                }
                Step::CutPower => {
                    disk.cut_power();
                    seen = read(&disk, "f").unwrap();
                    allowed.check(&seen)?;
                    allowed.reset(&seen);
                    file = disk.attach().open(path("f"), Open::Existing).unwrap();
                }
            }
            prop_assert_eq!(&read(&disk, "f").unwrap(), &seen);
        }
    }

    #[test]
    fn one_seed_leaves_the_same_after_a_power_cut(seed: u64, steps in steps()) {
        let left = || {
            let disk = disk(seed);
            for step in &steps {
                let file = disk.attach().open(path("f"), Open::OrCreate).unwrap();
                match step {
                    Step::Write(at, length) => file.write_at(*at, &vec![7; *length]).unwrap(),
                    Step::SetLength(length) => file.set_length(*length).unwrap(),
                    Step::Sync => file.sync().unwrap(),
                    Step::CutPower => disk.cut_power(),
                }
            }
            disk.cut_power();
            read(&disk, "f").map_err(|error| error.kind())
        };
        prop_assert_eq!(left(), left());
    }
}

#[test]
fn a_file_that_is_held_is_nobody_elses_until_it_is_closed_or_its_holder_has_died() {
    let disk = disk(1);
    let attached = disk.attach();
    let held = attached.open(path("f"), Open::Exclusive).unwrap();
    held.write_at(0, b"x").unwrap();
    let refused = attached.open(path("f"), Open::Exclusive).map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
    // Who does not ask to be alone may look.
    attached.open(path("f"), Open::Existing).unwrap();
    drop(held);
    let held = attached.open(path("f"), Open::Exclusive).unwrap();
    // The handle of a process that has ended holds nothing, even if it was never dropped.
    let next_life = disk.attach();
    let after = next_life.open(path("f"), Open::Exclusive).unwrap();
    drop(held);
    let refused = next_life.open(path("f"), Open::Exclusive).map(drop);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(after);
}
