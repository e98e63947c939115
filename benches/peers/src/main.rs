//! Nitro, tonic, tarpc and the raw limit at the same work, in one run and one table.
//!
//! Client and server share one thread: pin it to a core, so that nothing moves it.
//!
//! ```sh
//! taskset -c 1 cargo run --release -p nitro-peers
//! ```
//!
//! and, not pinned, `cargo run --release -p nitro-peers scale` for more cores and more streams;
//! `streams` and `idle` are parts of the first by themselves.
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
    Streamed, Unary, counted_calls, counted_stream, instructions, median, runtime, stream,
    streamed, unary,
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
        ["idle"] => idle::table(),
        ["scale"] => scale::table(),
        _ => table(),
    }
}

fn only(peer: &str, count: usize, what: &str) {
    match peer {
        "raw" => alone::<Raw>(count, what),
        "nitro" => alone::<Nitro<3>>(count, what),
        "nitro-1-node" => alone::<Nitro<1>>(count, what),
        "tarpc" => alone::<Tarpc>(count, what),
        "tonic" => alone::<Tonic<1>>(count, what),
        "tonic-3-nodes" => alone::<Tonic<3>>(count, what),
        other => println!("{other}: no such row in the table"),
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
    orders: Vec<Streamed>,
    echoes: Vec<Streamed>,
    blobs: Vec<Streamed>,
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
            for (what, count, into) in [
                ("orders", ORDERS, &mut measured.orders),
                ("echoes", ECHOES, &mut measured.echoes),
                ("blobs", BLOBS, &mut measured.blobs),
            ] {
                into.push(streamed(count, || stream(runtime, peer, count, what)));
            }
        }
    }
}

fn table() {
    let mut raw = Running::<Raw>::start();
    let mut nitro = Running::<Nitro<3>>::start();
    let mut nitro_1 = Running::<Nitro<1>>::start();
    let mut tarpc = Running::<Tarpc>::start();
    let mut tonic_3 = Running::<Tonic<3>>::start();
    let mut tonic = Running::<Tonic<1>>::start();
    for _ in 0..ROUNDS {
        raw.round();
        nitro.round();
        nitro_1.unary_round();
        tarpc.round();
        tonic_3.unary_round();
        tonic.round();
    }
    let all = [
        raw.measured,
        nitro.measured,
        nitro_1.measured,
        tarpc.measured,
        tonic_3.measured,
        tonic.measured,
    ];
    println!("\nunary, 100 B protobuf (tarpc: bincode); medians of {ROUNDS} rounds\n");
    println!(
        "| peer | at once | calls/s | to tonic | CPU us | to tonic | p50 us | p99 us | p99.9 us | allocations | instructions |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (at_once, calls) in [(64, 4_000), (1, 2_000)] {
        for one in &all {
            let tonic = Row::of(&all[all.len() - 1], at_once);
            let counted = instructions(one.name, calls, at_once);
            Row::of(one, at_once).print(&tonic, counted);
        }
    }
    streams(&all);
    idle::table();
}

/// The unary calls of one peer, so many at once.
struct Row<'a> {
    name: &'static str,
    at_once: usize,
    rounds: &'a [Unary],
}

impl<'a> Row<'a> {
    fn of(measured: &'a Measured, at_once: usize) -> Self {
        let (name, rounds) = match at_once {
            1 => (measured.name, &measured.at_1),
            _ => (measured.name, &measured.at_64),
        };
        Self {
            name,
            at_once,
            rounds,
        }
    }

    fn middle(&self, value: fn(&Unary) -> f64) -> f64 {
        median(self.rounds.iter().map(value).collect())
    }

    fn print(&self, tonic: &Self, instructions: Option<f64>) {
        let (rate, cpu) = (
            |round: &Unary| round.calls_a_second,
            |round: &Unary| round.cpu_us,
        );
        println!(
            "| {} | {} | {:.0} | {:.1} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
            self.name,
            self.at_once,
            self.middle(rate),
            self.middle(rate) / tonic.middle(rate),
            self.middle(cpu),
            tonic.middle(cpu) / self.middle(cpu),
            self.middle(|round| round.p50_us),
            self.middle(|round| round.p99_us),
            self.middle(|round| round.p999_us),
            self.middle(|round| round.allocations),
            instructions.map_or("-".to_owned(), |counted| format!("{counted:.0}")),
        );
    }
}

/// The streams alone.
fn stream_table() {
    let mut raw = Running::<Raw>::start();
    let mut nitro = Running::<Nitro<3>>::start();
    let mut tonic = Running::<Tonic<1>>::start();
    for _ in 0..ROUNDS {
        raw.stream_round();
        nitro.stream_round();
        tonic.stream_round();
    }
    streams(&[raw.measured, nitro.measured, tonic.measured]);
}

fn streams(all: &[Measured]) {
    println!("\nstreams: messages/s (ratio to tonic), CPU ns a message (ratio)\n");
    println!("| peer | 100 B one way | 100 B both ways | 64 KiB one way |");
    println!("|---|---|---|---|");
    let tonic = all.last().unwrap();
    for one in all.iter().filter(|one| !one.orders.is_empty()) {
        let cell = |of: fn(&Measured) -> &Vec<Streamed>| {
            let middle = |measured: &Measured, value: fn(&Streamed) -> f64| {
                median(of(measured).iter().map(value).collect())
            };
            let [rate, cpu] = [
                |round: &Streamed| round.messages_a_second,
                |round: &Streamed| round.cpu_ns,
            ];
            let (own_rate, own_cpu) = (middle(one, rate), middle(one, cpu));
            let faster = own_rate / middle(tonic, rate);
            let cheaper = middle(tonic, cpu) / own_cpu;
            format!("{own_rate:.0} ({faster:.2}), {own_cpu:.0} ({cheaper:.2})")
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
