//! What only the thread that made it may use. A run is one thread, and what its nodes share is
//! asked at every turn: a lock would cost more than what is done under it.

#![expect(unsafe_code, reason = "a lock that is none has no safe form")]

use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// A value that the thread which made it may use, one use at a time. Handles of it may be sent to
/// others, which may drop it.
pub(super) struct OneThread<T> {
    owner: u64,
    /// Read and written by the owner alone.
    is_used: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: only the owner gets at the flag and the value, by `with`. Whoever drops it is alone with
// it, and may be another thread because the value may be sent there.
unsafe impl<T: Send> Send for OneThread<T> {}
// SAFETY: as above: of a shared one, any other thread can read only the owner's number.
unsafe impl<T: Send> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    pub(super) fn new(value: T) -> Self {
        Self {
            owner: this_thread(),
            is_used: Cell::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Does something with the value.
    ///
    /// # Panics
    ///
    /// On another thread, and while it is used.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        /// In use until it is dropped, by a panic too.
        struct InUse<'a>(&'a Cell<bool>);
        impl Drop for InUse<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }

        assert!(self.owner == this_thread(), "a run is one thread");
        assert!(!self.is_used.replace(true), "it is used by who uses it");
        let _in_use = InUse(&self.is_used);
        // SAFETY: this is the owner's thread, and the flag says that nobody further up uses it.
        work(unsafe { &mut *self.value.get() })
    }
}

impl<T> fmt::Debug for OneThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneThread").finish_non_exhaustive()
    }
}

/// The number of this thread, which no other ever has.
fn this_thread() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: Cell<u64> = const { Cell::new(0) };
    }
    match NUMBER.get() {
        0 => {
            let number = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
            NUMBER.set(number);
            number
        }
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn one_thread_uses_it_once_at_a_time_and_no_other_thread_does() {
        let shared = OneThread::new(1);
        shared.with(|value| *value += 1);
        let within = || shared.with(|_| shared.with(|value| *value));
        assert!(catch_unwind(AssertUnwindSafe(within)).is_err());
        let elsewhere = thread::scope(|scope| {
            let other = scope.spawn(|| shared.with(|value| *value));
            other.join().is_err()
        });
        assert!(elsewhere);
        assert_eq!(shared.with(|value| *value), 2);
    }
}
