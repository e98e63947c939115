//! A registration through losses, outages and good-byes.

use super::*;
use crate::registry::tests::Fickle;

const TTL: Duration = Duration::from_secs(30);

fn node() -> Node {
    Node::new("greeter", "a", crate::Address::memory("a"))
}

async fn listed(registry: &Registry) -> bool {
    !registry
        .list(Some("greeter"))
        .await
        .unwrap()
        .nodes
        .is_empty()
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_node_listed_past_its_time_to_live() {
    let fickle = Fickle::new();
    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    assert!(matches!(registration.health(), Health::Starting));
    registration.registered().await.unwrap();
    for _ in 0..100 {
        fickle.host.clock.sleep(TTL / 7).await;
        assert!(listed(&fickle.behind()).await);
    }
    // Registering once, and a heartbeat each third of the time to live, more or less.
    let exchanges = fickle.calls();
    assert!((36..=54).contains(&exchanges), "{exchanges}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_the_registry_forgot_is_registered_again_within_half_its_time_to_live() {
    let fickle = Fickle::new();
    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    registration.registered().await.unwrap();
    fickle.restart();
    assert!(!listed(&fickle.behind()).await);
    fickle.host.clock.sleep(TTL / 2).await;
    assert!(listed(&fickle.behind()).await);
    assert!(matches!(registration.health(), Health::Good));
}

#[tokio::test(start_paused = true)]
async fn an_outage_shows_in_the_health_and_ends_by_itself() {
    let fickle = Fickle::new();
    let clock = &fickle.host.clock;
    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    registration.registered().await.unwrap();
    fickle.set_away(true);
    let away_from = clock.now();
    clock.sleep(TTL * 20).await;
    assert!(!listed(&fickle.behind()).await, "expired meanwhile");
    let Health::Failing { since, error } = registration.health() else {
        panic!("the outage does not show: {:?}", registration.health());
    };
    assert!(since.since(away_from) < TTL / 2);
    assert_eq!(error.kind(), Kind::Unavailable);
    let tries = fickle.calls();
    assert!((110..=160).contains(&tries), "{tries} tries in ten minutes");

    fickle.set_away(false);
    clock.sleep(Duration::from_secs(7)).await;
    assert!(listed(&fickle.behind()).await);
    assert!(matches!(registration.health(), Health::Good));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_answers_does_not_hold_the_heartbeats_up() {
    let fickle = Fickle::new();
    fickle.set_silent(true);
    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    fickle.host.clock.sleep(Duration::from_secs(6)).await;
    let Health::Failing { error, .. } = registration.health() else {
        panic!("silence does not show");
    };
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    fickle.set_silent(false);
    registration.registered().await.unwrap();

    fickle.set_silent(true);
    let started = fickle.host.clock.now();
    let error = registration.deregister().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    assert_eq!(fickle.host.clock.now().since(started).as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_good_bye_takes_the_node_off_at_once_and_a_drop_lets_it_expire() {
    let fickle = Fickle::new();
    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    registration.registered().await.unwrap();
    registration.deregister().await.unwrap();
    assert!(!listed(&fickle.behind()).await);

    let mut registration = fickle.registry().keep(&fickle.host, node(), TTL);
    registration.registered().await.unwrap();
    drop(registration);
    fickle.host.clock.sleep(TTL - Duration::from_secs(1)).await;
    assert!(listed(&fickle.behind()).await);
    fickle.host.clock.sleep(Duration::from_secs(1)).await;
    assert!(!listed(&fickle.behind()).await);
}
