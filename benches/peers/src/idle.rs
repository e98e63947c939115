//! What costs when nothing moves, and a call that goes nowhere: memory, and time in process.

use std::rc::Rc;

use bytes::Bytes;
use nitro::codec::Raw;
use nitro::host;
use nitro::transport::{Exchange, Transport};

use prost::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::count::{allocations, live_bytes};
use crate::measure::{cpu_nanos, runtime};
use crate::over_nitro;
use crate::over_tonic;
use crate::work::order;

/// Idle connections, with both ends in this process, as far as the limit of open files allows.
const CONNECTIONS: usize = 10_000;
/// Idle streams on one connection.
const STREAMS: usize = 10_000;
/// Files that are open for other reasons.
const FILES_ELSEWHERE: usize = 256;
const CALLS: usize = 200_000;

/// Bytes that each of so many holds, both ends together, sockets in the kernel not counted; and all
/// of them, as what is let go is not gone at once.
fn bytes_each<T>(count: usize, make: impl FnOnce() -> Vec<T>) -> (f64, Vec<T>) {
    let before = live_bytes();
    let all = make();
    ((live_bytes() - before) as f64 / count as f64, all)
}

/// As many connections as there can be, the limit of open files raised as far as it goes.
fn connections_possible() -> usize {
    let wanted = 2 * CONNECTIONS + FILES_ELSEWHERE;
    for most in [Some(wanted as u64), getrlimit(Resource::Nofile).maximum] {
        let limit = Rlimit {
            current: most,
            maximum: most,
        };
        // The first may need a right that this process does not have.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let files = getrlimit(Resource::Nofile).current;
    let files = files.map_or(wanted, |files| files as usize);
    CONNECTIONS.min((files - FILES_ELSEWHERE) / 2)
}

pub(crate) fn table() {
    let connections = connections_possible();
    println!(
        "\nidle: {connections} connections, {STREAMS} streams on one; bytes of heap each, both ends\n"
    );
    println!("| peer | connection | stream |\n|---|---|---|");
    let (connection, stream) = nitro(connections);
    println!("| nitro | {connection:.0} | {stream:.0} |");
    let (connection, stream) = tonic(connections);
    println!("| tonic | {connection:.0} | {stream:.0} |");
    println!("\nin process, through both stacks, no wire\n");
    println!("| messages | CPU ns a call | allocations |\n|---|---|---|");
    let client = over_nitro::in_process();
    let (nanos, allocations) = in_process(|| over_nitro::echo(&client, order()));
    println!("| protobuf both ways | {nanos:.0} | {allocations:.1} |");
    let (client, bytes) = (client.with_codec(Raw), Bytes::from(order().encode_to_vec()));
    let (nanos, allocations) = in_process(|| over_nitro::echo_bytes(&client, bytes.clone()));
    println!("| bytes | {nanos:.0} | {allocations:.1} |");
}

fn nitro(connections: usize) -> (f64, f64) {
    let runtime = Rc::new(runtime());
    let host = host::tokio::host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let serving = runtime.block_on(over_nitro::serve(&host, &transport));
    let client = runtime.block_on(over_nitro::open_idle(&host, &transport, &serving));
    let (stream, _streams) = bytes_each(STREAMS, || {
        let open = || runtime.block_on(over_nitro::idle_stream(&client));
        (0..STREAMS).map(|_| open()).collect()
    });
    let (connection, _connections) = bytes_each(connections, || {
        let open = || runtime.block_on(over_nitro::open_idle(&host, &transport, &serving));
        (0..connections).map(|_| open()).collect()
    });
    (connection, stream)
}

fn tonic(connections: usize) -> (f64, f64) {
    let runtime = runtime();
    let at = runtime.block_on(over_tonic::serve());
    let client = runtime.block_on(over_tonic::connect(&at));
    let (stream, _streams) = bytes_each(STREAMS, || {
        let open = || runtime.block_on(client.idle_stream());
        (0..STREAMS).map(|_| open()).collect()
    });
    let (connection, _connections) = bytes_each(connections, || {
        let open = || runtime.block_on(over_tonic::connect(&at));
        (0..connections).map(|_| open()).collect()
    });
    (connection, stream)
}

/// Nanoseconds of CPU and allocations of a call through both stacks with no wire between.
fn in_process<T, F: Future<Output = T>>(call: impl Fn() -> F) -> (f64, f64) {
    let runtime = runtime();
    let calls = async {
        for _ in 0..CALLS {
            std::hint::black_box(call().await);
        }
    };
    let (begun, before) = (cpu_nanos(), allocations());
    runtime.block_on(calls);
    let nanos = cpu_nanos() - begun;
    let allocated = (allocations() - before) as f64;
    (nanos / CALLS as f64, allocated / CALLS as f64)
}
