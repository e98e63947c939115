//! What more of it costs: more cores, and more streams on one connection, one of them stuck.

use std::thread::available_parallelism;

use futures_util::future::join_all;
use nitro::host;
use nitro::rpc::{Incoming, Outgoing};
use nitro::transport::{Exchange, Transport};
use tokio::runtime::Runtime;

use crate::measure::{median, runtime};
use crate::over_nitro::{self, Nitro};
use crate::over_tarpc::Tarpc;
use crate::over_tonic::Tonic;
use crate::work::{Order, Peer, Spent, order};

const ROUNDS: usize = 5;
const CALLS: usize = 40_000;
/// Callers, so that no core waits for one.
const AT_ONCE: usize = 256;
const STREAMS: usize = 1_000;
const TURNS: usize = 40;

pub(crate) fn table() {
    println!("\ncores: calls/s, client and server on the same threads\n");
    println!("| peer | 1 thread | 2 threads | ratio |\n|---|---|---|---|");
    cores::<Nitro<3>>();
    cores::<Tarpc>();
    cores::<Tonic<1>>();
    let cores = available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        println!("\nonly one core is allowed here: two threads share it");
    }
    println!("\n{STREAMS} echo streams on one connection, a message in flight on each\n");
    println!("| | p50 us | p99 us |\n|---|---|---|");
    let (free_p50, free_p99) = echo_streams(false);
    println!("| alone | {free_p50:.0} | {free_p99:.0} |");
    let (p50, p99) = echo_streams(true);
    println!("| beside a stream that nobody reads | {p50:.0} | {p99:.0} |");
    println!("| ratio | {:.2} | {:.2} |", p50 / free_p50, p99 / free_p99);
}

fn threads(count: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(count).enable_all().build().unwrap()
}

fn cores<P: Peer>() {
    let rates = [1, 2].map(|count| {
        let runtime = threads(count);
        let peer = runtime.block_on(P::start());
        let clock = host::tokio::host().clock;
        let rounds = (0..ROUNDS).map(|_| {
            let begun = clock.now();
            runtime.block_on(peer.calls(CALLS, AT_ONCE, &mut Spent::new()));
            CALLS as f64 / clock.now().since(begun).as_secs_f64()
        });
        median(rounds.collect())
    });
    let [one, two] = rates;
    println!("| {} | {one:.0} | {two:.0} | {:.2} |", P::NAME, two / one);
}

type Echo = (Outgoing<Order>, Incoming<Order>);

/// Sends on a stream and waits for the echo, over and over; answers what each took.
async fn turns((out, back): &mut Echo) -> Vec<f64> {
    let clock = host::tokio::host().clock;
    let mut took = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let begun = clock.now();
        out.send(order()).await.unwrap();
        back.next().await.unwrap().unwrap();
        took.push(clock.now().since(begun).as_secs_f64() * 1e6);
    }
    took
}

/// The middle of all rounds' p50 and p99, in microseconds.
fn echo_streams(is_one_stuck: bool) -> (f64, f64) {
    let runtime = runtime();
    let host = host::tokio::host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    runtime.block_on(async {
        let serving = over_nitro::serve(&host, &transport).await;
        let client = over_nitro::open_idle(&host, &transport, &serving).await;
        let stuck = match is_one_stuck {
            true => Some(over_nitro::endless(&client).await),
            false => None,
        };
        let echo = || over_nitro::echo_stream(&client);
        let mut streams: Vec<Echo> = (0..STREAMS).map(|_| echo()).collect();
        let (mut p50, mut p99) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let mut took = join_all(streams.iter_mut().map(turns)).await.concat();
            took.sort_by(f64::total_cmp);
            p50.push(took[took.len() / 2]);
            p99.push(took[took.len() * 99 / 100]);
        }
        drop(stuck);
        (median(p50), median(p99))
    })
}
