//! Applications: start and stop in order, siblings, what cannot start.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::app::Running;
use nitro::codec::Protobuf;
use nitro::host::memory::Machine;
use nitro::registry::Health;
use nitro::{Address, App, Error, Fabric, Kind, host};

use super::service::{DOUBLE, HANG, Seen, number, router};

fn fabric() -> Fabric {
    Fabric::new(&host::tokio::host())
}

fn app(fabric: &Fabric, name: &str) -> App {
    App::new(fabric, name).router(router(&Seen::default()))
}

async fn answers(running: &Running, service: &str) {
    let client = running.client(service, Protobuf);
    let answer = client.call(&DOUBLE, number(4)).await.unwrap();
    assert_eq!(answer, number(8));
}

#[tokio::test]
async fn an_application_without_settings_calls_itself_and_its_siblings() {
    let fabric = fabric();
    let one = app(&fabric, "one").start().await.unwrap();
    let other = app(&fabric, "other").start().await.unwrap();
    answers(&one, "one").await;
    answers(&one, "other").await;
    answers(&other, "one").await;
    assert!(matches!(one.health(), Health::Good));
    let direct = nitro::Client::new(&host::tokio::host(), one.service(), Protobuf);
    assert_eq!(direct.call(&DOUBLE, number(1)).await.unwrap(), number(2));
}

#[tokio::test]
async fn applications_on_a_network_are_found_by_their_addresses() {
    let machine = Machine::new();
    let (near, far) = (machine.host("near"), machine.host("far"));
    let near = Fabric::new(&near);
    let far = Fabric::new(&far).with_registry(near.registry().clone());
    let serving = app(&far, "math")
        .listen(Address::tcp("far", 0))
        .start()
        .await
        .unwrap();
    let client = near.client("math", Protobuf);
    assert_eq!(client.call(&DOUBLE, number(3)).await.unwrap(), number(6));
    assert_eq!(serving.serving().counts().accepted, 1);
}

#[tokio::test]
async fn hooks_run_in_order_and_all_their_errors_are_told() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let hook = |name: &'static str, outcome: Result<(), Error>| {
        let order = Arc::clone(&order);
        move || async move {
            order.lock().unwrap().push(name);
            outcome
        }
    };
    let fabric = fabric();
    let running = app(&fabric, "math")
        .before_start(hook("before start", Ok(())))
        .after_start(hook("after start", Ok(())))
        .before_stop(hook("before stop 1", Err(Error::aborted("one"))))
        .before_stop(hook("before stop 2", Ok(())))
        .after_stop(hook("after stop", Err(Error::internal("two"))))
        .start()
        .await
        .unwrap();
    answers(&running, "math").await;
    let error = running.stop().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Aborted, "one"));
    assert_eq!(error.detail("also"), Some("internal: two"));
    let expected = [
        "before start",
        "after start",
        "before stop 1",
        "before stop 2",
        "after stop",
    ];
    assert_eq!(*order.lock().unwrap(), expected);
    assert!(
        fabric
            .registry()
            .list(Some("math"))
            .await
            .unwrap()
            .nodes
            .is_empty()
    );
}

#[tokio::test]
async fn a_hook_that_fails_keeps_the_application_from_starting() {
    let fabric = fabric();
    let refused = || async { Err(Error::failed_precondition("no database")) };
    let error = app(&fabric, "math")
        .before_start(refused)
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.message(), "no database");
    let error = app(&fabric, "math")
        .after_start(refused)
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.message(), "no database");
    assert!(
        fabric
            .registry()
            .list(Some("math"))
            .await
            .unwrap()
            .nodes
            .is_empty()
    );
}

#[tokio::test]
async fn an_address_that_nobody_can_reach_is_refused_with_what_to_do() {
    let machine = Machine::new();
    let fabric = Fabric::new(&machine.host("node"));
    let error = app(&fabric, "math")
        .listen(Address::tcp("0.0.0.0", 0))
        .start()
        .await;
    // The memory host binds its own address; the real machine binds what it was told.
    error.unwrap().stop().await.unwrap();
    let fabric = self::fabric();
    let error = app(&fabric, "math")
        .listen(Address::tcp("0.0.0.0", 0))
        .start()
        .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    assert!(error.message().contains("0.0.0.0"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_calls_finish_for_its_grace_and_counts_what_it_cut() {
    let machine = Machine::new();
    let fabric = Fabric::new(&machine.host("node"));
    let grace = Duration::from_secs(2);
    let running = app(&fabric, "math").grace(grace).start().await.unwrap();
    let client = fabric.client("math", Protobuf);
    let calling = async move { drop(client.call(&HANG, number(1)).await) };
    let tasks = &fabric.host().tasks;
    let hanging = tasks
        .spawn("a call that hangs", Box::pin(calling))
        .abort_on_drop();
    fabric.host().clock.sleep(Duration::from_millis(10)).await;
    let began = fabric.host().clock.now();
    let error = running.stop().await.unwrap_err();
    assert_eq!(error.kind(), Kind::DeadlineExceeded, "{error}");
    assert!(fabric.host().clock.now().since(began) >= grace);
    drop(hanging);
}
