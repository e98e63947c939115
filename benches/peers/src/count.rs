//! An allocator that counts. It is right where one thread allocates, as where it is asked: counters
//! that are right for many would add to the time of whoever allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

struct Counting;

#[global_allocator]
static GLOBAL: Counting = Counting;

fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

fn count(allocations: u64, bytes: i64) {
    let order = Ordering::Relaxed;
    ALLOCATIONS.store(ALLOCATIONS.load(order) + allocations, order);
    LIVE_BYTES.store(LIVE_BYTES.load(order) + bytes, order);
}

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature; this one hands every call on unchanged"
)]
// SAFETY: what is promised of an allocator is what the system's keeps; counting touches no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, bytes(layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, -bytes(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, bytes(size) - bytes(layout.size()));
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Allocations so far, those that grow one included.
pub(crate) fn allocations() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Bytes that are allocated now.
pub(crate) fn live_bytes() -> i64 {
    LIVE_BYTES.load(Ordering::Relaxed)
}
