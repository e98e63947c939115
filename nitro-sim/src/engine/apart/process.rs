//! A run's own process: forked, watched, and killed when it takes too long.

#![expect(
    unsafe_code,
    reason = "fork, and memory that two processes share, have no safe form"
)]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;

use super::watch::{Page, Place};

/// The stack of a run's thread: as large as that of a main thread.
const STACK_BYTES: usize = 8 << 20;

/// How many bytes may wait between the processes: as many as an unprivileged one may ask for.
const PIPE_BYTES: libc::c_int = 1 << 20;

/// How many bytes are read at a time.
const ROOM_BYTES: usize = 1 << 16;

/// How often the waiting process looks whether the run goes on.
const LOOK_MS: libc::c_int = 200;

/// How long a run may take.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Limits {
    /// In all.
    pub(in crate::engine) wall_max: Duration,
    /// For one turn of a node, where the run says whose turn it is.
    pub(in crate::engine) turn_max: Duration,
}

/// What came of a process.
#[derive(Debug)]
pub(in crate::engine) struct Finished {
    /// What it wrote.
    pub(in crate::engine) bytes: Vec<u8>,
    /// How it ended.
    pub(in crate::engine) end: End,
    /// Where it was last.
    pub(in crate::engine) place: Place,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum End {
    /// Of its own accord, with this code.
    Exited(i32),
    /// By a signal.
    Signal(i32),
    /// It was killed: it took too long in all.
    TooSlow,
    /// It was killed: a turn did not end.
    Stuck,
}

/// Does `work` in a process of its own, and returns what it writes.
///
/// The process is a copy of this one with only this thread, and `work` runs there on a thread of
/// its own, whose thread-locals are fresh: the keys of hash maps, and what tokio draws of them.
pub(in crate::engine) fn in_child(
    limits: Limits,
    work: impl FnOnce(&'static Page, File) + Send,
) -> io::Result<Finished> {
    let page = share()?;
    let (read, write) = pipe()?;
    // SAFETY: the copy runs only what follows, and ends by `leave`, so nothing is dropped twice
    // in a way that is seen. Where this process has other threads, a lock that one of them holds
    // is held for ever in the copy: the allocator's are reset by the C library; any other would
    // make the copy wait, and be killed by its limit.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(read);
            die_with_parent();
            let is_done = std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
                let run = thread.spawn_scoped(scope, || work(page, File::from(write)));
                run.is_ok_and(|run| run.join().is_ok())
            });
            leave(if is_done { 0 } else { 1 })
        }
        child => {
            drop(write);
            let child = Child { child, page };
            child.attend(File::from(read), limits)
        }
    }
}

/// Ends this process, without a word to anybody.
pub(in crate::engine) fn leave(code: i32) -> ! {
    // SAFETY: the process ends.
    unsafe { libc::_exit(code) }
}

/// Gives this process an empty standard input.
pub(in crate::engine) fn close_input() {
    // SAFETY: the name ends with a zero, and the numbers are those of files of this process.
    unsafe {
        let empty = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if empty >= 0 {
            libc::dup2(empty, 0);
            libc::close(empty);
        }
    }
}

fn die_with_parent() {
    // SAFETY: it sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// A page that this process and its children share. There is one a run, of 4 KiB; it is unmapped
/// by nobody, because the run may outlive whoever asked for it.
fn share() -> io::Result<&'static Page> {
    let (length, none) = (size_of::<Page>(), std::ptr::null_mut());
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: new memory is asked for, anywhere.
    let memory = unsafe { libc::mmap(none, length, access, kind, -1, 0) };
    if memory == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the memory is new, zeroed, aligned to a page and never unmapped; a page of zeros is
    // a valid `Page`, which holds atomics only.
    Ok(unsafe { &*memory.cast::<Page>() })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: there is room for two.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptors are new, and nobody else's.
    let [read, write] = ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) });
    // SAFETY: it asks for more room, and may be refused.
    unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES) };
    Ok((read, write))
}

struct Child {
    child: libc::pid_t,
    page: &'static Page,
}

impl Child {
    fn attend(self, mut read: File, limits: Limits) -> io::Result<Finished> {
        let clock = MachineClock::new();
        let mut bytes = Vec::new();
        let mut last = (self.page.place().turns, Instant::ORIGIN);
        let mut killed = None;
        let mut room = vec![0; ROOM_BYTES];
        loop {
            if is_readable(&read)? {
                // What is there now, and not all that will ever be: the limits hold meanwhile.
                let count = read.read(&mut room)?;
                bytes.extend_from_slice(&room[..count]);
                if count == 0 {
                    break;
                }
            } else if killed.is_none() {
                let (now, place) = (clock.now(), self.page.place());
                if place.turns != last.0 || place.node.is_none() {
                    last = (place.turns, now);
                }
                killed = match () {
                    () if now.since(Instant::ORIGIN) > limits.wall_max => Some(End::TooSlow),
                    () if now.since(last.1) > limits.turn_max => Some(End::Stuck),
                    () => None,
                };
                if killed.is_some() {
                    // SAFETY: the process is our child, and not waited for yet.
                    unsafe { libc::kill(self.child, libc::SIGKILL) };
                }
            }
        }
        let end = self.wait()?;
        Ok(Finished {
            bytes,
            end: killed.unwrap_or(end),
            place: self.page.place(),
        })
    }

    fn wait(&self) -> io::Result<End> {
        let mut status = 0;
        // SAFETY: the process is our child, and not waited for yet.
        while unsafe { libc::waitpid(self.child, &raw mut status, 0) } != self.child {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(match libc::WIFSIGNALED(status) {
            true => End::Signal(libc::WTERMSIG(status)),
            false => End::Exited(libc::WEXITSTATUS(status)),
        })
    }
}

fn is_readable(file: &File) -> io::Result<bool> {
    let mut wanted = libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: there is one.
    match unsafe { libc::poll(&raw mut wanted, 1, LOOK_MS) } {
        -1 => {
            let error = io::Error::last_os_error();
            let is_interrupted = error.kind() == io::ErrorKind::Interrupted;
            if is_interrupted {
                Ok(false)
            } else {
                Err(error)
            }
        }
        count => Ok(count > 0),
    }
}
