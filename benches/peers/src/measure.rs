//! How fast, how even, and at what cost.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nitro::host;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

use crate::count::allocations;
use crate::work::{Order, Peer, Spent, order};

/// One thread, so that client and server share one core.
pub(crate) fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// Makes calls from as many tasks as calls are wanted at once.
#[expect(
    clippy::disallowed_methods,
    reason = "the peers are not on nitro's host"
)]
pub(crate) async fn from_tasks<P: Peer>(peer: &P, calls: usize, at_once: usize, spent: &mut Spent) {
    let left = Arc::new(AtomicUsize::new(calls));
    let is_timed = spent.capacity() > 0;
    let order = order();
    let mut tasks = Vec::with_capacity(at_once);
    for _ in 0..at_once {
        let (peer, left, order) = (peer.clone(), Arc::clone(&left), order.clone());
        tasks.push(tokio::spawn(caller(peer, left, order, is_timed)));
    }
    for task in tasks {
        spent.extend(task.await.unwrap());
    }
}

async fn caller<P: Peer>(peer: P, left: Arc<AtomicUsize>, order: Order, is_timed: bool) -> Spent {
    let clock = host::tokio::host().clock;
    let mut spent = Spent::new();
    let fewer = |left: usize| left.checked_sub(1);
    let (order_of, relaxed) = (order, Ordering::Relaxed);
    while left.fetch_update(relaxed, relaxed, fewer).is_ok() {
        let begun = is_timed.then(|| clock.now());
        // As much of an order as a caller would make afresh is part of the work.
        std::hint::black_box(peer.unary(order_of.clone()).await);
        if let Some(begun) = begun {
            spent.push(clock.now().since(begun).as_nanos() as u32);
        }
    }
    spent
}

/// The calls that callgrind counts: named, so that it can be told to count nothing else.
#[inline(never)]
pub(crate) fn counted_calls<P: Peer>(runtime: &Runtime, peer: &P, calls: usize, at_once: usize) {
    runtime.block_on(peer.calls(calls, at_once, &mut Spent::new()));
}

/// The same for a stream of so many messages.
#[inline(never)]
pub(crate) fn counted_stream<P: Peer>(runtime: &Runtime, peer: &P, count: u64, what: &str) {
    stream(runtime, peer, count, what);
}

/// A stream of so many messages, `orders`, `echoes` or `blobs`, in a task, as a caller is: a
/// runtime polls the future that it blocks on less often than its tasks.
#[expect(
    clippy::disallowed_methods,
    reason = "the peers are not on nitro's host"
)]
pub(crate) fn stream<P: Peer>(runtime: &Runtime, peer: &P, count: u64, what: &str) -> u64 {
    let peer = peer.clone();
    let what = what.to_owned();
    let work = async move {
        match what.as_str() {
            "orders" => peer.orders(count).await,
            "echoes" => peer.echoes(count).await,
            _ => peer.blobs(count).await,
        }
    };
    let work = async { tokio::spawn(work).await };
    runtime.block_on(work).unwrap()
}

/// What this thread has had of its core, the kernel's part included: it does not count the time in
/// which others had it.
pub(crate) fn cpu_nanos() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Unary {
    pub(crate) calls_a_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) allocations: f64,
}

/// The calls twice: once timed as a whole, and once each by itself, as two looks at the clock are
/// a part of a short call that is not its own.
pub(crate) fn unary<P: Peer>(runtime: &Runtime, peer: &P, calls: usize, at_once: usize) -> Unary {
    let clock = host::tokio::host().clock;
    let (begun, cpu, allocated) = (clock.now(), cpu_nanos(), allocations());
    counted_calls(runtime, peer, calls, at_once);
    let (took, cpu) = (clock.now().since(begun), cpu_nanos() - cpu);
    let allocated = allocations() - allocated;
    let mut spent = Spent::with_capacity(calls);
    runtime.block_on(peer.calls(calls, at_once, &mut spent));
    spent.sort_unstable();
    let at = |share: f64| {
        let index = (spent.len() as f64 * share) as usize;
        f64::from(spent[index.min(spent.len() - 1)]) / 1e3
    };
    Unary {
        calls_a_second: calls as f64 / took.as_secs_f64(),
        cpu_us: cpu / 1e3 / calls as f64,
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        allocations: allocated as f64 / calls as f64,
    }
}

/// How a stream of so many messages went.
#[derive(Clone, Copy)]
pub(crate) struct Streamed {
    pub(crate) messages_a_second: f64,
    pub(crate) cpu_ns: f64,
}

pub(crate) fn streamed(count: u64, run: impl FnOnce() -> u64) -> Streamed {
    let clock = host::tokio::host().clock;
    let (begun, cpu) = (clock.now(), cpu_nanos());
    assert_eq!(run(), count, "messages were lost");
    Streamed {
        messages_a_second: count as f64 / clock.now().since(begun).as_secs_f64(),
        cpu_ns: (cpu_nanos() - cpu) / count as f64,
    }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Instructions a call, where callgrind is installed: this program, run under it.
pub(crate) fn instructions(peer: &str, calls: usize, at_once: usize) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=*counted_*"])
        .arg(program)
        .args(["only", peer, &calls.to_string(), &at_once.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find(|line| line.contains("Collected"))?;
    let counted: f64 = line.split(':').next_back()?.trim().parse().ok()?;
    Some(counted / calls as f64)
}
