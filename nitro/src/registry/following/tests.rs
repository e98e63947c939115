//! A list of nodes through changes, outages and restarts of the registry.

use super::view::RESTORE_TIME;
use super::*;
use crate::registry::tests::Fickle;

const TTL: Duration = Duration::from_secs(600);

fn node(id: &str) -> Node {
    Node::new("greeter", id, crate::Address::memory(id))
}

fn ids(following: &Following) -> String {
    following
        .nodes()
        .iter()
        .map(|node| node.id.as_str())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn changes_are_on_the_list_as_soon_as_they_happen() {
    let fickle = Fickle::new();
    let behind = fickle.behind();
    behind.register(node("a"), TTL).await.unwrap();
    let mut following = fickle.registry().follow(&fickle.host, "greeter");
    following.ready().await.unwrap();
    assert_eq!(ids(&following), "a");

    let seen = following.nodes();
    behind.register(node("b"), TTL).await.unwrap();
    let seen = following.changed(&seen).await.unwrap();
    assert_eq!(ids(&following), "ab");
    behind.deregister("greeter", "a").await.unwrap();
    following.changed(&seen).await.unwrap();
    assert_eq!(ids(&following.clone()), "b");

    let before = following.nodes();
    fickle.host.clock.sleep(Duration::from_secs(100)).await;
    assert!(
        Arc::ptr_eq(&before, &following.nodes()),
        "no news, no new list"
    );
    let asked = fickle.calls();
    assert!(asked < 20, "{asked} questions in 100 s");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_and_a_registry_that_is_away_are_told_apart() {
    let fickle = Fickle::new();
    let mut following = fickle.registry().follow(&fickle.host, "nobody");
    assert!(matches!(following.health(), Health::Starting));
    following.ready().await.unwrap();
    assert!(following.nodes().is_empty());
    assert!(matches!(following.health(), Health::Good));

    fickle.set_away(true);
    let mut other = fickle.registry().follow(&fickle.host, "nobody");
    fickle.host.clock.sleep(Duration::from_secs(20)).await;
    assert!(other.nodes().is_empty());
    assert!(matches!(other.health(), Health::Failing { .. }));
    let waited = fickle
        .host
        .clock
        .timeout(Duration::from_secs(60), other.ready())
        .await;
    assert_eq!(
        waited.err(),
        Some(Elapsed),
        "not ready before the first answer"
    );
    following.ready().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_old_list_stays_through_an_outage_and_is_current_after_it() {
    let fickle = Fickle::new();
    let behind = fickle.behind();
    behind.register(node("a"), TTL).await.unwrap();
    let mut following = fickle.registry().follow(&fickle.host, "greeter");
    following.ready().await.unwrap();
    fickle.set_away(true);
    behind.register(node("b"), TTL).await.unwrap();
    behind.deregister("greeter", "a").await.unwrap();
    fickle.host.clock.sleep(Duration::from_secs(300)).await;
    assert_eq!(ids(&following), "a");
    assert!(matches!(following.health(), Health::Failing { .. }));
    fickle.set_away(false);
    fickle.host.clock.sleep(Duration::from_secs(7)).await;
    assert_eq!(ids(&following), "b");
    assert!(matches!(following.health(), Health::Good));
}

#[tokio::test(start_paused = true)]
async fn nodes_stay_while_they_register_again_with_a_restarted_registry() {
    let fickle = Fickle::new();
    for id in ["a", "b", "c"] {
        fickle.behind().register(node(id), TTL).await.unwrap();
    }
    let mut following = fickle.registry().follow(&fickle.host, "greeter");
    following.ready().await.unwrap();
    fickle.restart();
    fickle.host.clock.sleep(Duration::from_secs(15)).await;
    assert_eq!(ids(&following), "abc");

    let behind = fickle.behind();
    behind.register(node("a"), TTL).await.unwrap();
    behind.register(node("b"), TTL).await.unwrap();
    behind.deregister("greeter", "b").await.unwrap();
    fickle.host.clock.sleep(Duration::from_secs(1)).await;
    assert_eq!(ids(&following), "ac", "a good-bye counts at once");
    fickle.host.clock.sleep(RESTORE_TIME).await;
    assert_eq!(ids(&following), "a", "who does not come back is gone");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_never_answers_counts_as_away() {
    let fickle = Fickle::new();
    fickle.set_silent(true);
    let following = fickle.registry().follow(&fickle.host, "greeter");
    fickle
        .host
        .clock
        .sleep(WAIT + LATENESS_MAX + Duration::from_secs(1))
        .await;
    assert!(matches!(following.health(), Health::Failing { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_clone() {
    let fickle = Fickle::new();
    let mut following = fickle.registry().follow(&fickle.host, "greeter");
    following.ready().await.unwrap();
    drop(following.clone());
    fickle.host.clock.sleep(Duration::from_secs(60)).await;
    let asked = fickle.calls();
    drop(following);
    fickle.host.clock.sleep(Duration::from_secs(60)).await;
    assert!(asked > 3);
    assert_eq!(fickle.calls(), asked);
}
