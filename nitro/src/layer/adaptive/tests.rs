//! What the bound does under more load than can be borne, and what leaves it alone.

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::*;
use crate::layer::DeadlineLayer;
use crate::layer::tests::{Act, Call, Scripted, clock, timers_over};

const METHOD: &str = "greeter/hello";
const MS: Duration = Duration::from_millis(1);
const MOST: usize = 16 * 1024;

/// Calls at a steady rate, each at its own time whatever became of those before.
#[derive(Clone, Copy)]
struct Load {
    every: Duration,
    lasts: Duration,
    patience: Duration,
}

/// What came of calls, each with when it began.
type Answers = Vec<(Duration, Result<u32>)>;

/// A server of four workers who take 20 ms a call: 200 calls a second.
async fn serve(layer: Option<&AdaptiveLayer>, load: Load) -> Answers {
    let (clock, workers) = (clock(), Arc::new(Semaphore::new(4)));
    let working = Arc::clone(&clock);
    let work = tower::service_fn(move |_: Call| {
        let (workers, clock) = (Arc::clone(&workers), Arc::clone(&working));
        async move {
            let _worker = workers.acquire().await;
            clock.sleep(20 * MS).await;
            Ok::<_, Error>(1)
        }
    });
    let limited = DeadlineLayer::new(timers_over(&clock), Duration::from_secs(60)).layer(work);
    let service = tower::ServiceBuilder::new().option_layer(layer.cloned());
    let service = service.service(limited);
    let started = clock.now();
    let calls = u32::try_from(load.lasts.as_nanos() / load.every.as_nanos()).unwrap();
    let answers = (0..calls).map(|nth| {
        let (service, clock) = (service.clone(), Arc::clone(&clock));
        async move {
            let at = started + load.every * nth;
            clock.sleep_until(at).await;
            let deadline = Some(clock.now() + load.patience);
            let call = Call {
                deadline,
                ..Call::default()
            };
            (at.since(started), service.oneshot(call).await)
        }
    });
    join_all(answers).await
}

fn ok_between(answers: &Answers, from: Duration, until: Duration) -> usize {
    let within = answers.iter().filter(|(at, _)| (from..until).contains(at));
    within.filter(|(_, answer)| answer.is_ok()).count()
}

fn thrice() -> Load {
    Load {
        every: Duration::from_micros(1_667),
        lasts: 40_000 * MS,
        patience: 500 * MS,
    }
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_load_nine_tenths_of_what_can_be_done_is() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    let answers = serve(Some(&layer), thrice()).await;
    let all = ok_between(&answers, Duration::ZERO, 40_000 * MS);
    assert!(all >= 200 * 40 * 9 / 10, "{all}");
    let settled = ok_between(&answers, 5_000 * MS, 30_000 * MS);
    assert!(settled >= 200 * 25 * 98 / 100, "{settled}");
    // Half of half a second at 200 a second is a queue of 50.
    let limit = layer.limit(METHOD);
    assert!((20..=100).contains(&limit), "{limit}");
    assert_eq!(layer.limit("another/method"), MOST);
}

#[tokio::test(start_paused = true)]
async fn once_it_has_settled_hardly_any_is_let_in_in_vain() {
    let answers = serve(Some(&AdaptiveLayer::new(clock(), MOST)), thrice()).await;
    let is_late = |answer: &Result<u32>| {
        let error = answer.as_ref().err();
        error.is_some_and(|error| error.kind() == Kind::DeadlineExceeded)
    };
    let settled = answers.iter().filter(|(at, _)| *at >= 5_000 * MS);
    let late = settled.filter(|(_, answer)| is_late(answer)).count();
    // Of 7,000 that are answered.
    assert!(late < 70, "{late}");
}

#[tokio::test(start_paused = true)]
async fn without_it_hardly_any_is() {
    let answers = serve(None, thrice()).await;
    let settled = ok_between(&answers, 5_000 * MS, 30_000 * MS);
    assert!(settled < 200 * 25 / 2, "{settled}");
}

#[tokio::test(start_paused = true)]
async fn after_the_rush_all_are_let_in() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    let rush = Load {
        lasts: 10_000 * MS,
        ..thrice()
    };
    serve(Some(&layer), rush).await;
    let quiet = Load {
        every: 6 * MS,
        lasts: 10_000 * MS,
        patience: 500 * MS,
    };
    let answers = serve(Some(&layer), quiet).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()));
}

/// Calls all at once that are answered after `took`.
async fn all_at_once(
    layer: &AdaptiveLayer,
    took: Duration,
    patience: Duration,
    calls: u32,
) -> Vec<Result<u32>> {
    let clock = clock();
    let acts = (0..calls).map(|_| Act::AnswerAfter(took, Ok(1)));
    let limited = DeadlineLayer::new(timers_over(&clock), Duration::from_secs(60));
    let service = layer.layer(limited.layer(Scripted::new(acts)));
    let answers = (0..calls).map(|_| {
        let call = Call {
            deadline: Some(clock.now() + patience),
            ..Call::default()
        };
        service.clone().oneshot(call)
    });
    join_all(answers).await
}

#[tokio::test(start_paused = true)]
async fn a_bound_that_has_fallen_grows_while_deadlines_are_kept() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    all_at_once(&layer, 1_000 * MS, 10 * MS, 32).await;
    assert!(layer.limit(METHOD) <= 16);
    // That they come in bursts must not hide that the bound is in use.
    for _ in 0..60 {
        all_at_once(&layer, 10 * MS, 1_000 * MS, 64).await;
    }
    assert!(layer.limit(METHOD) >= 64, "{}", layer.limit(METHOD));
}

#[tokio::test(start_paused = true)]
async fn the_bound_never_exceeds_what_it_began_at() {
    let layer = AdaptiveLayer::new(clock(), 1);
    for _ in 0..20 {
        all_at_once(&layer, 50 * MS, 10 * MS, 1).await;
    }
    assert_eq!(layer.limit(METHOD), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_too_late_say_nothing_of_the_server() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    let answers = all_at_once(&layer, 10 * MS, Duration::ZERO, 64).await;
    assert!(answers.iter().flat_map(Result::as_ref).next().is_none());
    assert_eq!(layer.limit(METHOD), MOST);
}

#[tokio::test(start_paused = true)]
async fn waiting_by_design_turns_nobody_away() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    for _ in 0..20 {
        let answers = all_at_once(&layer, 30_000 * MS, 31_000 * MS, 500).await;
        assert!(answers.iter().all(Result::is_ok));
    }
    assert_eq!(layer.limit(METHOD), MOST);
}

#[tokio::test(start_paused = true)]
async fn a_few_callers_in_a_hurry_do_not_have_the_others_turned_away() {
    let layer = AdaptiveLayer::new(clock(), MOST);
    let hurried = Load {
        every: 70 * MS,
        lasts: 60_000 * MS,
        patience: 10 * MS,
    };
    let patient = Load {
        every: 8 * MS,
        patience: 500 * MS,
        ..hurried
    };
    let both = tokio::join!(serve(Some(&layer), hurried), serve(Some(&layer), patient));
    assert!(both.0.iter().all(|(_, answer)| answer.is_err()));
    assert!(both.1.iter().all(|(_, answer)| answer.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn what_is_turned_away_is_safe_to_repeat_elsewhere() {
    let layer = AdaptiveLayer::new(clock(), 2);
    let answers = all_at_once(&layer, 50 * MS, 1_000 * MS, 3).await;
    let error = answers.into_iter().find_map(Result::err).unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.detail("reason"), Some("overloaded"));
    assert!(error.is_unsent());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_frees_its_place_and_says_nothing() {
    let layer = AdaptiveLayer::new(clock(), 100);
    let mut service = layer.layer(Scripted::default());
    for _ in 0..100 {
        let deadline = Some(clock().now() + 60_000 * MS);
        drop(service.call(Call {
            deadline,
            ..Call::default()
        }));
    }
    assert_eq!(layer.limit(METHOD), 100);
    let bound = layer.0.bound(place(METHOD));
    assert_eq!(bound.in_flight.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_its_deadline_was_late() {
    let layer = AdaptiveLayer::new(clock(), 100);
    let mut service = layer.layer(Scripted::default());
    let deadline = Some(clock().now());
    let calls = (0..16).map(|_| {
        service.call(Call {
            deadline,
            ..Call::default()
        })
    });
    drop(calls.collect::<Vec<_>>());
    // The last one found fifteen in flight.
    assert_eq!(layer.limit(METHOD), 16 / 2);
}
