//! What a guard promises, whoever leases.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use nitro::Kind;
use nitro::host::Host;
use nitro::sync::{Leases, Terms};

use super::cases::{SOON, TTL};

fn terms() -> Terms {
    Terms {
        ttl: TTL,
        wait: TTL * 100,
        ..Terms::default()
    }
}

pub(super) async fn a_guard_keeps_its_lease_for_longer_than_its_time(leases: Leases, host: Host) {
    let guard = leases.acquire(&host, "lock", terms()).await.unwrap();
    for _ in 0..4 {
        host.clock.sleep(TTL).await;
        assert!(guard.is_held());
        let other = leases.try_acquire(&host, "lock", terms()).await.unwrap();
        assert!(other.is_none());
    }
    let token = guard.token();
    assert_eq!(guard.name(), "lock");
    guard.release().await.unwrap();
    let next = leases.try_acquire(&host, "lock", terms()).await.unwrap();
    assert!(next.unwrap().token() > token);
}

pub(super) async fn a_guard_that_is_dropped_lets_its_lease_end(leases: Leases, host: Host) {
    let guard = leases.acquire(&host, "lock", terms()).await.unwrap();
    drop(guard);
    let guard = leases.acquire(&host, "lock", terms()).await.unwrap();
    assert!(guard.is_held());
}

pub(super) async fn a_lease_that_others_hold_is_waited_for_no_longer_than_asked(
    leases: Leases,
    host: Host,
) {
    let guard = leases.acquire(&host, "lock", terms()).await.unwrap();
    let started = host.clock.now();
    let short = Terms {
        wait: TTL * 2,
        ..terms()
    };
    let error = leases.acquire(&host, "lock", short).await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded);
    let waited = host.clock.now().since(started);
    assert!((TTL * 2..TTL * 20).contains(&waited), "{waited:?}");
    guard.release().await.unwrap();
}

pub(super) async fn leaders_follow_each_other_and_observers_see_it(leases: Leases, host: Host) {
    let long = TTL * 50;
    let first = leases.campaign(&host, "chief", "anna", TTL).await.unwrap();
    let seen = leases.observe("chief", &[], long).await.unwrap();
    assert_eq!(seen[0].note, "anna");
    let standing = leases.campaign(&host, "chief", "bert", TTL);
    let watching = async {
        host.clock.sleep(TTL * 2).await;
        assert!(first.is_held());
        let token = first.token();
        first.release().await.unwrap();
        // Between the two there may be nobody.
        let mut holders = leases.observe("chief", &[token], long).await.unwrap();
        if holders.is_empty() {
            holders = leases.observe("chief", &[], long).await.unwrap();
        }
        (token, holders)
    };
    let (second, (token, holders)) = join(standing, watching).await;
    let second = second.unwrap();
    assert!(second.token() > token);
    assert_eq!(holders[0].note, "bert");
    assert_eq!(holders[0].token, second.token());
}

pub(super) async fn no_two_hold_a_lock_at_once_and_tokens_rise_among_many(
    leases: Leases,
    host: Host,
) {
    let (inside, last) = (AtomicBool::new(false), AtomicU64::new(0));
    let work = async || {
        for _ in 0..6 {
            let long = Terms {
                ttl: Duration::from_secs(5),
                wait: Duration::from_secs(60),
                ..Terms::default()
            };
            let guard = leases.acquire(&host, "lock", long).await.unwrap();
            assert!(!inside.swap(true, Ordering::SeqCst), "two are inside");
            assert!(guard.token() > last.swap(guard.token(), Ordering::SeqCst));
            host.clock.sleep(Duration::from_millis(1)).await;
            inside.store(false, Ordering::SeqCst);
            guard.release().await.unwrap();
        }
    };
    join_all((0..4).map(|_| work())).await;
}

pub(super) async fn a_guard_whose_lease_went_to_another_is_told(leases: Leases, host: Host) {
    use nitro::sync::{Reply, Request};
    // The leases behind a link that can be cut.
    let cut = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (behind, is_cut) = (leases.clone(), cut.clone());
    let through = tower::service_fn(move |call: nitro::port::Call<Request>| {
        let (behind, is_cut) = (behind.clone(), is_cut.clone());
        async move {
            if is_cut.load(std::sync::atomic::Ordering::SeqCst) {
                return std::future::pending::<nitro::Result<Reply>>().await;
            }
            behind.ask(call.request).await
        }
    });
    let cut_off = Leases::new(through);
    let guard = cut_off.acquire(&host, "lock", terms()).await.unwrap();
    host.clock.sleep(TTL).await;
    let at = host.clock.now();
    cut.store(true, std::sync::atomic::Ordering::SeqCst);
    let waiting = leases.acquire(&host, "lock", terms());
    let telling = async {
        guard.lost().await;
        host.clock.now()
    };
    let (other, told) = join(waiting, telling).await;
    let granted = host.clock.now();
    let other = other.unwrap();
    assert!(other.token() > guard.token());
    assert!(!guard.is_held());
    // The holder knew it in time, by its own clock, and before the other was granted it.
    assert!(told.since(at) <= TTL + SOON, "{:?}", told.since(at));
    assert!(told <= granted);
    cut.store(false, std::sync::atomic::Ordering::SeqCst);
    let late = guard.release().await.unwrap_err();
    assert_eq!(late.kind(), Kind::FailedPrecondition);
    assert!(other.is_held());
}
