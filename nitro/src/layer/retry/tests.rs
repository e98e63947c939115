//! When a call is tried again, when not, and how long after.

use proptest::prelude::*;
use tower::ServiceExt;

use super::*;
use crate::error::Kind;
use crate::host::entropy::Sequence;
use crate::layer::tests::{Act, Call, Scripted, clock};

fn layer(policy: RetryPolicy) -> RetryLayer {
    let entropy = Arc::new(Sequence::from_seed(1));
    RetryLayer::new(clock(), entropy, policy, Budget::new(clock().now()))
}

fn unavailable(node: &str) -> Error {
    Error::unavailable("draining").at_node(&node.into())
}

/// Calls through a service that acts by a script; the answer, the calls it saw, and how long it
/// took in milliseconds.
async fn run(
    call: Call,
    errors: impl IntoIterator<Item = Error>,
) -> (Result<u32>, Vec<Call>, u128) {
    let acts = errors.into_iter().map(|error| Act::Answer(Err(error)));
    let service = Scripted::new(acts);
    let clock = clock();
    let started = clock.now();
    let retrying = layer(RetryPolicy::default()).layer(service.clone());
    let answer = retrying.oneshot(call).await;
    let took = clock.now().since(started).as_millis();
    (answer, service.seen(), took)
}

#[tokio::test(start_paused = true)]
async fn every_new_try_avoids_all_nodes_that_failed() {
    let errors = [unavailable("a"), unavailable("b")];
    let (answer, seen, took) = run(Call::default(), errors).await;
    assert_eq!(answer.unwrap(), 0);
    let avoided: Vec<String> = seen.iter().map(|call| call.avoided.concat()).collect();
    assert_eq!(avoided, ["", "a", "ab"]);
    // 25 and 50 ms, each 20 % more or less, each timer up to a millisecond late.
    assert!((60..=92).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_twice_is_avoided_once() {
    let (_, seen, _) = run(Call::default(), [unavailable("a"), unavailable("a")]).await;
    assert_eq!(seen[2].avoided.concat(), "a");
}

#[tokio::test(start_paused = true)]
async fn after_the_last_attempt_its_error_is_answered() {
    let errors = ["a", "b", "c", "d"].map(unavailable);
    let (answer, seen, _) = run(Call::default(), errors).await;
    assert_eq!(answer.unwrap_err().node().unwrap().as_ref(), "c");
    assert_eq!(seen.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_done_is_not_done_twice() {
    let once_only = || Call {
        once_only: true,
        ..Call::default()
    };
    let (answer, seen, _) = run(once_only(), [unavailable("a")]).await;
    assert_eq!(answer.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(seen.len(), 1);

    let (answer, seen, took) = run(once_only(), [unavailable("a").unsent()]).await;
    assert_eq!(answer.unwrap(), 0, "certain not to have been done");
    assert_eq!((seen.len(), took), (2, 0), "and it goes out at once");
}

#[tokio::test(start_paused = true)]
async fn only_the_first_retry_goes_out_at_once() {
    let errors = ["a", "b"].map(|node| unavailable(node).unsent());
    let (_, seen, took) = run(Call::default(), errors).await;
    assert_eq!(seen.len(), 3);
    assert!((40..=62).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn an_error_that_another_try_cannot_mend_is_answered_at_once() {
    let (answer, seen, _) = run(Call::default(), [Error::not_found("no such user")]).await;
    assert_eq!(answer.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(seen.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_repeated_is_tried_once() {
    let stream = Call {
        stream: true,
        ..Call::default()
    };
    let (answer, seen, _) = run(stream, [unavailable("a").unsent()]).await;
    assert!(answer.is_err());
    assert_eq!(seen.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_retry_waits_past_the_deadline() {
    let by = |millis| Call {
        deadline: Some(clock().now() + Duration::from_millis(millis)),
        ..Call::default()
    };
    let (answer, seen, took) = run(by(10), [unavailable("a")]).await;
    assert_eq!(answer.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!((seen.len(), took), (1, 0));
    let (answer, ..) = run(by(40), [unavailable("a")]).await;
    assert!(answer.is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_the_budget_is_spent_errors_are_answered_at_once() {
    let retrying = layer(RetryPolicy::default());
    let always = tower::service_fn(|_: Call| async { Err::<u32, _>(unavailable("a").unsent()) });
    let calls = Scripted::default();
    let counted = calls.clone();
    let service = retrying.layer(always.map_request(move |call: Call| {
        let _answer = counted.clone().call(call.clone());
        call
    }));
    for _ in 0..500 {
        service.clone().oneshot(Call::default()).await.unwrap_err();
    }
    // 500 calls, their fifth, and ten for each second that the back-offs took.
    let attempts = calls.seen().len();
    assert!((600..=630).contains(&attempts), "{attempts}");
}

proptest! {
    #[test]
    fn every_wait_is_within_its_jitter(seed in any::<u64>(), retry in 1_u32..200) {
        let policy = RetryPolicy::default();
        let entropy: Arc<dyn Entropy> = Arc::new(Sequence::from_seed(seed));
        let wait = policy.backoff(retry, &*entropy).as_secs_f64();
        let expected = (0.025 * 2_f64.powi(i32::try_from(retry).unwrap() - 1)).min(1.0);
        prop_assert!((0.8 * expected - 1e-6..=1.2 * expected + 1e-6).contains(&wait), "{wait}");
    }
}

#[test]
fn jitter_reaches_both_ends() {
    let policy = RetryPolicy::default();
    let entropy: Arc<dyn Entropy> = Arc::new(Sequence::from_seed(1));
    let waits: Vec<Duration> = (0..1_000).map(|_| policy.backoff(1, &*entropy)).collect();
    assert!(*waits.iter().min().unwrap() < Duration::from_micros(20_200));
    assert!(*waits.iter().max().unwrap() > Duration::from_micros(29_800));
}
