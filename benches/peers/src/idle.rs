//! What costs when nothing moves, and a call that goes nowhere: memory, and time in process.

use std::rc::Rc;

use nitro::host;
use nitro::transport::{Exchange, Transport};

use crate::count::{allocations, live_bytes};
use crate::measure::runtime;
use crate::over_nitro;
use crate::over_tonic;
use crate::work::order;

/// As many as the usual limit of open files allows, with two ends each.
const CONNECTIONS: usize = 400;
const STREAMS: usize = 5_000;
/// As many streams as tonic's server lets one connection have by default.
const STREAMS_TONIC: usize = 150;
const CALLS: usize = 200_000;

/// Bytes that each of so many holds, both ends together, sockets in the kernel not counted.
fn bytes_each<T>(count: usize, make: impl FnOnce() -> Vec<T>) -> f64 {
    let before = live_bytes();
    let held = make();
    assert_eq!(held.len(), count);
    let bytes = live_bytes() - before;
    drop(held);
    bytes as f64 / count as f64
}

pub(crate) fn table() {
    println!("\nidle, bytes of heap, both ends\n");
    println!("| peer | connection | stream |\n|---|---|---|");
    let (connection, stream) = nitro();
    println!("| nitro | {connection:.0} | {stream:.0} |");
    let (connection, stream) = tonic();
    println!("| tonic | {connection:.0} | {stream:.0} |");
    let (nanos, allocations) = in_process();
    println!(
        "\nin process, both stacks, protobuf both ways: {nanos:.0} ns, {allocations:.1} allocations a call"
    );
}

fn nitro() -> (f64, f64) {
    let runtime = Rc::new(runtime());
    let host = host::tokio::host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let serving = runtime.block_on(over_nitro::serve(&host, &transport));
    let connections = bytes_each(CONNECTIONS, || {
        let open = || runtime.block_on(over_nitro::open_idle(&host, &transport, &serving));
        (0..CONNECTIONS).map(|_| open()).collect()
    });
    let client = runtime.block_on(over_nitro::open_idle(&host, &transport, &serving));
    let streams = bytes_each(STREAMS, || {
        let open = || runtime.block_on(over_nitro::idle_stream(&client));
        (0..STREAMS).map(|_| open()).collect()
    });
    (connections, streams)
}

fn tonic() -> (f64, f64) {
    let runtime = runtime();
    let at = runtime.block_on(over_tonic::serve());
    let connections = bytes_each(CONNECTIONS, || {
        let open = || runtime.block_on(over_tonic::connect(&at));
        (0..CONNECTIONS).map(|_| open()).collect()
    });
    let client = runtime.block_on(over_tonic::connect(&at));
    let streams = bytes_each(STREAMS_TONIC, || {
        let open = || runtime.block_on(client.idle_stream());
        (0..STREAMS_TONIC).map(|_| open()).collect()
    });
    (connections, streams)
}

/// Nanoseconds and allocations of a call through both stacks with no wire between.
fn in_process() -> (f64, f64) {
    let runtime = runtime();
    let client = over_nitro::in_process();
    let calls = async {
        for _ in 0..CALLS {
            std::hint::black_box(over_nitro::echo(&client, order()).await);
        }
    };
    let clock = host::tokio::host().clock;
    let (begun, before) = (clock.now(), allocations());
    runtime.block_on(calls);
    let nanos = clock.now().since(begun).as_nanos() as f64;
    let allocated = (allocations() - before) as f64;
    (nanos / CALLS as f64, allocated / CALLS as f64)
}
