//! Selectors over 10 to 10,000 nodes: one pick, with the look at the list that may be swapped at
//! any time; and one with the load fed back. Beside them tower's balance and a ketama ring. Before
//! all that: no pick allocates. And what it costs to make a list ready, in time and memory.

#[path = "peers/src/count.rs"]
mod count;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use nitro::selector::{
    Candidate, Candidates, KeyHash, LeastLoaded, Outcome, Pick, Random, RoundRobin, Selector,
    Weighted,
};
use nitro::time::Instant;
use pingora_ketama::{Bucket, Continuum};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::{Service, ServiceExt};

const COUNTS: [u32; 4] = [10, 100, 1_000, 10_000];

fn candidates(count: u32) -> Candidates {
    let node = |index: u32| {
        let id = format!("node-{index:04}");
        Candidate::new(id, 1 + index % 7, "1.0.0", BTreeMap::new())
    };
    Candidates::new((0..count).map(node).collect())
}

/// Nodes that have all been called, so that least loaded has something to compare.
fn measured(count: u32) -> Candidates {
    let candidates = candidates(count);
    for (index, candidate) in candidates.as_slice().iter().enumerate() {
        let took = Duration::from_micros(500 + index as u64);
        let calling = candidate.load.start(Instant::ORIGIN);
        calling.finish(Instant::ORIGIN + took, Outcome::Answered);
    }
    candidates
}

fn selectors() -> [(&'static str, Box<dyn Selector>); 5] {
    [
        ("random", Box::new(Random::from_seed(1))),
        ("round robin", Box::new(RoundRobin::from_seed(1))),
        ("weighted", Box::new(Weighted::from_seed(1))),
        ("least loaded", Box::new(LeastLoaded::from_seed(1))),
        ("key hash", Box::new(KeyHash::from_seed(1))),
    ]
}

/// # Panics
///
/// When a pick, or counting a call in and out, allocates.
fn no_pick_allocates(_: &mut Criterion) {
    let candidates = measured(100);
    let avoid: [Arc<str>; 1] = [candidates.as_slice()[0].id.clone()];
    for (name, selector) in selectors() {
        selector.prepare(&candidates);
        let candidates = ArcSwap::from_pointee(candidates.clone());
        // The first look of a thread allocates its place in the swap's own list.
        drop(candidates.load());
        let before = count::allocations();
        for key in 0..1_000 {
            let pick = Pick {
                key: (key % 2 == 0).then_some(key),
                avoid: if key % 3 == 0 { &avoid } else { &[] },
                now: Instant::ORIGIN,
            };
            let candidates = candidates.load();
            let index = selector
                .select(&candidates, &pick)
                .expect("there are nodes");
            let calling = candidates.as_slice()[index].load.start(Instant::ORIGIN);
            calling.finish(Instant::ORIGIN, Outcome::Answered);
        }
        assert_eq!(count::allocations() - before, 0, "{name} allocates");
    }
}

/// The list itself, with the table of [`Weighted`]; and the table of [`KeyHash`], made once a list.
fn setting_up(criterion: &mut Criterion) {
    for (name, has_keys) in [
        ("set-up: list", false),
        ("set-up: list and key table", true),
    ] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10);
        for count in COUNTS {
            let nodes = candidates(count).as_slice().to_vec();
            let set_up = || {
                let candidates = Candidates::new(nodes.clone());
                if has_keys {
                    KeyHash::from_seed(1).prepare(&candidates);
                }
                candidates
            };
            let before = count::live_bytes();
            let ready = set_up();
            let kibibytes = (count::live_bytes() - before) / 1024;
            drop(ready);
            let id = BenchmarkId::from_parameter(format!("{count}, {kibibytes} KiB"));
            group.bench_function(id, |bencher| bencher.iter_with_large_drop(set_up));
        }
        group.finish();
    }
}

fn picks(criterion: &mut Criterion) {
    for (name, selector) in &selectors() {
        let mut group = criterion.benchmark_group(*name);
        for count in COUNTS {
            let candidates = measured(count);
            selector.prepare(&candidates);
            // As a client holds it: whoever picks looks whether the list is another by now.
            let candidates = ArcSwap::from_pointee(candidates);
            let mut candidates = Cache::new(&candidates);
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
                bencher.iter(|| {
                    key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let pick = Pick {
                        key: Some(key),
                        ..Pick::at(Instant::ORIGIN)
                    };
                    selector.select(black_box(candidates.load()), &pick)
                });
            });
        }
        group.finish();
    }
}

fn with_feedback(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("least loaded, with load fed back");
    for count in COUNTS {
        let candidates = measured(count);
        let selector = LeastLoaded::from_seed(1);
        let mut now = Instant::ORIGIN;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let index = selector
                    .select(&candidates, &Pick::at(now))
                    .expect("there are nodes");
                let calling = candidates.as_slice()[index].load.start(now);
                now += Duration::from_micros(500);
                calling.finish(now, Outcome::Answered);
            });
        });
    }
    group.finish();
}

fn avoiding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("random, one node avoided");
    for count in COUNTS {
        let candidates = candidates(count);
        let avoid: [Arc<str>; 1] = [candidates.as_slice()[0].id.clone()];
        let selector = Random::from_seed(1);
        let pick = Pick {
            avoid: &avoid,
            ..Pick::at(Instant::ORIGIN)
        };
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| selector.select(black_box(&candidates), &pick));
        });
    }
    group.finish();
}

/// The power of two choices as tower has it: a service to be made ready and called.
fn tower_balance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peer: tower p2c, pending requests");
    for count in COUNTS {
        let node = tower::service_fn(|(): ()| ready(Ok::<(), Infallible>(())));
        let loaded = move |_| PendingRequests::new(node, CompleteOnResponse::default());
        let nodes = ServiceList::new((0..count).map(loaded));
        let mut balance = Balance::new(nodes);
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let mut call = async || balance.ready().await.expect("they are").call(()).await;
                call().now_or_never()
            });
        });
    }
    group.finish();
}

/// The ring as nginx has it.
fn ketama(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("peer: ketama");
    for count in COUNTS {
        let address = |index: u32| SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + index), 7000));
        let buckets: Vec<_> = (0..count)
            .map(|index| Bucket::new(address(index), 1))
            .collect();
        let ring = Continuum::new(&buckets);
        let mut key = 0_u64;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                ring.node(black_box(&key.to_le_bytes()))
            });
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    no_pick_allocates,
    setting_up,
    picks,
    with_feedback,
    avoiding,
    tower_balance,
    ketama
);
criterion_main!(benches);
