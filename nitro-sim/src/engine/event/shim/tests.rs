//! What the C library's functions answer, in a run and outside of one.

use super::*;

const VIEW: View = View {
    monotonic: 5_000_000_123,
    wall: 1_767_225_600_000_000_456,
    random: 7,
};

fn unexpected(escape: Escape) -> ! {
    panic!("{escape}")
}

/// All that the C library is asked for time and randomness.
fn ask() -> (Vec<u8>, [i64; 5]) {
    let mut bytes = vec![0u8; 24];
    let mut times = [timespec_of(0), timespec_of(0)];
    let mut day = timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    // SAFETY: every place is ours, and large enough.
    let seconds = unsafe {
        libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), 8usize, 0);
        libc::getrandom(bytes[8..].as_mut_ptr().cast(), 8, 0);
        libc::getentropy(bytes[16..].as_mut_ptr().cast(), 8);
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut times[0]);
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut times[1]);
        libc::gettimeofday(&raw mut day, std::ptr::null_mut());
        libc::time(std::ptr::null_mut())
    };
    let [one, other] = times.map(|time| time.tv_sec * 1_000_000_000 + time.tv_nsec);
    (bytes, [one, other, day.tv_sec, day.tv_usec, seconds])
}

#[test]
fn in_a_run_time_and_randomness_are_the_runs_and_outside_the_machines() {
    let run = || {
        begin(VIEW, unexpected);
        let said = ask();
        end();
        said
    };
    let (bytes, times) = run();
    let wall = 1_767_225_600;
    let expected = [5_000_000_123, wall * 1_000_000_000 + 456, wall, 0, wall];
    assert_eq!(times, expected);
    assert_eq!(run().0, bytes);
    let (outside, times) = ask();
    let pieces: Vec<&[u8]> = outside.chunks(8).chain(bytes.chunks(8)).collect();
    for (index, piece) in pieces.iter().enumerate() {
        assert!(!pieces[index + 1..].contains(piece), "{pieces:?}");
    }
    assert_ne!(times[0], expected[0]);
    assert!(times[4] > 1_700_000_000 && times[4] != wall);
}

#[test]
fn errors_of_system_calls_are_set_as_the_c_library_sets_them() {
    // SAFETY: no such file descriptor is open.
    let result = unsafe { libc::syscall(libc::SYS_close, -1) };
    let error = std::io::Error::last_os_error();
    assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EBADF)));
}
