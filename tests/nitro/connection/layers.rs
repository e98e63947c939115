//! Tower layers of a user's own, and tower's, at three depths: around a client's whole stack,
//! around each attempt, and around the router of a server.

use std::task::{Context, Poll};

use nitro::rpc::{Request, Response};
use tower::limit::ConcurrencyLimitLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service, ServiceBuilder};

use super::*;

/// Counts what goes through it. The whole of a layer that a user writes.
#[derive(Clone, Default)]
struct Tally {
    calls: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Tallied<S> {
    inner: S,
    tally: Tally,
}

impl<S> Layer<S> for Tally {
    type Service = Tallied<S>;

    fn layer(&self, inner: S) -> Tallied<S> {
        let tally = self.clone();
        Tallied { inner, tally }
    }
}

impl<S> Service<Request> for Tallied<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let tally = self.tally.clone();
        tally.calls.fetch_add(1, Ordering::SeqCst);
        let now = tally.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        tally.most.fetch_max(now, Ordering::SeqCst);
        let calling = self.inner.call(request);
        Box::pin(async move {
            let answer = calling.await;
            tally.under_way.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }
}

impl Tally {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_sees_each_call_each_attempt_or_each_request_by_its_depth() {
    let mut cluster = Cluster::new(2).await;
    let (calls, attempts, requests) = (Tally::default(), Tally::default(), Tally::default());
    for node in &mut cluster.nodes {
        node.kill().await;
        let service = ServiceBuilder::new()
            .layer(requests.clone())
            .service(node.router());
        let service = stack(&node.host, &node.settings, service);
        let transport = Transport::new(node.host.network.clone(), Exchange::new());
        let server = Server::new(&node.host, &transport, service);
        node.serving = Some(server.listen(&node.at).await.unwrap());
    }
    let builder = cluster.builder();
    let builder = builder.layer(calls.clone()).attempt_layer(attempts.clone());
    let (client, _balance) = builder.targets(Text, &cluster.targets());
    for call in 0..10 {
        client.call(&FAIL_LOOK, call.to_string()).await.unwrap();
    }
    assert_eq!(calls.calls(), 10);
    let made: usize = (0..10)
        .map(|call| cluster.done.count(&call.to_string()))
        .sum();
    assert!(
        made >= 14,
        "every other call met the bad node first: {made}"
    );
    assert_eq!(attempts.calls(), made);
    assert_eq!(requests.calls(), made);
    cluster.nodes[1].kill().await;
    cluster.nodes[0].kill().await;
    let error = client.call(&LOOK, "nobody".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(attempts.calls(), made + 3, "three attempts");
    assert_eq!(requests.calls(), made, "none of which arrived");
}

#[tokio::test(start_paused = true)]
async fn towers_own_layers_fit_at_every_depth_with_their_boxed_errors() {
    let mut cluster = Cluster::new(1).await;
    let inside = Tally::default();
    let node = &mut cluster.nodes[0];
    node.kill().await;
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(Duration::from_secs(2)))
        .layer(inside.clone())
        .service(node.router());
    let service = stack(&node.host, &node.settings, service);
    let transport = Transport::new(node.host.network.clone(), Exchange::new());
    let server = Server::new(&node.host, &transport, service);
    node.serving = Some(server.listen(&node.at).await.unwrap());

    let outer = cluster
        .builder()
        .layer(TimeoutLayer::new(Duration::from_secs(1)));
    let (client, _balance) = outer
        .attempt_layer(ConcurrencyLimitLayer::new(3))
        .targets(Text, &cluster.targets());
    let calls = (0..12).map(|call| client.call(&DO, call.to_string()));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(inside.calls(), 12);
    assert_eq!(inside.most.load(Ordering::SeqCst), 3, "three at a time");

    let clock = cluster.client.clock.clone();
    let began = clock.now();
    let error = client.call(&HANG, "outer".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unknown, "a stranger's error: {error}");
    assert_eq!(error.message(), "request timed out");
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(clock.now().since(began).as_secs(), 1);

    let plain = cluster.builder().address(Text, cluster.nodes[0].at.clone());
    let began = clock.now();
    let error = plain.call(&HANG, "inner".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unknown, "through the wire: {error}");
    assert_eq!(error.message(), "request timed out");
    assert_eq!(clock.now().since(began).as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_nitros_own_goes_through_a_strangers_layer_unchanged() {
    let cluster = Cluster::new(1).await;
    let builder = cluster.builder();
    let builder = builder.attempt_layer(TimeoutLayer::new(Duration::from_secs(1)));
    let client = builder.address(Text, "node-0:9999".parse::<Address>().unwrap());
    let error = client.call(&DO, "x".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(
        error.is_unsent(),
        "boxed and unboxed, it is still known to be unsent"
    );
    assert!(
        error.message().contains("nobody listens at node-0:9999"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_the_time_of_its_server_or_of_its_caller_whichever_is_less() {
    let mut cluster = Cluster::new(1).await;
    let node = &mut cluster.nodes[0];
    node.kill().await;
    node.settings.timeout = Duration::from_secs(1);
    node.start().await;
    let clock = cluster.client.clock.clone();
    for (patience, expected) in [(Duration::from_secs(60), 1_000), (millis(400), 400)] {
        let builder = cluster.builder().timeout(patience);
        let client = builder.address(Text, cluster.nodes[0].at.clone());
        let began = clock.now();
        let error = client.call(&HANG, "on".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::DeadlineExceeded);
        let took = clock.now().since(began).as_millis();
        assert!((expected..=expected + 5).contains(&took), "{took} ms");
    }
}
