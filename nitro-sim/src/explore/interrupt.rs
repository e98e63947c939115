//! Ctrl-C and the end that a supervisor asks for, seen without a handler: the signals are held
//! back, and looked for from time to time.

#![cfg_attr(unix, expect(unsafe_code, reason = "signals are asked for by C"))]

/// While it lives, an interrupt ends nothing by itself, in this thread and those that it starts.
#[derive(Debug)]
pub struct Interrupt {
    #[cfg(unix)]
    before: libc::sigset_t,
}

#[cfg(unix)]
impl Interrupt {
    /// From here on, interrupts wait.
    pub fn hold() -> Self {
        let held = held();
        let mut before = none();
        // SAFETY: both sets are ours.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held, &raw mut before) };
        Self { before }
    }

    /// Whether one waits.
    pub fn is_asked(&self) -> bool {
        let mut waiting = none();
        // SAFETY: the set is ours, and was filled by the call before.
        unsafe {
            libc::sigpending(&raw mut waiting);
            [libc::SIGINT, libc::SIGTERM]
                .iter()
                .any(|signal| libc::sigismember(&raw const waiting, *signal) == 1)
        }
    }
}

#[cfg(unix)]
impl Drop for Interrupt {
    fn drop(&mut self) {
        let held = held();
        while self.is_asked() {
            let mut which = 0;
            // SAFETY: both places are ours; a signal of the set waits, so the call returns.
            if unsafe { libc::sigwait(&raw const held, &raw mut which) } != 0 {
                break;
            }
        }
        // SAFETY: the set is that which was in force before.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            );
        }
    }
}

#[cfg(unix)]
fn none() -> libc::sigset_t {
    // SAFETY: a set is plain numbers, and is made empty before it is looked at.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        set
    }
}

#[cfg(unix)]
fn held() -> libc::sigset_t {
    let mut set = none();
    // SAFETY: the set is ours, and both are signals.
    unsafe {
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
    }
    set
}

#[cfg(not(unix))]
impl Interrupt {
    /// Here an interrupt ends the program.
    pub fn hold() -> Self {
        Self {}
    }

    /// Whether one waits: never.
    pub fn is_asked(&self) -> bool {
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_waits_until_it_is_looked_for_and_ends_nothing() {
        let interrupt = Interrupt::hold();
        assert!(!interrupt.is_asked());
        // SAFETY: the signal is held back in this thread, to which it goes.
        unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGINT) };
        assert!(interrupt.is_asked());
        drop(interrupt);
        assert!(!Interrupt::hold().is_asked());
    }
}
