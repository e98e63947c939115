//! Nodes that stop, die and come back.

use futures_util::future::BoxFuture;
use nitro::host::Network;
use nitro::host::network::{Datagram, Listener, Stream};

use super::*;

#[tokio::test(start_paused = true)]
async fn one_connection_to_a_node_is_shared_by_all_calls() {
    let cluster = Cluster::new(2).await;
    let (client, _balance) = cluster.client();
    let calls = (0..200).map(|call| client.call(&DO, call.to_string()));
    for answer in futures_util::future::join_all(calls).await {
        answer.unwrap();
    }
    for node in &cluster.nodes {
        let counts = node.serving().counts();
        assert_eq!((counts.accepted, counts.connections), (1, 1));
    }
}

/// Counts the attempts to connect.
struct Counting {
    network: Arc<dyn Network>,
    attempts: AtomicUsize,
}

impl Network for Counting {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, std::io::Result<Box<dyn Stream>>> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        self.network.connect(to)
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, std::io::Result<Box<dyn Listener>>> {
        self.network.listen(at)
    }

    fn datagram(
        &self,
        at: std::net::SocketAddr,
    ) -> BoxFuture<'_, std::io::Result<Box<dyn Datagram>>> {
        self.network.datagram(at)
    }

    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, std::io::Result<Vec<std::net::IpAddr>>> {
        self.network.lookup(name)
    }
}

impl Cluster {
    fn count_connects(&mut self) -> Arc<Counting> {
        let counting = Arc::new(Counting {
            network: self.client.network.clone(),
            attempts: AtomicUsize::new(0),
        });
        self.client.network = counting.clone();
        counting
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_is_tried_with_back_off_and_found_when_it_is_back() {
    let mut cluster = Cluster::new(1).await;
    let counting = cluster.count_connects();
    let (client, _balance) = cluster.client();
    client.call(&DO, "before".to_owned()).await.unwrap();
    assert_eq!(counting.attempts.load(Ordering::SeqCst), 1);
    cluster.nodes[0].kill().await;
    for _ in 0..3_000 {
        let error = client.call(&DO, "meanwhile".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.is_unsent());
        cluster.sleep(millis(10)).await;
    }
    // 100 ms, then 1.6 times as long each time, up to 3 s.
    let attempts = counting.attempts.load(Ordering::SeqCst);
    assert!((10..=30).contains(&attempts), "{attempts} in half a minute");
    cluster.nodes[0].start().await;
    let mut waited = 0;
    while client.call(&DO, "after".to_owned()).await.is_err() {
        cluster.sleep(millis(100)).await;
        waited += 1;
    }
    assert!(waited <= 40, "{waited} tenths of a second");
    assert_eq!(cluster.done.count("meanwhile"), 0);
    assert_eq!(cluster.done.count("after"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_opens_connections_only_to_close_them_is_tried_with_back_off() {
    let mut cluster = Cluster::new(1).await;
    let counting = cluster.count_connects();
    cluster.nodes[0].kill().await;
    let (host, at) = (&cluster.nodes[0].host, &cluster.nodes[0].at);
    let mut listener = host.network.listen(at).await.unwrap();
    let closing = async {
        // More than a client with any sense asks for.
        for _ in 0..500 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let opening = b"NITRO\x01\0\0\0\0\0\0\0\0\0\0\x01\0";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, opening).await;
            host_sleep(millis(1)).await;
        }
    };
    let (client, _balance) = cluster.client();
    let calling = async {
        for _ in 0..300 {
            client.call(&DO, "never".to_owned()).await.unwrap_err();
            cluster.sleep(millis(100)).await;
        }
    };
    let (closing, calling) = (std::pin::pin!(closing), std::pin::pin!(calling));
    futures_util::future::select(calling, closing).await;
    let attempts = counting.attempts.load(Ordering::SeqCst);
    assert!((10..=30).contains(&attempts), "{attempts} in half a minute");
}

#[tokio::test(start_paused = true)]
async fn a_rolling_restart_under_load_is_seen_by_no_caller() {
    let mut cluster = Cluster::new(3).await;
    let (client, _balance) = cluster.client();
    let load = Load::new();
    let done = cluster.done.clone();
    let restarting = async {
        for round in 0..6 {
            let node = &mut cluster.nodes[round % 3];
            host_sleep(millis(700 + 130 * round as u64)).await;
            assert_eq!(node.stop(millis(5_000)).await, 0, "nothing is cut");
            host_sleep(millis(300)).await;
            node.start().await;
        }
        host_sleep(millis(4_000)).await;
        cluster
    };
    let (answers, cluster) = load.around(&client, restarting).await;
    assert!(answers.len() > 2_000, "{} calls", answers.len());
    for (name, answer) in &answers {
        assert_eq!(answer.as_ref().unwrap(), name);
        assert_eq!(done.count(name), 1, "{name}");
    }
    for node in &cluster.nodes {
        assert_eq!(node.serving().counts().accepted, 1, "it is back in use");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stays_down_costs_no_caller_anything() {
    let mut cluster = Cluster::new(2).await;
    let (client, _balance) = cluster.client();
    let load = Load::new();
    let downtime = async {
        host_sleep(millis(500)).await;
        cluster.nodes[0].stop(millis(1_000)).await;
        // Half of the calls would be retries, of which a budget allows a fifth.
        host_sleep(millis(60_000)).await;
        cluster.nodes[0].start().await;
        host_sleep(millis(5_000)).await;
        cluster
    };
    let (answers, cluster) = load.around(&client, downtime).await;
    assert!(answers.len() > 20_000, "{} calls", answers.len());
    for (name, answer) in &answers {
        assert_eq!(answer.as_ref().unwrap(), name);
    }
    assert_eq!(
        cluster.nodes[0].serving().counts().accepted,
        1,
        "it is back in use"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_finishes_calls_and_counts_what_it_had_to_cut() {
    let mut cluster = Cluster::new(2).await;
    let targets = cluster.targets();
    let (client, balance) = cluster.client();
    balance.set(&targets[..1]);
    let client = client.timeout(Duration::from_secs(60));
    let finishes = client.call(&DO, "finishes".to_owned());
    let hangs = client.call(&HANG, "hangs".to_owned());
    let clock = cluster.client.clock.clone();
    let began = clock.now();
    let mut second = cluster.nodes.pop().unwrap();
    let first = &mut cluster.nodes[0];
    let stopping = async {
        host_sleep(millis(10)).await;
        balance.set(&targets);
        let cut = first.stop(Duration::from_secs(2)).await;
        (cut, clock.now().since(began))
    };
    let meanwhile = async {
        host_sleep(millis(15)).await;
        for call in 0..20 {
            client.call(&DO, format!("new-{call}")).await.unwrap();
        }
        // All while the first was still finishing.
        assert!(clock.now().since(began) < Duration::from_secs(2));
    };
    let calls = join(finishes, hangs);
    let ((calls, meanwhile), stopped) = join(join(calls, meanwhile), stopping).await;
    let () = meanwhile;
    assert_eq!(calls.0.unwrap(), "finishes");
    let error = calls.1.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!error.is_unsent(), "its handler has run");
    assert_eq!(stopped.0, 1, "one call was cut");
    assert_eq!(stopped.1.as_millis() / 100, 20, "at the end of the grace");
    assert_eq!(cluster.done.count("hangs"), 1);
    assert_eq!(second.stop(millis(100)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_done_is_never_done_twice_whenever_its_node_dies() {
    let mut cluster = Cluster::new(3).await;
    let (client, _balance) = cluster.client();
    let load = Load::new();
    let done = cluster.done.clone();
    let killing = async {
        for round in 0..60_usize {
            let node = &mut cluster.nodes[round % 3];
            host_sleep(millis(150 + 7 * round as u64)).await;
            node.kill().await;
            host_sleep(millis(50)).await;
            node.start().await;
        }
    };
    let (answers, ()) = load.around(&client, killing).await;
    let mut failed = 0;
    for (name, answer) in &answers {
        match answer {
            Ok(_) => assert_eq!(done.count(name), 1, "{name}"),
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), Kind::Unavailable);
                let most = usize::from(!error.is_unsent());
                assert!(done.count(name) <= most, "{name}: {error}");
            }
        }
    }
    assert!(answers.len() > 2_000, "{} calls", answers.len());
    assert!(failed > 50, "{failed} calls met a node that died");
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_service_panics_forgets_the_connection() {
    let cluster = Cluster::new(1).await;
    let node = &cluster.nodes[0];
    let bare = tower::service_fn(|request: nitro::rpc::Request| async move {
        let answer: Result<nitro::rpc::Response> = Err(Error::internal("not reached"));
        assert!(request.path.is_empty(), "planned: no layer catches this");
        answer
    });
    let transport = Transport::new(node.host.network.clone(), Exchange::new());
    let server = Server::new(&node.host, &transport, nitro::rpc::Rpc::new(bare));
    let serving = server.listen(&"node-0:8000".parse().unwrap()).await;
    let serving = serving.unwrap();
    let client = cluster
        .builder()
        .address(Text, "node-0:8000".parse().unwrap());
    let error = client.call(&DO, "x".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(!error.is_unsent());
    assert_eq!(serving.counts().connections, 0);
    assert_eq!(serving.stop(Duration::from_secs(60)).await, 0);
}
