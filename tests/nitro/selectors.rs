//! A pick allocates nothing, whatever the selector, the number of nodes and the turn it takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use nitro::selector::{
    Candidate, Candidates, KeyHash, LeastLoaded, Outcome, Pick, Random, RoundRobin, Selector,
    Weighted,
};
use nitro::time::Instant;

thread_local! {
    /// Of this thread, because other tests run beside.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one hands every call on unchanged"
)]
// SAFETY: what is promised of an allocator is what the system's keeps; the count is a constant at
// first and has no destructor, so that to touch it allocates nothing at any time of a thread's life.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(at, layout, size) }
    }
}

fn candidates(count: u32) -> Candidates {
    let node = |index: u32| {
        let id = format!("node-{index:04}");
        Candidate::new(id, 1 + index % 7, "1", BTreeMap::new())
    };
    Candidates::new((0..count).map(node).collect())
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

/// Picks with and without a key, with nodes to avoid and without, each counted in and out.
fn allocations_of_picks(selector: &dyn Selector, candidates: &Candidates) -> u64 {
    let avoid: [Arc<str>; 2] = [0, 1].map(|index| candidates.as_slice()[index].id.clone());
    selector.prepare(candidates);
    let before = ALLOCATIONS.get();
    for turn in 0..1_000 {
        let pick = Pick {
            key: (turn % 2 == 0).then_some(turn),
            avoid: &avoid[..(turn % 3) as usize],
            now: Instant::ORIGIN,
        };
        let index = selector.select(candidates, &pick).unwrap();
        let calling = candidates.as_slice()[index].load.start(Instant::ORIGIN);
        calling.finish(Instant::ORIGIN, Outcome::Answered);
    }
    ALLOCATIONS.get() - before
}

#[test]
fn no_pick_allocates() {
    for count in [2, 3, 100, 10_000] {
        let candidates = candidates(count);
        for (name, selector) in selectors() {
            let allocations = allocations_of_picks(&*selector, &candidates);
            assert_eq!(allocations, 0, "{name} over {count} nodes");
        }
    }
}

#[test]
fn an_allocation_is_counted() {
    let selector = KeyHash::from_seed(1);
    let before = ALLOCATIONS.get();
    selector.prepare(&candidates(2));
    assert!(ALLOCATIONS.get() > before);
}
