//! tonic, as its generated code would call it and be called.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http, tokio_stream};
use tonic::server::{NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::work::{Blob, Count, Order, Peer, blob, order};

#[derive(Clone, Copy)]
struct Echo;

impl UnaryService<Order> for Echo {
    type Response = Order;
    type Future = std::future::Ready<Result<Response<Order>, Status>>;

    fn call(&mut self, request: Request<Order>) -> Self::Future {
        std::future::ready(Ok(Response::new(request.into_inner())))
    }
}

type Answers<T> =
    std::future::Ready<Result<Response<BoxStream<'static, Result<T, Status>>>, Status>>;

fn answers<T>(
    messages: impl stream::Stream<Item = Result<T, Status>> + Send + 'static,
) -> Answers<T> {
    std::future::ready(Ok(Response::new(messages.boxed())))
}

#[derive(Clone, Copy)]
struct Orders;

impl ServerStreamingService<Count> for Orders {
    type Response = Order;
    type ResponseStream = BoxStream<'static, Result<Order, Status>>;
    type Future = Answers<Order>;

    fn call(&mut self, request: Request<Count>) -> Self::Future {
        let order = order();
        answers(stream::iter(0..request.into_inner().count).map(move |_| Ok(order.clone())))
    }
}

#[derive(Clone, Copy)]
struct Blobs;

impl ServerStreamingService<Count> for Blobs {
    type Response = Blob;
    type ResponseStream = BoxStream<'static, Result<Blob, Status>>;
    type Future = Answers<Blob>;

    fn call(&mut self, request: Request<Count>) -> Self::Future {
        let blob = blob();
        answers(stream::iter(0..request.into_inner().count).map(move |_| Ok(blob.clone())))
    }
}

#[derive(Clone, Copy)]
struct Idle;

impl ServerStreamingService<Count> for Idle {
    type Response = Order;
    type ResponseStream = BoxStream<'static, Result<Order, Status>>;
    type Future = Answers<Order>;

    fn call(&mut self, _: Request<Count>) -> Self::Future {
        answers(stream::iter([Ok(order())]).chain(stream::pending()))
    }
}

#[derive(Clone, Copy)]
struct Echoes;

impl StreamingService<Order> for Echoes {
    type Response = Order;
    type ResponseStream = BoxStream<'static, Result<Order, Status>>;
    type Future = Answers<Order>;

    fn call(&mut self, request: Request<Streaming<Order>>) -> Self::Future {
        answers(request.into_inner())
    }
}

#[derive(Clone, Copy)]
struct Bench;

impl NamedService for Bench {
    const NAME: &'static str = "bench";
}

impl Service<http::Request<Body>> for Bench {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        async move {
            Ok(match request.uri().path() {
                "/bench/echo" => grpc().unary(Echo, request).await,
                "/bench/orders" => grpc().server_streaming(Orders, request).await,
                "/bench/blobs" => grpc().server_streaming(Blobs, request).await,
                "/bench/idle" => grpc().server_streaming(Idle, request).await,
                _ => grpc().streaming(Echoes, request).await,
            })
        }
        .boxed()
    }
}

fn grpc<T, U>() -> tonic::server::Grpc<ProstCodec<T, U>>
where
    ProstCodec<T, U>: tonic::codec::Codec,
{
    tonic::server::Grpc::new(ProstCodec::default())
}

/// Calls to one server, or balanced over so many.
#[derive(Clone)]
pub(crate) struct Tonic<const NODES: usize>(Channel);

/// A server on a free port; answers where it listens.
#[expect(clippy::disallowed_methods, reason = "tonic is not on nitro's host")]
pub(crate) async fn serve() -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let incoming = incoming.with_nodelay(Some(true));
    let at = format!("http://{}", incoming.local_addr().unwrap());
    // Otherwise it lets one connection have 200 streams.
    let server = Server::builder()
        .max_concurrent_streams(u32::MAX)
        .add_service(Bench);
    tokio::spawn(server.serve_with_incoming(incoming));
    at
}

/// A client of one server.
pub(crate) async fn connect(at: &str) -> Tonic<1> {
    let endpoint = Channel::from_shared(at.to_owned()).unwrap();
    let tonic = Tonic(endpoint.tcp_nodelay(true).connect().await.unwrap());
    tonic.unary(order()).await;
    tonic
}

impl<const NODES: usize> Tonic<NODES> {
    async fn client(&self) -> tonic::client::Grpc<Channel> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        client
    }

    /// A stream on which nothing more will come.
    pub(crate) async fn idle_stream(&self) -> Streaming<Order> {
        let path = PathAndQuery::from_static("/bench/idle");
        let request = Request::new(Count { count: 1 });
        let codec = ProstCodec::<Count, Order>::default();
        let mut client = self.client().await;
        let answer = client.server_streaming(request, path, codec);
        let mut stream = answer.await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap();
        stream
    }
}

impl<const NODES: usize> Peer for Tonic<NODES> {
    const NAME: &'static str = match NODES {
        1 => "tonic",
        _ => "tonic-3-nodes",
    };

    async fn start() -> Self {
        let mut servers = Vec::new();
        for _ in 0..NODES {
            let server = Channel::from_shared(serve().await).unwrap();
            servers.push(server.tcp_nodelay(true));
        }
        let tonic = Self(match &servers[..] {
            [server] => server.connect().await.unwrap(),
            _ => Channel::balance_list(servers.into_iter()),
        });
        for _ in 0..10 * NODES {
            tonic.unary(order()).await;
        }
        tonic
    }

    async fn unary(&self, order: Order) -> Order {
        let path = PathAndQuery::from_static("/bench/echo");
        let codec = ProstCodec::<Order, Order>::default();
        let mut client = self.client().await;
        let answer = client.unary(Request::new(order), path, codec).await;
        answer.unwrap().into_inner()
    }

    async fn orders(&self, count: u64) -> u64 {
        let path = PathAndQuery::from_static("/bench/orders");
        let codec = ProstCodec::<Count, Order>::default();
        let mut client = self.client().await;
        let answer = client.server_streaming(Request::new(Count { count }), path, codec);
        drain(answer.await.unwrap()).await
    }

    async fn blobs(&self, count: u64) -> u64 {
        let path = PathAndQuery::from_static("/bench/blobs");
        let codec = ProstCodec::<Count, Blob>::default();
        let mut client = self.client().await;
        let answer = client.server_streaming(Request::new(Count { count }), path, codec);
        drain(answer.await.unwrap()).await
    }

    async fn echoes(&self, count: u64) -> u64 {
        let path = PathAndQuery::from_static("/bench/echoes");
        let codec = ProstCodec::<Order, Order>::default();
        let order = order();
        let messages = tokio_stream::iter(0..count).map(move |_| order.clone());
        let mut client = self.client().await;
        let answer = client.streaming(Request::new(messages), path, codec);
        drain(answer.await.unwrap()).await
    }
}

async fn drain<T>(answer: Response<Streaming<T>>) -> u64 {
    let mut stream = answer.into_inner();
    let mut came = 0;
    while stream.message().await.unwrap().is_some() {
        came += 1;
    }
    came
}
