//! The linearizability checker beside porcupine-rs, on the same histories: it says the same, and
//! how long each takes.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;
use nitro_sim::check::linearizable::{Budget, Operation, is_linearizable};
use nitro_sim::check::model::{Access, KeyValue, Seen};
use nitro_sim::draw::Draw;

type Made = Operation<Access, Seen>;

/// How many small random histories both checkers must agree on.
const SMALL_HISTORIES: u64 = 100_000;

/// A history of clients that each make one operation after another on registers which do each at
/// one moment; one in `lost_in` is never heard of again.
fn history(seed: u64, clients: u64, keys: u64, operations: u64, lost_in: u64) -> Vec<Made> {
    let mut draw = Draw::new(seed, "history");
    let mut free = vec![0; clients as usize];
    let mut points: BTreeMap<(u64, u64), (u64, Made)> = BTreeMap::new();
    for id in 0..operations {
        let process = id % clients;
        let called = free[process as usize] + draw.whole(0, 20);
        let point = called + draw.whole(0, 50);
        let returned = point + draw.whole(0, 50);
        free[process as usize] = returned + 1;
        let input = match draw.whole(0, 9) {
            0..=4 => Access::Read,
            5..=8 => Access::Write(id + 1),
            _ => Access::Clear,
        };
        let is_lost = lost_in > 0 && draw.whole(1, lost_in) == 1;
        let made = Operation {
            id,
            process,
            key: draw.whole(0, keys - 1),
            input,
            output: None,
            called,
            returned: (!is_lost).then_some(returned),
        };
        points.insert((point, id), (u64::from(is_lost && draw.chance(0.5)), made));
    }
    let mut held: BTreeMap<u64, u64> = BTreeMap::new();
    let mut history = Vec::new();
    for (is_dropped, mut made) in points.into_values() {
        let seen = match made.input {
            Access::Read => Seen::Value(held.get(&made.key).copied()),
            _ => Seen::Done,
        };
        match made.input {
            Access::Write(value) if is_dropped == 0 => drop(held.insert(made.key, value)),
            Access::Clear if is_dropped == 0 => drop(held.remove(&made.key)),
            _ => {}
        }
        made.output = made.returned.map(|_| seen);
        history.push(made);
    }
    history
}

/// The same history with a late read that was told what had been overwritten long before.
fn stale(mut history: Vec<Made>) -> Vec<Made> {
    let first = history.iter().find_map(|made| match made.input {
        Access::Write(value) => Some((made.key, value)),
        _ => None,
    });
    let (key, value) = first.expect("half of the operations write");
    let reads = history.iter_mut().rev();
    let mut reads = reads.filter(|made| made.key == key && made.input == Access::Read);
    if let Some(read) = reads.find(|made| made.returned.is_some()) {
        read.output = Some(Seen::Value(Some(value)));
    }
    history
}

/// A small history with whatever replies, of a few values, so that many are wrong.
fn small(seed: u64) -> Vec<Made> {
    let mut draw = Draw::new(seed, "small");
    let count = draw.whole(1, 8);
    let make = |id| {
        let value = draw.whole(0, 3);
        let (input, seen) = match draw.whole(0, 3) {
            0 | 1 => (Access::Read, Seen::Value((value > 0).then_some(value))),
            2 => (Access::Write(value.max(1)), Seen::Done),
            _ => (Access::Clear, Seen::Done),
        };
        let called = draw.whole(0, 12);
        let is_heard = draw.chance(0.8);
        Operation {
            id,
            process: id,
            key: draw.whole(0, 1),
            input,
            output: is_heard.then_some(seen),
            called,
            returned: is_heard.then(|| called + 1 + draw.whole(0, 6)),
        }
    };
    (0..count).map(make).collect()
}

/// The same model for porcupine.
#[derive(Clone)]
struct Porcupine;

type Both = (u64, Access, Option<Seen>);

impl porcupine_rs::Model for Porcupine {
    type State = Option<u64>;
    type Op = Both;
    type Metadata = ();

    fn init() -> Option<u64> {
        None
    }

    fn step(state: &Option<u64>, (_, input, output): &Both) -> (bool, Option<u64>) {
        match input {
            Access::Read => {
                let seen = Seen::Value(*state);
                (output.is_none_or(|told| told == seen), *state)
            }
            Access::Write(value) => (true, Some(*value)),
            _ => (true, None),
        }
    }

    fn partition_operations(
        history: &[porcupine_rs::Operation<Self>],
    ) -> Vec<Vec<porcupine_rs::Operation<Self>>> {
        let mut keys: BTreeMap<u64, Vec<porcupine_rs::Operation<Self>>> = BTreeMap::new();
        for operation in history {
            keys.entry(operation.op.0)
                .or_default()
                .push(operation.clone());
        }
        keys.into_values().collect()
    }
}

fn theirs(history: &[Made]) -> Vec<porcupine_rs::Operation<Porcupine>> {
    let operation = |made: &Made| porcupine_rs::Operation {
        client_id: Some(u32::try_from(made.process).expect("few clients")),
        call_time: i64::try_from(made.called).expect("a short time"),
        return_time: made.returned.map_or(i64::MAX, |returned| {
            i64::try_from(returned).expect("a short time")
        }),
        op: (made.key, made.input, made.output),
        metadata: None,
    };
    history.iter().map(operation).collect()
}

fn ours(history: &[Made]) -> bool {
    let answer = is_linearizable(&KeyValue, history, Budget::default());
    answer.expect("the budget is for histories such as these")
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn agree() {
    let clock = MachineClock::new();
    let mut accepted = 0;
    for seed in 0..SMALL_HISTORIES {
        let history = small(seed);
        let answer = ours(&history);
        assert_eq!(
            answer,
            porcupine_rs::check_operations(&theirs(&history)),
            "seed {seed}: {history:?}"
        );
        accepted += u64::from(answer);
    }
    assert!(accepted > SMALL_HISTORIES / 10 && accepted < SMALL_HISTORIES * 9 / 10);
    let took = clock.now().since(Instant::ORIGIN).as_secs_f64();
    println!(
        "{SMALL_HISTORIES} small histories, {accepted} of them linearizable: both say the same of \
         each, in {took:.1} s"
    );
}

fn verdicts(criterion: &mut Criterion) {
    agree();
    let shapes = [
        ("5 clients, 1 key, 200 operations", history(1, 5, 1, 200, 0)),
        (
            "10 clients, 1 key, 2000 operations",
            history(2, 10, 1, 2_000, 0),
        ),
        (
            "10 clients, 10 keys, 10000 operations",
            history(3, 10, 10, 10_000, 0),
        ),
        (
            "50 clients, 10 keys, 10000 operations",
            history(4, 50, 10, 10_000, 0),
        ),
        (
            "10 clients, 5 keys, 1000 operations, 1 % lost",
            history(5, 10, 5, 1_000, 100),
        ),
        (
            "5 clients, 1 key, 200 operations, stale",
            stale(history(6, 5, 1, 200, 0)),
        ),
        (
            "10 clients, 10 keys, 2000 operations, stale",
            stale(history(7, 10, 10, 2_000, 0)),
        ),
    ];
    let mut group = criterion.benchmark_group("linearizable");
    group.sample_size(10);
    for (name, history) in shapes {
        let other = theirs(&history);
        assert_eq!(ours(&history), !name.ends_with("stale"), "{name}");
        assert_eq!(
            porcupine_rs::check_operations(&other),
            ours(&history),
            "{name}"
        );
        group.bench_function(BenchmarkId::new("nitro", name), |bencher| {
            bencher.iter(|| ours(black_box(&history)));
        });
        group.bench_function(BenchmarkId::new("porcupine-rs", name), |bencher| {
            bencher.iter(|| porcupine_rs::check_operations(black_box(&other)));
        });
    }
    group.finish();
}

criterion_group!(benches, verdicts);
criterion_main!(benches);
