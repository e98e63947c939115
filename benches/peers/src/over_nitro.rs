//! Nitro with its whole default stack at both ends, balanced over its nodes.

use std::time::Duration;

use bytes::Bytes;
use nitro::client::Builder;
use nitro::client::balance::Target;
use nitro::codec::{Protobuf, Raw};
use nitro::host::{self, Host};
use nitro::rpc::method::{Bidirectional, ServerStreaming};
use nitro::rpc::{Call, Incoming, Outgoing, Rpc};
use nitro::server::stack::{ServerSettings, stack};
use nitro::server::{Server, Serving};
use nitro::transport::{Exchange, Transport};
use nitro::{Client, Method, Result, Router};

use crate::work::{Blob, Count, Order, Peer, blob, order};

/// Streams live as long as a bench takes on a machine that has other things to do.
const HOUR: Duration = Duration::from_secs(3600);

const ECHO: Method<Order, Order> = Method::unary("bench/echo");
const BYTES: Method<Bytes, Bytes> = Method::unary("bench/bytes");
const ORDERS: Method<Count, Order, ServerStreaming> = Method::server_streaming("bench/orders");
const BLOBS: Method<Count, Blob, ServerStreaming> = Method::server_streaming("bench/blobs");
const ECHOES: Method<Order, Order, Bidirectional> = Method::bidirectional("bench/echoes");
const IDLE: Method<Count, Order, ServerStreaming> = Method::server_streaming("bench/idle");

fn router() -> Router {
    Router::new()
        .unary(&ECHO, Protobuf, |_: Call, order: Order| async { Ok(order) })
        .unary(&BYTES, Raw, |_: Call, bytes: Bytes| async { Ok(bytes) })
        .server_streaming(&ORDERS, Protobuf, orders)
        .server_streaming(&BLOBS, Protobuf, blobs)
        .bidirectional(&ECHOES, Protobuf, echoes)
        .server_streaming(&IDLE, Protobuf, idle)
}

async fn orders(_: Call, wanted: Count, out: Outgoing<Order>) -> Result<()> {
    let order = order();
    for _ in 0..wanted.count {
        out.send(&order).await?;
    }
    Ok(())
}

async fn blobs(_: Call, wanted: Count, out: Outgoing<Blob>) -> Result<()> {
    let blob = blob();
    for _ in 0..wanted.count {
        out.send(&blob).await?;
    }
    Ok(())
}

async fn echoes(_: Call, mut orders: Incoming<Order>, out: Outgoing<Order>) -> Result<()> {
    while let Some(order) = orders.next().await {
        out.send(order?).await?;
    }
    Ok(())
}

async fn idle(_: Call, _: Count, out: Outgoing<Order>) -> Result<()> {
    out.send(order()).await?;
    std::future::pending().await
}

/// A server on a free port, with its whole stack.
pub(crate) async fn serve(host: &Host, transport: &Transport) -> Serving {
    let settings = ServerSettings {
        timeout: HOUR,
        ..ServerSettings::default()
    };
    let server = Server::new(host, transport, stack(host, &settings, router()));
    let at = "127.0.0.1:0".parse().unwrap();
    server.listen(&at).await.unwrap()
}

/// A client of one server, and the stream that it keeps open without a message to come.
pub(crate) async fn open_idle(
    host: &Host,
    transport: &Transport,
    at: &Serving,
) -> Client<Protobuf> {
    let builder = Builder::new(host, transport, "bench").timeout(HOUR);
    let client = builder.address(Protobuf, at.address().clone());
    client.call(&ECHO, order()).await.unwrap();
    client
}

/// A stream on which nothing more will come.
pub(crate) async fn idle_stream(client: &Client<Protobuf>) -> Incoming<Order> {
    let mut stream = client
        .server_streaming(&IDLE, Count { count: 1 })
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    stream
}

/// Both stacks, and no wire between.
pub(crate) fn in_process() -> Client<Protobuf> {
    let host = host::tokio::host();
    let service = stack(&host, &ServerSettings::default(), router());
    let service = nitro::client::stack::stack(&host, &Default::default(), service);
    Client::new(&host, service, Protobuf)
}

/// One call by [`in_process`].
pub(crate) async fn echo(client: &Client<Protobuf>, order: Order) -> Order {
    client.call(&ECHO, order).await.unwrap()
}

/// The same with a message that is bytes already.
pub(crate) async fn echo_bytes(client: &Client<Raw>, bytes: Bytes) -> Bytes {
    client.call(&BYTES, bytes).await.unwrap()
}

/// A stream each way on which every order comes back.
pub(crate) fn echo_stream(client: &Client<Protobuf>) -> (Outgoing<Order>, Incoming<Order>) {
    client.bidirectional(&ECHOES)
}

/// A stream of orders without an end.
pub(crate) async fn endless(client: &Client<Protobuf>) -> Incoming<Order> {
    let count = u64::MAX;
    client
        .server_streaming(&ORDERS, Count { count })
        .await
        .unwrap()
}

/// Calls balanced over so many nodes, each with a connection.
#[derive(Clone)]
pub(crate) struct Nitro<const NODES: usize> {
    client: Client<Protobuf>,
}

impl<const NODES: usize> Peer for Nitro<NODES> {
    const NAME: &'static str = match NODES {
        1 => "nitro-1-node",
        _ => "nitro",
    };

    async fn start() -> Self {
        let host = host::tokio::host();
        let transport = Transport::new(host.network.clone(), Exchange::new());
        let mut targets = Vec::new();
        for _ in 0..NODES {
            let serving = serve(&host, &transport).await;
            targets.push(Target::at(serving.address().clone()));
            std::mem::forget(serving);
        }
        let builder = Builder::new(&host, &transport, "bench").timeout(HOUR);
        let rpc: Rpc = builder.rpc(&targets).0;
        let client = Client::new(&host, rpc, Protobuf);
        for _ in 0..10 * NODES {
            client.call(&ECHO, order()).await.unwrap();
        }
        Self { client }
    }

    async fn unary(&self, order: Order) -> Order {
        self.client.call(&ECHO, order).await.unwrap()
    }

    async fn orders(&self, count: u64) -> u64 {
        drain(
            self.client
                .server_streaming(&ORDERS, Count { count })
                .await
                .unwrap(),
        )
        .await
    }

    async fn blobs(&self, count: u64) -> u64 {
        drain(
            self.client
                .server_streaming(&BLOBS, Count { count })
                .await
                .unwrap(),
        )
        .await
    }

    async fn echoes(&self, count: u64) -> u64 {
        let (out, back) = self.client.bidirectional(&ECHOES);
        let sending = async move {
            let order = order();
            for _ in 0..count {
                out.send(&order).await.unwrap();
            }
            out.finish().await;
        };
        futures_util::future::join(sending, drain(back)).await.1
    }
}

async fn drain<T>(mut stream: Incoming<T>) -> u64 {
    let mut came = 0;
    while let Some(message) = stream.next().await {
        message.unwrap();
        came += 1;
    }
    came
}
