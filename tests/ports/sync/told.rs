//! What a guard knows of its lease when answers are late, lost, or say that it is over.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::host::Host;
use nitro::port::Call;
use nitro::sync::{Guard, Leases, Reply, Request, Terms};
use nitro::{Error, Kind};

use super::{On, Setting};
use crate::setting::run;

const TTL: Duration = Duration::from_secs(10);

/// What happens to renewals.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Renewals {
    Made,
    /// Made, and answered with an error.
    AnswersLost,
    /// Never answered.
    Silent,
    /// Not made.
    Away,
}

/// Leases that are far away: what is asked is done at once, and answered late.
#[derive(Clone)]
struct Far {
    /// As good as another when it has forgotten all.
    leases: Arc<Mutex<Leases>>,
    host: Host,
    answers_after_ms: Arc<AtomicU64>,
    loses_grants: Arc<AtomicBool>,
    renewals: Arc<Mutex<Renewals>>,
}

impl Far {
    fn new(host: &Host) -> Self {
        Self {
            leases: Arc::new(Mutex::new(Leases::memory(host))),
            host: host.clone(),
            answers_after_ms: Arc::default(),
            loses_grants: Arc::default(),
            renewals: Arc::new(Mutex::new(Renewals::Made)),
        }
    }

    fn leases(&self) -> Leases {
        let far = self.clone();
        Leases::new(tower::service_fn(move |call| far.clone().answer(call)))
    }

    async fn answer(self, call: Call<Request>) -> nitro::Result<Reply> {
        let renewals = *self.renewals.lock().unwrap();
        let is_renewal = matches!(call.request, Request::Renew { .. });
        if is_renewal && renewals == Renewals::Silent {
            return std::future::pending().await;
        }
        if is_renewal && renewals == Renewals::Away {
            return Err(Error::unavailable("away"));
        }
        let leases = self.leases.lock().unwrap().clone();
        let answered = leases.ask(call.request).await;
        let late = self.answers_after_ms.load(Ordering::SeqCst);
        self.host.clock.sleep(Duration::from_millis(late)).await;
        let loses_grants = self.loses_grants.load(Ordering::SeqCst);
        let is_lost = match answered {
            Ok(Reply::Granted(_)) => loses_grants,
            _ => is_renewal && renewals == Renewals::AnswersLost,
        };
        match is_lost {
            true => Err(Error::unavailable("the answer is lost")),
            false => answered,
        }
    }

    async fn acquire(&self) -> Guard {
        let terms = Terms {
            ttl: TTL,
            ..Terms::default()
        };
        self.leases()
            .acquire(&self.host, "lock", terms)
            .await
            .unwrap()
    }

    /// When another could have it.
    async fn is_free(&self) -> bool {
        let leases = self.leases.lock().unwrap().clone();
        let holders = leases.observe("lock", &[], Duration::ZERO).await;
        holders.unwrap().is_empty()
    }
}

/// Counted from the answer instead, the holder would believe in it for as long after its end as
/// the answer was on its way.
#[test]
fn a_lease_is_counted_from_when_it_was_asked_for_and_less_than_whole() {
    for renewals in [Renewals::Silent, Renewals::Away] {
        for late_ms in [0, 1_000, 4_000] {
            run(On::Memory, async |setting: Setting| {
                let far = Far::new(&setting.host);
                let clock = &setting.host.clock;
                *far.renewals.lock().unwrap() = renewals;
                far.answers_after_ms.store(late_ms, Ordering::SeqCst);
                let asked_at = clock.now();
                let guard = far.acquire().await;
                assert!(guard.is_held());
                guard.lost().await;
                let held = clock.now().since(asked_at);
                // A fiftieth is left for clocks that run unequally fast.
                let sure = TTL - TTL / 50;
                assert!(held <= sure && held > sure - TTL / 100, "{held:?}");
                assert!(!guard.is_held());
                assert!(!far.is_free().await, "it was told too late");
            });
        }
    }
}

#[test]
fn a_renewal_is_counted_from_when_it_was_asked_for() {
    run(On::Memory, async |setting: Setting| {
        let far = Far::new(&setting.host);
        let clock = &setting.host.clock;
        let guard = far.acquire().await;
        // The first renewal, after a third of the time, is answered late, and is the last.
        far.answers_after_ms.store(2_000, Ordering::SeqCst);
        let acquired_at = clock.now();
        clock.sleep(TTL / 3 + Duration::from_millis(2_100)).await;
        *far.renewals.lock().unwrap() = Renewals::Away;
        guard.lost().await;
        let held = clock.now().since(acquired_at);
        let sure = TTL / 3 + TTL - TTL / 50;
        assert!(held <= sure + Duration::from_millis(2), "{held:?}");
        assert!(held > TTL, "{held:?}");
        assert!(!far.is_free().await, "it was told too late");
    });
}

#[test]
fn a_renewal_whose_answer_is_lost_is_not_counted_on() {
    run(On::Memory, async |setting: Setting| {
        let far = Far::new(&setting.host);
        let clock = &setting.host.clock;
        *far.renewals.lock().unwrap() = Renewals::AnswersLost;
        let asked_at = clock.now();
        let guard = far.acquire().await;
        guard.lost().await;
        assert!(clock.now().since(asked_at) < TTL);
    });
}

#[test]
fn a_lease_that_is_said_to_be_over_is_lost_at_the_next_renewal_and_not_at_its_end() {
    run(On::Memory, async |setting: Setting| {
        let far = Far::new(&setting.host);
        let clock = &setting.host.clock;
        let guard = far.acquire().await;
        let acquired_at = clock.now();
        *far.leases.lock().unwrap() = Leases::memory(&setting.host);
        guard.lost().await;
        let held = clock.now().since(acquired_at);
        assert!(held <= TTL / 3 + Duration::from_millis(2), "{held:?}");
        assert!(!guard.is_held());
    });
}

#[test]
fn a_lease_that_was_granted_without_an_answer_is_given_back_at_once() {
    run(On::Memory, async |setting: Setting| {
        let far = Far::new(&setting.host);
        far.loses_grants.store(true, Ordering::SeqCst);
        let terms = Terms {
            ttl: TTL,
            ..Terms::default()
        };
        let asked_at = setting.host.clock.now();
        let acquired = far.leases().acquire(&setting.host, "lock", terms).await;
        assert_eq!(acquired.unwrap_err().kind(), Kind::Unavailable);
        assert!(far.is_free().await, "nobody has it, and nobody can");
        assert!(setting.host.clock.now().since(asked_at) < TTL / 10);
        // The next has it, with a higher token.
        far.loses_grants.store(false, Ordering::SeqCst);
        assert!(far.acquire().await.is_held());
    });
}
