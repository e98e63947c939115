//! Nitro, tonic, tarpc and the raw limit at the same work, in one run and one table.
//!
//! Client and server share one thread: pin it to a core, so that nothing moves it.
//!
//! ```sh
//! taskset -c 1 cargo run --release -p nitro-peers
//! ```
//!
//! and, not pinned, `cargo run --release -p nitro-peers scale` for more cores and more streams.
//!
//! Times vary from machine to machine and from minute to minute; ratios within a run, instructions
//! and allocations do not. Where valgrind is installed the table has instructions a call. To see
//! where they go, run one peer for so many calls with so many at once:
//!
//! ```sh
//! valgrind --tool=callgrind --collect-atstart=no '--toggle-collect=*counted_*' \
//!     target/release/nitro-peers only nitro 2000 64   # or: only nitro 5000 orders
//! callgrind_annotate callgrind.out.*
//! ```
#![expect(clippy::print_stdout, reason = "a table is what this is for")]
#![expect(clippy::unwrap_used, reason = "a bench that fails must stop")]

mod count;
mod idle;
mod measure;
mod over_nitro;
mod over_tarpc;
mod over_tonic;
mod raw;
mod scale;
mod work;

use measure::{
    Unary, counted_calls, counted_stream, instructions, median, messages_a_second, runtime, unary,
};
use over_nitro::Nitro;
use over_tarpc::Tarpc;
use over_tonic::Tonic;
use raw::Raw;
use tokio::runtime::Runtime;
use work::Peer;

const ROUNDS: usize = 5;
const CALLS_64: usize = 20_000;
const CALLS_1: usize = 4_000;
const ORDERS: u64 = 50_000;
const ECHOES: u64 = 20_000;
const BLOBS: u64 = 1_500;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["only", peer, count, what] => only(peer, count.parse().unwrap(), what),
        ["streams"] => stream_table(),
        ["scale"] => scale::table(),
        _ => table(),
    }
}

fn only(peer: &str, count: usize, what: &str) {
    match peer {
        "raw" => alone::<Raw>(count, what),
        "nitro" => alone::<Nitro>(count, what),
        "tarpc" => alone::<Tarpc>(count, what),
        "tonic" => alone::<Tonic>(count, what),
        other => println!("{other}: expected raw, nitro, tarpc or tonic"),
    }
}

/// Warms up, then does the work that callgrind counts: calls, so many at once, or a stream.
fn alone<P: Peer>(count: usize, what: &str) {
    let runtime = runtime();
    let peer = runtime.block_on(P::start());
    runtime.block_on(peer.calls(500, 64, &mut Vec::new()));
    match what.parse() {
        Ok(at_once) => counted_calls(&runtime, &peer, count, at_once),
        Err(_) => counted_stream(&runtime, &peer, count as u64, what),
    }
}

/// One peer, measured as often as there were rounds.
struct Measured {
    name: &'static str,
    at_64: Vec<Unary>,
    at_1: Vec<Unary>,
    orders: Vec<f64>,
    echoes: Vec<f64>,
    blobs: Vec<f64>,
}

struct Running<P> {
    runtime: Runtime,
    peer: P,
    measured: Measured,
}

impl<P: Peer> Running<P> {
    fn start() -> Self {
        let runtime = runtime();
        let peer = runtime.block_on(P::start());
        runtime.block_on(peer.calls(2_000, 64, &mut Vec::new()));
        let measured = Measured {
            name: P::NAME,
            at_64: Vec::new(),
            at_1: Vec::new(),
            orders: Vec::new(),
            echoes: Vec::new(),
            blobs: Vec::new(),
        };
        Self {
            runtime,
            peer,
            measured,
        }
    }

    fn round(&mut self) {
        self.unary_round();
        self.stream_round();
    }

    fn unary_round(&mut self) {
        let (runtime, peer, measured) = (&self.runtime, &self.peer, &mut self.measured);
        measured.at_64.push(unary(runtime, peer, CALLS_64, 64));
        measured.at_1.push(unary(runtime, peer, CALLS_1, 1));
    }

    fn stream_round(&mut self) {
        let (runtime, peer, measured) = (&self.runtime, &self.peer, &mut self.measured);
        if P::STREAMS {
            let orders = || runtime.block_on(peer.orders(ORDERS));
            measured.orders.push(messages_a_second(ORDERS, orders));
            let echoes = || runtime.block_on(peer.echoes(ECHOES));
            measured.echoes.push(messages_a_second(ECHOES, echoes));
            let blobs = || runtime.block_on(peer.blobs(BLOBS));
            measured.blobs.push(messages_a_second(BLOBS, blobs));
        }
    }
}

fn table() {
    let mut raw = Running::<Raw>::start();
    let mut nitro = Running::<Nitro>::start();
    let mut tarpc = Running::<Tarpc>::start();
    let mut tonic = Running::<Tonic>::start();
    for _ in 0..ROUNDS {
        raw.round();
        nitro.round();
        tarpc.round();
        tonic.round();
    }
    let all = [raw.measured, nitro.measured, tarpc.measured, tonic.measured];
    println!("\nunary, 100 B protobuf (tarpc: bincode); medians of {ROUNDS} rounds\n");
    println!(
        "| peer | at once | calls/s | to tonic | p50 us | p99 us | p99.9 us | allocations | instructions |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (at_once, calls) in [(64, 4_000), (1, 2_000)] {
        let of = |one: &Measured| {
            if at_once == 64 {
                one.at_64.clone()
            } else {
                one.at_1.clone()
            }
        };
        let rate =
            |one: &Measured| median(of(one).iter().map(|round| round.calls_a_second).collect());
        let tonic = rate(&all[3]);
        for one in &all {
            let middle = |value: fn(&Unary) -> f64| median(of(one).iter().map(value).collect());
            let counted = instructions(one.name, calls, at_once);
            println!(
                "| {} | {at_once} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
                one.name,
                rate(one),
                rate(one) / tonic,
                middle(|round| round.p50_us),
                middle(|round| round.p99_us),
                middle(|round| round.p999_us),
                middle(|round| round.allocations),
                counted.map_or("-".to_owned(), |counted| format!("{counted:.0}")),
            );
        }
    }
    streams(&all);
    idle::table();
}

/// The streams alone.
fn stream_table() {
    let mut raw = Running::<Raw>::start();
    let mut nitro = Running::<Nitro>::start();
    let mut tonic = Running::<Tonic>::start();
    for _ in 0..ROUNDS {
        raw.stream_round();
        nitro.stream_round();
        tonic.stream_round();
    }
    streams(&[raw.measured, nitro.measured, tonic.measured]);
}

fn streams(all: &[Measured]) {
    println!("\nstreams, messages/s (and the ratio to tonic)\n");
    println!("| peer | 100 B one way | 100 B both ways | 64 KiB one way |");
    println!("|---|---|---|---|");
    let tonic = all.last().unwrap();
    for one in all.iter().filter(|one| !one.orders.is_empty()) {
        let cell = |of: fn(&Measured) -> &Vec<f64>| {
            let (own, theirs) = (median(of(one).clone()), median(of(tonic).clone()));
            format!("{own:.0} ({:.2})", own / theirs)
        };
        println!(
            "| {} | {} | {} | {} |",
            one.name,
            cell(|one| &one.orders),
            cell(|one| &one.echoes),
            cell(|one| &one.blobs),
        );
    }
}
