//! Calls that fail at one node and go to another, or must not.

use nitro::client::EjectionPolicy;
use nitro::client::ejection::Standing;
use nitro::selector::KeyHash;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_retry_goes_to_another_node() {
    let cluster = Cluster::new(3).await;
    // By itself it would choose the same node for a key each time, until that is ejected.
    let builder = cluster.builder().selector(KeyHash::from_seed(0));
    let builder = builder.ejection(EjectionPolicy::never());
    let (client, _balance) = builder.targets(Text, &cluster.targets());
    for call in 0..60 {
        let name = format!("call-{call}");
        let answer = client
            .clone()
            .key(&name)
            .call(&FAIL_LOOK, name.clone())
            .await;
        assert_eq!(answer.unwrap(), name);
        assert!(cluster.done.count(&name) <= 2, "the bad node was avoided");
    }
    let twice = (0..60).filter(|call| cluster.done.count(&format!("call-{call}")) == 2);
    assert!(twice.count() >= 10, "the bad node had its share");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_idempotent_is_not_repeated_after_a_handler_has_failed() {
    let cluster = Cluster::new(3).await;
    let builder = cluster.builder().ejection(EjectionPolicy::never());
    let (client, _balance) = builder.targets(Text, &cluster.targets());
    let mut failed = 0;
    for call in 0..60 {
        let name = format!("call-{call}");
        if let Err(error) = client.call(&FAIL, name.clone()).await {
            assert_eq!(error.kind(), Kind::Unavailable);
            let node = error.node().map(|node| node.to_string());
            assert_eq!(node.as_deref(), Some("node-0:7000"));
            failed += 1;
        }
        assert_eq!(cluster.done.count(&name), 1);
    }
    assert_eq!(failed, 20);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_every_call_is_ejected_and_comes_back() {
    let mut cluster = Cluster::new(3).await;
    let (client, balance) = cluster.client();
    let failed_of = async |calls: u32| {
        let mut failed = 0;
        for call in 0..calls {
            let answer = client.call(&FAIL, format!("call-{call}")).await;
            failed += u32::from(answer.is_err());
        }
        failed
    };
    assert_eq!(failed_of(60).await, 5);
    let health = balance.health();
    assert_eq!((health.ejected(), health.ejections), (1, 1));
    assert!(matches!(health.nodes[0].standing, Standing::Out { .. }));
    cluster.sleep(millis(6_100)).await;
    assert_eq!(failed_of(60).await, 1, "one call tries it");
    assert_eq!(balance.health().ejections, 2);

    cluster.nodes[0].is_bad = false;
    cluster.nodes[0].kill().await;
    cluster.nodes[0].start().await;
    cluster.sleep(millis(12_100)).await;
    assert_eq!(failed_of(60).await, 0);
    let health = balance.health();
    assert_eq!((health.ejected(), health.ejections), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_amid_a_call_has_it_repeated_only_if_that_is_the_same() {
    for (method, times) in [(&DO, 1), (&LOOK, 2)] {
        let mut cluster = Cluster::new(2).await;
        let targets = cluster.targets();
        let (client, balance) = cluster.client();
        balance.set(&targets[..1]);
        let killing = async {
            host_sleep(WORK / 2).await;
            assert_eq!(cluster.done.count("it"), 1);
            balance.set(&targets);
            cluster.nodes[0].kill().await;
        };
        let (answer, ()) = join(client.call(method, "it".to_owned()), killing).await;
        assert_eq!(cluster.done.count("it"), times);
        match times {
            1 => assert!(!answer.unwrap_err().is_unsent()),
            _ => assert_eq!(answer.unwrap(), "it"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_node_refuses_and_the_call_goes_elsewhere() {
    let mut cluster = Cluster::new(2).await;
    cluster.nodes[0].settings.in_flight_max = 1;
    cluster.nodes[0].kill().await;
    cluster.nodes[0].start().await;
    let targets = cluster.targets();
    let (client, balance) = cluster.client();
    balance.set(&targets[..1]);
    let hanging = client.call(&HANG, "hanging".to_owned());
    let calling = async {
        host_sleep(millis(5)).await;
        // Nowhere else to go: the refusal itself is seen, after three tries.
        let error = client.call(&DO, "refused".to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.detail("reason"), Some("overloaded"));
        assert!(error.is_unsent());
        assert_eq!(cluster.done.count("refused"), 0);
        balance.set(&targets);
        for call in 0..20 {
            let name = format!("call-{call}");
            assert_eq!(client.call(&DO, name.clone()).await.unwrap(), name);
            assert_eq!(cluster.done.count(&name), 1);
            // Overload is what the budget of retries is for: it is not to be used up here.
            host_sleep(millis(200)).await;
        }
    };
    let (hanging, calling) = (std::pin::pin!(hanging), std::pin::pin!(calling));
    futures_util::future::select(calling, hanging).await;
    assert_eq!(cluster.done.count("call-19"), 1, "all calls were made");
}

#[tokio::test(start_paused = true)]
async fn one_connection_too_many_is_turned_away_and_counted() {
    let mut cluster = Cluster::new(2).await;
    cluster.nodes[0].connections_max = 1;
    cluster.nodes[0].kill().await;
    cluster.nodes[0].start().await;
    let (first, _one) = cluster.client();
    for call in 0..4 {
        first.call(&DO, format!("first-{call}")).await.unwrap();
    }
    let full = cluster.builder().address(Text, cluster.nodes[0].at.clone());
    let error = full.call(&DO, "no room".to_owned()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.is_unsent());
    let (second, _other) = cluster.client();
    for call in 0..4 {
        second.call(&DO, format!("second-{call}")).await.unwrap();
    }
    let counts = cluster.nodes[0].serving().counts();
    assert_eq!((counts.accepted, counts.connections), (1, 1));
    assert!(counts.turned_away >= 2, "{counts:?}");
    assert_eq!(cluster.nodes[1].serving().counts().accepted, 2);
    // The first is none the worse.
    first.call(&DO, "first again".to_owned()).await.unwrap();
}
