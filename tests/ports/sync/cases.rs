//! What all who lease promise, in single requests.

use std::time::Duration;

use futures_util::future::join;
use nitro::host::Host;
use nitro::sync::{Leases, Reply, Request};
use nitro::{Kind, Result};

pub(super) const TTL: Duration = Duration::from_millis(200);
pub(super) const SOON: Duration = Duration::from_millis(20);

/// Asks for a lease for [`TTL`]; the token, if it was granted.
async fn acquire(
    leases: &Leases,
    (name, permits): (&str, u32),
    owner: &str,
    wait: Duration,
) -> Option<u64> {
    let request = Request::Acquire {
        name: name.to_owned(),
        owner: owner.to_owned(),
        note: format!("note of {owner}"),
        permits,
        ttl_ms: TTL.as_millis() as u64,
        wait_ms: wait.as_millis() as u64,
    };
    match leases.ask(request).await.unwrap() {
        Reply::Granted(token) => Some(token),
        Reply::Busy => None,
        other => panic!("{other:?}"),
    }
}

async fn take(leases: &Leases, name: &str, owner: &str) -> Option<u64> {
    acquire(leases, (name, 1), owner, Duration::ZERO).await
}

async fn release(leases: &Leases, name: &str, owner: &str) -> Result<()> {
    let request = Request::Release {
        name: name.to_owned(),
        owner: owner.to_owned(),
    };
    leases.ask(request).await.map(drop)
}

async fn renew(leases: &Leases, name: &str, owner: &str) -> Result<()> {
    let request = Request::Renew {
        name: name.to_owned(),
        owner: owner.to_owned(),
        ttl_ms: TTL.as_millis() as u64,
    };
    leases.ask(request).await.map(drop)
}

pub(super) async fn a_lock_has_one_holder_at_a_time_and_its_tokens_rise(leases: Leases, _: Host) {
    let mut last = 0;
    for round in 0..5 {
        let owner = format!("owner-{round}");
        let token = take(&leases, "lock", &owner).await.unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
        assert_eq!(take(&leases, "lock", "other").await, None);
        release(&leases, "lock", &owner).await.unwrap();
    }
}

pub(super) async fn a_lease_that_is_not_renewed_ends_after_its_time_and_not_before(
    leases: Leases,
    host: Host,
) {
    let asked = host.clock.now();
    let first = take(&leases, "lock", "a").await.unwrap();
    let long = TTL * 50;
    let second = acquire(&leases, ("lock", 1), "b", long).await.unwrap();
    let waited = host.clock.now().since(asked);
    assert!(second > first);
    assert!(waited >= TTL, "{waited:?}");
    assert!(waited < TTL * 20, "{waited:?}");
    let error = renew(&leases, "lock", "a").await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);

    // Renewed, it goes on from then.
    host.clock.sleep(TTL / 2).await;
    renew(&leases, "lock", "b").await.unwrap();
    let renewed = host.clock.now();
    let third = acquire(&leases, ("lock", 1), "c", long).await;
    assert!(third.unwrap() > second);
    let waited = host.clock.now().since(renewed);
    assert!(waited >= TTL - SOON, "{waited:?}");
}

pub(super) async fn the_same_owner_asking_again_has_the_same_lease(leases: Leases, host: Host) {
    let token = take(&leases, "lock", "a").await.unwrap();
    host.clock.sleep(TTL / 2).await;
    assert_eq!(take(&leases, "lock", "a").await, Some(token));
    host.clock.sleep(TTL / 2 + SOON).await;
    // Asking again has renewed it.
    assert_eq!(take(&leases, "lock", "b").await, None);
    release(&leases, "lock", "a").await.unwrap();
    let again = take(&leases, "lock", "a").await.unwrap();
    assert!(again > token);
}

pub(super) async fn only_the_holder_releases_and_only_once(leases: Leases, host: Host) {
    let kind = |released: Result<()>| released.unwrap_err().kind();
    let nobody = release(&leases, "lock", "a").await;
    assert_eq!(kind(nobody), Kind::NotFound);
    take(&leases, "lock", "a").await.unwrap();
    let other = release(&leases, "lock", "b").await;
    assert_eq!(kind(other), Kind::FailedPrecondition);
    let other = renew(&leases, "lock", "b").await;
    assert_eq!(kind(other), Kind::FailedPrecondition);
    assert_eq!(take(&leases, "lock", "b").await, None);
    release(&leases, "lock", "a").await.unwrap();
    let again = release(&leases, "lock", "a").await;
    assert_eq!(kind(again), Kind::NotFound);
    let again = renew(&leases, "lock", "a").await;
    assert_eq!(kind(again), Kind::NotFound);

    take(&leases, "lock", "a").await.unwrap();
    host.clock.sleep(TTL + SOON).await;
    let late = release(&leases, "lock", "a").await;
    assert_eq!(kind(late), Kind::NotFound);
    take(&leases, "lock", "b").await.unwrap();
    let late = release(&leases, "lock", "a").await;
    assert_eq!(kind(late), Kind::FailedPrecondition);
    assert_eq!(take(&leases, "lock", "c").await, None);
}

pub(super) async fn who_waits_is_granted_a_lease_when_it_is_released(leases: Leases, host: Host) {
    take(&leases, "lock", "a").await.unwrap();
    let started = host.clock.now();
    let none = acquire(&leases, ("lock", 1), "b", SOON).await;
    assert_eq!(none, None);
    assert!(host.clock.now().since(started) >= SOON);
    let releasing = async {
        host.clock.sleep(SOON).await;
        // Renewed, so that what ends the wait is the release.
        renew(&leases, "lock", "a").await.unwrap();
        host.clock.sleep(SOON).await;
        release(&leases, "lock", "a").await.unwrap();
        host.clock.now()
    };
    let waiting = async {
        let token = acquire(&leases, ("lock", 1), "b", TTL * 50).await;
        (token, host.clock.now())
    };
    let ((token, granted), released) = join(waiting, releasing).await;
    assert!(token.is_some());
    assert!(granted.since(released) < TTL);
}

pub(super) async fn a_semaphore_has_as_many_holders_as_permits(leases: Leases, host: Host) {
    let three = ("pool", 3);
    let mut tokens = Vec::new();
    for owner in ["a", "b", "c"] {
        let token = acquire(&leases, three, owner, Duration::ZERO).await;
        tokens.push(token.unwrap());
    }
    assert!(tokens.is_sorted());
    assert_eq!(acquire(&leases, three, "d", SOON).await, None);
    let holders = leases.observe("pool", &[], Duration::ZERO).await.unwrap();
    let observed: Vec<u64> = holders.iter().map(|holder| holder.token).collect();
    assert_eq!(observed, tokens);
    assert_eq!(holders[1].note, "note of b");
    assert!(holders[1].left_ms <= 200);
    release(&leases, "pool", "b").await.unwrap();
    let token = acquire(&leases, three, "d", SOON).await.unwrap();
    assert!(token > tokens[2]);
    host.clock.sleep(TTL + SOON).await;
    for owner in ["e", "f", "g"] {
        assert!(
            acquire(&leases, three, owner, Duration::ZERO)
                .await
                .is_some()
        );
    }
}

pub(super) async fn names_of_which_one_begins_another_are_apart(leases: Leases, _: Host) {
    let long = "n".repeat(255);
    for name in ["a", "a/", "a/0000", "1/a", "ab", "%", "..", "日本", &long] {
        assert!(take(&leases, name, "o").await.is_some(), "{name}");
        assert_eq!(take(&leases, name, "p").await, None, "{name}");
        let holders = leases.observe(name, &[], Duration::ZERO).await.unwrap();
        assert_eq!(holders.len(), 1, "{name}");
    }
}

pub(super) async fn an_observer_is_told_when_the_holders_change(leases: Leases, host: Host) {
    let long = TTL * 50;
    let changing = async {
        host.clock.sleep(SOON).await;
        take(&leases, "other", "a").await.unwrap();
        take(&leases, "lock", "a").await.unwrap()
    };
    let (holders, token) = join(leases.observe("lock", &[], long), changing).await;
    let holders = holders.unwrap();
    assert_eq!((holders.len(), holders[0].token), (1, token));
    assert_eq!(holders[0].note, "note of a");
    // Nothing new: it waits, and says the same. The lease is held meanwhile.
    let same = leases.observe("lock", &[token], SOON).await.unwrap();
    assert_eq!(same.len(), 1);
    // The end of a lease is a change as well.
    let gone = leases.observe("lock", &[token], long).await.unwrap();
    assert!(gone.is_empty());
    let releasing = async {
        take(&leases, "lock", "b").await.unwrap();
        release(&leases, "lock", "b").await.unwrap();
        take(&leases, "lock", "c").await.unwrap()
    };
    let token = releasing.await;
    let now = leases.observe("lock", &[], long).await.unwrap();
    assert_eq!(now[0].token, token);
}
