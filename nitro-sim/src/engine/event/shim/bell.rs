//! How a node says, while its tasks run, that there is more to do.
//!
//! Its runtime is entered only when it must be: when a timer of its own is due, or when it asks
//! for it. It asks by writing to a file of its own, as it does on a machine where its thread sleeps:
//! for a task that was woken or spawned, and for a timer that comes before all it knows of.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::ptr;
use std::task::{RawWaker, RawWakerVTable, Waker};

use libc::{size_t, ssize_t};

use super::{Mode, call, mode};

thread_local! {
    /// The last file of this kind that was made in a run and not asked for; -1 where there is none.
    static MADE: Cell<c_int> = const { Cell::new(-1) };
    /// That of the node whose turn it is.
    static FILE: Cell<c_int> = const { Cell::new(-1) };
    static HAS_RUNG: Cell<bool> = const { Cell::new(false) };
    static HAS_MORE: Cell<bool> = const { Cell::new(false) };
}

/// The file by which a runtime is woken that was just made on this thread; none where it has
/// another way, by which it could ask for nothing here.
pub(in crate::engine::event) fn made() -> Option<c_int> {
    let made = MADE.replace(-1);
    (made >= 0).then_some(made)
}

/// No file of this kind was made for the next runtime yet.
pub(in crate::engine::event) fn forget() {
    MADE.set(-1);
}

/// From here on it is a node with this file whose turn it is.
pub(in crate::engine::event) fn listen(file: c_int) {
    FILE.set(file);
    HAS_RUNG.set(false);
    HAS_MORE.set(false);
}

/// Whether the node's runtime has asked to be entered since this was last asked.
pub(in crate::engine::event) fn has_rung() -> bool {
    HAS_RUNG.replace(false)
}

/// Whether [`waker`] was woken since this was last asked.
pub(in crate::engine::event) fn has_more() -> bool {
    HAS_MORE.replace(false)
}

/// Wakes whoever runs the tasks of a node on this thread.
pub(in crate::engine::event) fn waker() -> &'static Waker {
    static WAKER: Waker = {
        // SAFETY: the functions use no pointer, and nothing but this thread's own flag.
        unsafe { Waker::from_raw(RAW) }
    };
    &WAKER
}

const RAW: RawWaker = RawWaker::new(
    ptr::null(),
    &RawWakerVTable::new(|_| RAW, wake, wake, |_| {}),
);

fn wake(_: *const ()) {
    HAS_MORE.set(true);
}

/// # Safety
///
/// That of `eventfd(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn eventfd(count: c_uint, flags: c_int) -> c_int {
    let arguments = [count.into(), flags.into(), 0, 0, 0, 0];
    // SAFETY: the caller's arguments.
    let file = unsafe { call(libc::SYS_eventfd2, arguments) } as c_int;
    if mode() != Mode::Off {
        MADE.set(file);
    }
    file
}

/// # Safety
///
/// That of `write(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    if mode() == Mode::Node && file == FILE.get() {
        HAS_RUNG.set(true);
        return count as ssize_t;
    }
    let arguments = [file.into(), bytes as c_long, count as c_long, 0, 0, 0];
    // SAFETY: the caller's arguments.
    unsafe { call(libc::SYS_write, arguments) as ssize_t }
}
