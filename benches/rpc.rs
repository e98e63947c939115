//! Calls through both default stacks: with no wire, and over TCP loopback to three nodes.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use nitro::client::Builder;
use nitro::client::balance::Target;
use nitro::codec::{ContentTypes, Protobuf, Raw};
use nitro::host::{Clock, SharedTimers};
use nitro::layer::{
    Budget, CatchPanicLayer, DeadlineLayer, RetryLayer, RetryPolicy, ShedLayer, TraceLayer,
};
use nitro::rpc::deadline::Messages;
use nitro::rpc::method::{Bidirectional, ServerStreaming};
use nitro::rpc::{Body, Call, Incoming, Outgoing, Request, Rpc};
use nitro::server::stack::{ServerSettings, stack};
use nitro::transport::{Exchange, Transport};
use nitro::{Client, Method, Result, Router, Server, host};
use tokio::runtime::Runtime;
use tower::Layer;

const NODES: usize = 3;
/// Messages of one stream, so that its opening does not count.
const MESSAGES: u64 = 1_000;

#[derive(Clone, PartialEq, prost::Message)]
struct Order {
    #[prost(string, tag = "1")]
    customer: String,
    #[prost(uint64, tag = "2")]
    number: u64,
}

/// A hundred bytes, encoded.
fn order() -> Order {
    Order {
        customer: "x".repeat(88),
        number: 9_007_199_254_740_991,
    }
}

const ECHO: Method<Order, Order> = Method::unary("bench/echo");
const BYTES: Method<Bytes, Bytes> = Method::unary("bench/bytes");
const ORDERS: Method<Order, Order, ServerStreaming> = Method::server_streaming("bench/orders");
const ECHOES: Method<Order, Order, Bidirectional> = Method::bidirectional("bench/echoes");
const BLOBS: Method<Bytes, Bytes, ServerStreaming> = Method::server_streaming("bench/blobs");

fn router() -> Router {
    Router::new()
        .unary(&ECHO, Protobuf, |_: Call, order: Order| async { Ok(order) })
        .unary(&BYTES, Raw, |_: Call, bytes: Bytes| async { Ok(bytes) })
        .server_streaming(&ORDERS, Protobuf, orders)
        .bidirectional(&ECHOES, Protobuf, echoes)
        .server_streaming(&BLOBS, Raw, blobs)
}

async fn orders(_: Call, order: Order, out: Outgoing<Order>) -> Result<()> {
    for _ in 0..MESSAGES {
        out.send(&order).await?;
    }
    Ok(())
}

async fn echoes(_: Call, mut orders: Incoming<Order>, out: Outgoing<Order>) -> Result<()> {
    while let Some(order) = orders.next().await {
        out.send(order?).await?;
    }
    Ok(())
}

async fn blobs(_: Call, blob: Bytes, out: Outgoing<Bytes>) -> Result<()> {
    for _ in 0..MESSAGES {
        out.send(&blob).await?;
    }
    Ok(())
}

/// One thread, so that client and server share one core.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .expect("a runtime is to be had")
}

fn in_process() -> Client<Protobuf> {
    let host = host::tokio::host();
    let service = stack(&host, &ServerSettings::default(), router());
    let service = nitro::client::stack::stack(&host, &Default::default(), service);
    Client::new(&host, service, Protobuf)
}

/// A client of three nodes, each with a connection that is open.
async fn over_tcp() -> Client<Protobuf> {
    let host = host::tokio::host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let mut targets = Vec::new();
    for _ in 0..NODES {
        let service = stack(&host, &ServerSettings::default(), router());
        let at = "127.0.0.1:0".parse().expect("an address");
        let serving = Server::new(&host, &transport, service).listen(&at).await;
        let serving = serving.expect("a port is free");
        targets.push(Target::at(serving.address().clone()));
        // It serves until the program ends.
        std::mem::forget(serving);
    }
    let (client, _) = Builder::new(&host, &transport, "bench").targets(Protobuf, &targets);
    for _ in 0..10 * NODES {
        client.call(&ECHO, order()).await.expect("an answer");
    }
    client
}

fn unary(criterion: &mut Criterion) {
    let runtime = runtime();
    let (near, far, order) = (in_process(), runtime.block_on(over_tcp()), order());
    let mut group = criterion.benchmark_group("unary 100 B");
    group.throughput(Throughput::Elements(1));
    group.bench_function("in process", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(near.call(&ECHO, &order))));
    });
    group.bench_function("tcp, 1 at once", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(far.call(&ECHO, &order))));
    });
    group.throughput(Throughput::Elements(64));
    group.bench_function("tcp, 64 at once", |bencher| {
        bencher.iter(|| {
            let calls = (0..64).map(|_| far.call(&ECHO, &order));
            black_box(runtime.block_on(join_all(calls)))
        });
    });
    group.finish();
}

/// What each layer adds to a call that it has nothing to do for, on bytes and with no wire.
fn layers(criterion: &mut Criterion) {
    let runtime = runtime();
    let host = host::tokio::host();
    let timers = SharedTimers::new(&host);
    let clock = || -> Arc<dyn Clock> { Arc::new(timers.clone()) };
    let entropy = || Arc::clone(&host.entropy);
    let budget = Budget::new(timers.now());
    let second = Duration::from_secs(1);
    let limit = DeadlineLayer::new(timers.clone(), second);
    let policy = RetryPolicy::default();
    let retry = RetryLayer::new(clock(), entropy(), policy, budget);
    let server = stack(&host, &ServerSettings::default(), router());
    let both = nitro::client::stack::stack(&host, &Default::default(), server.clone());
    let layered = [
        ("none", Rpc::new(router())),
        ("catch panic", Rpc::new(CatchPanicLayer.layer(router()))),
        (
            "trace",
            Rpc::new(TraceLayer::client(clock(), entropy()).layer(router())),
        ),
        ("shed", Rpc::new(ShedLayer::new(1 << 10).layer(router()))),
        ("deadline", Rpc::new(limit.clone().layer(router()))),
        (
            "deadline, of the messages as well",
            Rpc::new(limit.holding(Messages).layer(router())),
        ),
        ("retry", Rpc::new(retry.layer(router()))),
        (
            "another service boxed around it",
            Rpc::new(Rpc::new(router())),
        ),
        ("server stack", server),
        ("both stacks", both),
    ];
    let mut group = criterion.benchmark_group("layers");
    for (name, rpc) in layered {
        let bytes = Bytes::from(vec![7; 100]);
        let content_type = Raw.preferred();
        let request = || Request::new(BYTES.path(), content_type, Body::once(bytes.clone()));
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                let begun = host.clock.now();
                runtime.block_on(async {
                    for _ in 0..calls {
                        let answer = rpc.call(request()).await;
                        black_box(answer.expect("it echoes"));
                    }
                });
                host.clock.now().since(begun)
            });
        });
    }
    group.finish();
}

async fn drain<T>(mut stream: Incoming<T>) -> u64 {
    let mut came = 0;
    while let Some(message) = stream.next().await {
        black_box(message.expect("no stream breaks off"));
        came += 1;
    }
    came
}

async fn both_ways(client: &Client<Protobuf>, order: &Order) -> u64 {
    let (out, back) = client.bidirectional(&ECHOES);
    let sending = async move {
        for _ in 0..MESSAGES {
            out.send(order).await.expect("the stream is open");
        }
        out.finish().await;
    };
    futures_util::future::join(sending, drain(back)).await.1
}

fn streams(criterion: &mut Criterion) {
    let runtime = runtime();
    let (client, order) = (runtime.block_on(over_tcp()), order());
    let mut group = criterion.benchmark_group("streams");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("100 B one way", |bencher| {
        let stream = async || {
            let opened = client.server_streaming(&ORDERS, &order).await;
            drain(opened.expect("an answer")).await
        };
        bencher.iter(|| runtime.block_on(stream()));
    });
    group.bench_function("100 B both ways", |bencher| {
        bencher.iter(|| runtime.block_on(both_ways(&client, &order)));
    });
    let (client, blob) = (client.with_codec(Raw), Bytes::from(vec![7; 64 * 1024]));
    group.bench_function("64 KiB one way", |bencher| {
        let stream = async || {
            let opened = client.server_streaming(&BLOBS, &blob).await;
            drain(opened.expect("an answer")).await
        };
        bencher.iter(|| runtime.block_on(stream()));
    });
    group.finish();
}

fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

criterion_group!(name = benches; config = settings(); targets = layers, unary, streams);
criterion_main!(benches);
