//! What a run answers in place of the operating system: the time, randomness, and waiting.
//!
//! These functions have the names of the C library's, so the linker takes them for every caller in
//! the program: std, tokio, and any crate. Outside of a run they pass the call on. A run is one
//! thread, so the switch is thread-local, and other threads of the process notice nothing.
//!
//! Not covered: time that a processor's own counter tells (`rdtsc`, `cntvct_el0`), system calls that
//! a crate makes past the C library, and files, environment and host name, which are the machine's.

#![expect(
    unsafe_code,
    reason = "the C library's functions are replaced by name, and take raw pointers"
)]

pub(super) mod bell;

use std::arch::asm;
use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{clockid_t, epoll_event, pthread_attr_t, pthread_t, size_t, ssize_t, timespec, timeval};

use super::escape::Escape;

/// How often a node may go on without waiting while time stands still: each time up to 61 tasks were
/// polled, so it is far more than any burst of messages needs.
const LOOKS_AT_ONE_TIME_MAX: u32 = 100_000;

/// What node code calls when it leaves the simulation: it ends the run and does not return.
pub(super) type OnEscape = fn(Escape) -> !;

/// Whose calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nobody's: the operating system answers.
    Off,
    /// The engine's own: virtual time and seeded randomness, but nothing is an escape.
    Engine,
    /// A node's.
    Node,
}

struct Seat {
    mode: Cell<Mode>,
    monotonic: Cell<u64>,
    wall: Cell<u64>,
    random: Cell<u64>,
    /// The time-out of the last wait that may wait, in milliseconds; -1 is for ever.
    waits: Cell<Option<c_int>>,
    looks: Cell<u32>,
    has_read_monotonic: Cell<bool>,
    has_read_wall: Cell<bool>,
    on_escape: Cell<Option<OnEscape>>,
}

thread_local! {
    // Constant and without a destructor, so that it can be read at any time in a thread's life,
    // even before and after Rust's own code runs in it.
    static SEAT: Seat = const {
        Seat {
            mode: Cell::new(Mode::Off),
            monotonic: Cell::new(0),
            wall: Cell::new(0),
            random: Cell::new(0),
            waits: Cell::new(None),
            looks: Cell::new(0),
            has_read_monotonic: Cell::new(false),
            has_read_wall: Cell::new(false),
            on_escape: Cell::new(None),
        }
    };
}

/// A node's view of the world for one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    /// What the monotonic clock says, in nanoseconds.
    pub(super) monotonic: u64,
    /// What the wall clock says, in nanoseconds since the Unix epoch.
    pub(super) wall: u64,
    /// The state of its randomness.
    pub(super) random: u64,
}

/// What a node did in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turned {
    /// The state of its randomness.
    pub(super) random: u64,
    /// Whether it asked for monotonic time.
    pub(super) has_read_monotonic: bool,
    /// Whether it asked for the time of day.
    pub(super) has_read_wall: bool,
}

/// From here to [`end`], this thread is a run.
pub(super) fn begin(view: View, on_escape: OnEscape) {
    SEAT.with(|seat| {
        seat.on_escape.set(Some(on_escape));
        show(seat, view);
        seat.mode.set(Mode::Engine);
    });
}

/// This thread is no run any more.
pub(super) fn end() {
    SEAT.with(|seat| seat.mode.set(Mode::Off));
}

/// From here to [`leave`], a node's code runs.
pub(super) fn enter(view: View) {
    SEAT.with(|seat| {
        show(seat, view);
        seat.looks.set(0);
        seat.has_read_monotonic.set(false);
        seat.has_read_wall.set(false);
        seat.mode.set(Mode::Node);
    });
}

/// What the engine itself sees, as when it drops what a node leaves behind.
pub(super) fn look_on(view: View) {
    SEAT.with(|seat| show(seat, view));
}

fn show(seat: &Seat, view: View) {
    seat.monotonic.set(view.monotonic);
    seat.wall.set(view.wall);
    seat.random.set(view.random);
}

/// The node's turn is over.
pub(super) fn leave() -> Turned {
    SEAT.with(|seat| {
        seat.mode.set(Mode::Engine);
        Turned {
            random: seat.random.get(),
            has_read_monotonic: seat.has_read_monotonic.get(),
            has_read_wall: seat.has_read_wall.get(),
        }
    })
}

/// The node's runtime is entered, and has not waited.
pub(super) fn forget_wait() {
    SEAT.with(|seat| seat.waits.set(None));
}

/// Whether the node's runtime has nothing left to do but wait.
pub(super) fn is_waiting() -> bool {
    SEAT.with(|seat| seat.waits.get().is_some())
}

/// How long it would wait, in milliseconds; none for ever.
pub(super) fn waits_ms() -> Option<u64> {
    let waits = SEAT.with(|seat| seat.waits.get());
    waits.and_then(|waits| u64::try_from(waits).ok())
}

/// What the monotonic clock says to whoever runs, in nanoseconds.
pub(super) fn monotonic() -> u64 {
    SEAT.with(|seat| {
        seat.has_read_monotonic.set(true);
        seat.monotonic.get()
    })
}

/// What the wall clock says to whoever runs, in nanoseconds since the Unix epoch.
pub(super) fn wall() -> u64 {
    SEAT.with(|seat| {
        seat.has_read_wall.set(true);
        seat.wall.get()
    })
}

/// A node has polled some tasks and goes on, while time stands still.
pub(super) fn look() {
    let looks = SEAT.with(|seat| {
        let looks = seat.looks.get() + 1;
        seat.looks.set(looks);
        looks
    });
    if looks > LOOKS_AT_ONE_TIME_MAX {
        escape(Escape::Spin);
    }
}

fn mode() -> Mode {
    SEAT.with(|seat| seat.mode.get())
}

/// Ends the run where a node's code leaves the simulation; the engine's own may.
fn escape(what: Escape) {
    let on_escape = SEAT.with(|seat| {
        if seat.mode.get() != Mode::Node {
            return None;
        }
        // Whoever ends the run may do what a node may not.
        seat.mode.set(Mode::Engine);
        seat.on_escape.get()
    });
    if let Some(on_escape) = on_escape {
        on_escape(what);
    }
}

/// SplitMix64: state kept here, because a run draws before anything else of Rust may run.
fn draw(seat: &Seat) -> u64 {
    let state = seat.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    seat.random.set(state);
    let mut mixed = state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills `length` bytes at `buffer` from the run's seed.
///
/// # Safety
///
/// `buffer` is valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: size_t) {
    // SAFETY: the caller says so; bytes need no alignment and no initial value.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    SEAT.with(|seat| {
        for chunk in bytes.chunks_mut(8) {
            let drawn = draw(seat).to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    });
}

/// A system call, past the C library: the kernel's own answer, an error as a negative number.
///
/// # Safety
///
/// That of the system call.
#[cfg(target_arch = "x86_64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the registers are those of the kernel's calling convention; it clobbers rcx and
    // r11, and leaves the stack alone.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// A system call, past the C library: the kernel's own answer, an error as a negative number.
///
/// # Safety
///
/// That of the system call.
#[cfg(target_arch = "aarch64")]
unsafe fn kernel(number: c_long, arguments: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = arguments;
    let result;
    // SAFETY: the registers are those of the kernel's calling convention, and it leaves the
    // others and the stack alone.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack)
        );
    }
    result
}

/// A system call by the C library's contract: -1 and `errno` for an error.
///
/// # Safety
///
/// That of the system call.
unsafe fn call(number: c_long, arguments: [c_long; 6]) -> c_long {
    // SAFETY: the caller's.
    let result = unsafe { kernel(number, arguments) };
    if (-4095..0).contains(&result) {
        // SAFETY: the place of this thread's errno is always valid; an error fits an int.
        unsafe { *libc::__errno_location() = -result as c_int };
        return -1;
    }
    result
}

/// The C library's own function behind one of ours, looked up once.
fn original(cache: &AtomicPtr<c_void>, name: &std::ffi::CStr) -> *mut c_void {
    let known = cache.load(Ordering::Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name ends with a zero, and the look-up changes nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        // Without the C library's function there is nothing to pass on to, and no way to say so.
        std::process::abort();
    }
    cache.store(found, Ordering::Relaxed);
    found
}

/// # Safety
///
/// That of `clock_gettime(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: clockid_t, out: *mut timespec) -> c_int {
    if mode() == Mode::Off {
        type Original = unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int;
        static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
        let found = original(&ORIGINAL, c"clock_gettime");
        // SAFETY: the C library's function of this name has this type; the caller's arguments.
        return unsafe { std::mem::transmute::<*mut c_void, Original>(found)(clock, out) };
    }
    let nanos = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => wall(),
        _ => monotonic(),
    };
    // SAFETY: the caller gives a place for a timespec.
    unsafe { out.write(timespec_of(nanos)) };
    0
}

fn timespec_of(nanos: u64) -> timespec {
    timespec {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_nsec: (nanos % 1_000_000_000) as c_long,
    }
}

/// # Safety
///
/// That of `gettimeofday(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(out: *mut timeval, zone: *mut c_void) -> c_int {
    if mode() == Mode::Off {
        let arguments = [out as c_long, zone as c_long, 0, 0, 0, 0];
        // SAFETY: the caller's arguments.
        return unsafe { call(libc::SYS_gettimeofday, arguments) } as c_int;
    }
    let nanos = wall();
    let time = timeval {
        tv_sec: (nanos / 1_000_000_000) as libc::time_t,
        tv_usec: (nanos % 1_000_000_000 / 1000) as libc::suseconds_t,
    };
    // SAFETY: the caller gives a place for a timeval.
    unsafe { out.write(time) };
    0
}

/// # Safety
///
/// That of `time(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
    let mut now = timespec_of(0);
    // SAFETY: the place is ours.
    unsafe { clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    if !out.is_null() {
        // SAFETY: the caller gives a place for a time, or null.
        unsafe { out.write(now.tv_sec) };
    }
    now.tv_sec
}

/// A runtime with nothing ready waits here until its next timer. It is told at once that nothing
/// came: the engine knows when it has something, and comes back then.
///
/// # Safety
///
/// That of `epoll_wait(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    queue: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    if mode() == Mode::Off {
        let arguments = [
            c_long::from(queue),
            events as c_long,
            c_long::from(count),
            c_long::from(timeout),
            0,
            8,
        ];
        // SAFETY: the caller's arguments; no signal mask.
        return unsafe { call(libc::SYS_epoll_pwait, arguments) } as c_int;
    }
    // A wait of no length says that timers are due or tasks are ready.
    SEAT.with(|seat| seat.waits.set((timeout != 0).then_some(timeout)));
    look();
    0
}

/// # Safety
///
/// That of `getrandom(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: u32) -> ssize_t {
    let arguments = [buffer as c_long, length as c_long, flags.into(), 0, 0, 0];
    // SAFETY: the caller's arguments.
    unsafe { random(arguments) as ssize_t }
}

/// # Safety
///
/// That of `getrandom(2)`, whose arguments these are.
unsafe fn random(arguments: [c_long; 6]) -> c_long {
    if mode() == Mode::Off {
        // SAFETY: the caller's arguments.
        return unsafe { call(libc::SYS_getrandom, arguments) };
    }
    let [buffer, length, ..] = arguments;
    // SAFETY: the caller gives so many bytes.
    unsafe { fill(buffer as *mut c_void, length as size_t) };
    length
}

/// # Safety
///
/// That of `getentropy(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
    // SAFETY: the caller's arguments.
    let filled = unsafe { getrandom(buffer, length, 0) };
    if filled < 0 { -1 } else { 0 }
}

/// The C library's `syscall` takes as many arguments as the call has; callers leave them in
/// registers, so that one which always takes six reads the same, and ignores what is left over.
///
/// # Safety
///
/// That of the system call.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    match number {
        // SAFETY: the caller's arguments.
        libc::SYS_getrandom => return unsafe { random(arguments) },
        // A run is one thread: nobody is there who could wake it.
        libc::SYS_futex if is_wait(b) => escape(Escape::Block),
        _ => {}
    }
    // SAFETY: the caller's arguments.
    unsafe { call(number, arguments) }
}

fn is_wait(operation: c_long) -> bool {
    let operation = operation as c_int & libc::FUTEX_CMD_MASK;
    operation == libc::FUTEX_WAIT || operation == libc::FUTEX_WAIT_BITSET
}

/// # Safety
///
/// That of `nanosleep(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int {
    escape(Escape::Sleep);
    let arguments = [time as c_long, rest as c_long, 0, 0, 0, 0];
    // SAFETY: the caller's arguments.
    unsafe { call(libc::SYS_nanosleep, arguments) as c_int }
}

/// Answers with the error itself, where others set `errno`.
///
/// # Safety
///
/// That of `clock_nanosleep(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    time: *const timespec,
    rest: *mut timespec,
) -> c_int {
    escape(Escape::Sleep);
    let (clock, flags) = (c_long::from(clock), c_long::from(flags));
    let arguments = [clock, flags, time as c_long, rest as c_long, 0, 0];
    // SAFETY: the caller's arguments.
    let result = unsafe { kernel(libc::SYS_clock_nanosleep, arguments) };
    -result as c_int
}

/// # Safety
///
/// That of `pthread_create(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut pthread_t,
    attributes: *const pthread_attr_t,
    run: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> c_int {
    type Original = unsafe extern "C" fn(
        *mut pthread_t,
        *const pthread_attr_t,
        extern "C" fn(*mut c_void) -> *mut c_void,
        *mut c_void,
    ) -> c_int;
    static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    escape(Escape::Thread);
    let found = original(&ORIGINAL, c"pthread_create");
    // SAFETY: the C library's function of this name has this type; the caller's arguments.
    unsafe {
        let found = std::mem::transmute::<*mut c_void, Original>(found);
        found(thread, attributes, run, argument)
    }
}

/// # Safety
///
/// That of `socket(2)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    escape(Escape::Socket);
    let arguments = [family.into(), kind.into(), protocol.into(), 0, 0, 0];
    // SAFETY: the caller's arguments.
    unsafe { call(libc::SYS_socket, arguments) as c_int }
}

#[cfg(test)]
mod tests;
