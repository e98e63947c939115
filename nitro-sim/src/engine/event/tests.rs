//! The event engine as a role sees it: time, determinism, escapes, faults.

mod ambient;
mod escapes;
mod faults;
mod leaks;
mod orders;
mod words;

use std::time::Duration;

use futures_util::future::BoxFuture;
use nitro::time::Instant;
use serde_json::Value;

use super::Event;
use crate::builtin;
use crate::engine::{Ended, Engine, Outcome};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::system::{Node, System, Systems};
use crate::trace::{EventKind, LogLevel, Trace};

/// A scenario of one server and one client, with what is added at its end.
fn duo(duration_s: u32, added: &str) -> String {
    format!(
        "name = \"duo\"\nsystem = \"test\"\nduration_s = {duration_s}\n\
         [nodes]\nserver = 1\nclient = 1\n[network]\nlatency_ms = 2\n{added}"
    )
}

fn plan(text: &str, seed: u64, system: &System) -> Plan {
    let systems = Systems::new([system.clone()]);
    let scenario = Scenario::parse("test.toml", text, &systems.catalogue());
    Plan::new(&scenario.unwrap_or_else(|error| panic!("{error}")), seed).unwrap()
}

fn outcome(text: &str, system: &System) -> Outcome {
    Event::default().run(&plan(text, 1, system), system)
}

/// The trace of a run that must finish.
fn trace(text: &str, system: &System) -> Trace {
    let outcome = outcome(text, system);
    assert_eq!(outcome.ended, Ended::Finished);
    outcome.trace
}

/// What was noted under a name, with the millisecond it was noted at.
fn noted(trace: &Trace, name: &str) -> Vec<(u64, Value)> {
    let notes = trace.notes(name);
    notes
        .map(|(event, value)| (event.at_us / 1000, value.clone()))
        .collect()
}

/// A system whose server does this, and whose client nothing.
fn lone(
    role: impl Fn(Node) -> BoxFuture<'static, nitro::Result<()>> + Send + Sync + 'static,
) -> System {
    System::new("test")
        .role("server", role)
        .role("client", |_| std::future::pending())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn time_is_virtual_and_timers_fire_to_the_millisecond() {
    let system = lone(|node| {
        Box::pin(async move {
            let clock = &node.host().clock;
            for gap in [1, 7, 250, 3_000, 3_600_000] {
                let before = clock.now();
                clock.sleep(ms(gap)).await;
                node.note("late", (clock.now().since(before).as_millis() as u64) - gap);
            }
            node.note("wall", clock.wall().as_unix_seconds());
            std::future::pending().await
        })
    });
    let trace = trace(&duo(3700, ""), &system);
    let late = noted(&trace, "late");
    assert_eq!(late.len(), 5);
    assert!(late.iter().all(|(_, late)| *late == 0), "{late:?}");
    assert_eq!(noted(&trace, "wall")[0].1, 1_767_225_600 + 3603);
}

#[test]
fn idle_time_is_free_and_a_day_passes_in_a_moment() {
    let system = lone(|_| Box::pin(std::future::pending()));
    let outcome = outcome(&duo(86_400, ""), &system);
    assert_eq!(outcome.ended, Ended::Finished);
    assert!(outcome.wall < Duration::from_secs(5), "{:?}", outcome.wall);
}

#[test]
fn logs_panics_and_errors_stand_in_the_trace_with_their_node_and_time() {
    let system = System::new("test")
        .role("server", |node: Node| async move {
            node.host().clock.sleep(ms(5)).await;
            tracing::warn!(reason = "test", "server speaks");
            panic!("server breaks");
        })
        .role("client", |node: Node| async move {
            node.host().clock.sleep(ms(9)).await;
            tracing::info!("client speaks");
            Err(nitro::error::Error::unavailable("client fails"))
        });
    let trace = trace(&duo(1, ""), &system);
    let at = |kind: &EventKind| {
        let event = trace.events().iter().find(|event| event.kind == *kind);
        let event = event.unwrap_or_else(|| panic!("{kind:?} in {:?}", trace.events()));
        (event.at_us / 1000, event.node.clone().unwrap())
    };
    let log = |level, message: &str| EventKind::Log {
        level,
        target: module_path!().to_owned(),
        message: message.to_owned(),
    };
    let warning = log(LogLevel::Warn, "server speaks reason=test");
    assert_eq!(at(&warning), (5, "server-1".into()));
    let line = log(LogLevel::Info, "client speaks");
    assert_eq!(at(&line), (9, "client-1".into()));
    let stopped = |error: &str| EventKind::NodeStopped {
        error: Some(error.to_owned()),
    };
    at(&stopped("panicked: server breaks"));
    at(&stopped("unavailable: client fails"));
}

#[test]
fn every_scenario_gives_one_trace_again() {
    let systems = Systems::new(builtin::systems());
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let mut files = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario = Scenario::parse("s.toml", &text, &systems.catalogue()).unwrap();
        let plan = Plan::new(&scenario, 5).unwrap();
        let system = systems.get(&plan.system).unwrap();
        let first = Event::default().run(&plan, system);
        assert_eq!(first.ended, Ended::Finished, "{}", path.display());
        // Two runs, because this is without optimization; `verify` makes ten.
        let other = Event::default().run(&plan, system);
        let difference = first.trace.first_difference(&other.trace);
        assert_eq!(difference, None, "{}", path.display());
    }
    assert!(files > 0);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "that third-party code may use it is what is tested"
)]
fn tokio_time_and_towers_own_layers_run_as_they_are() {
    use tower::{Service, ServiceBuilder, ServiceExt};

    let system = lone(|node| {
        Box::pin(async move {
            let slow = tower::service_fn(|(): ()| async {
                tokio::time::sleep(ms(500)).await;
                Ok::<_, nitro::error::Error>(())
            });
            let service = ServiceBuilder::new().timeout(ms(100)).service(slow);
            let error = service.oneshot(()).await.unwrap_err();
            node.note("timeout", error.to_string());
            let quick = tower::service_fn(|(): ()| async { Ok::<_, nitro::error::Error>(()) });
            let mut limited = ServiceBuilder::new()
                .rate_limit(2, Duration::from_secs(1))
                .service(quick);
            for _ in 0..5 {
                limited.ready().await.unwrap().call(()).await.unwrap();
                node.note("passed", 1);
            }
            std::future::pending().await
        })
    });
    let trace = trace(&duo(10, ""), &system);
    assert_eq!(noted(&trace, "timeout")[0].0, 100);
    let passed: Vec<u64> = noted(&trace, "passed").iter().map(|(at, _)| *at).collect();
    assert_eq!(passed, [100, 100, 1100, 1100, 2100]);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "that third-party code may use it is what is tested"
)]
fn tasks_of_the_host_and_of_tokio_wake_one_another() {
    let system = lone(|node| {
        Box::pin(async move {
            let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
            let (answer, mut answered) = tokio::sync::mpsc::unbounded_channel();
            let host = node.host().clone();
            drop(tokio::spawn(async move {
                while let Some(gap) = asked.recv().await {
                    tokio::time::sleep(ms(gap)).await;
                    let answer = answer.clone();
                    let answering = async move {
                        tokio::task::yield_now().await;
                        answer.send(gap).unwrap();
                    };
                    drop(host.tasks.spawn("answer", Box::pin(answering)));
                }
            }));
            for gap in [30, 0, 500] {
                ask.send(gap).unwrap();
                if gap == 500 {
                    // Its timer comes before the only one that tokio knows of.
                    node.host().clock.sleep(ms(100)).await;
                    tokio::time::sleep(ms(50)).await;
                    node.note("early", 50);
                }
                let gap = answered.recv().await;
                node.note("answered", gap);
            }
            std::future::pending().await
        })
    });
    let trace = trace(&duo(1, ""), &system);
    let times = |name: &str| noted(&trace, name).into_iter().map(|(at, _)| at);
    assert_eq!(times("answered").collect::<Vec<_>>(), [30, 30, 530]);
    assert_eq!(times("early").collect::<Vec<_>>(), [180]);
}

#[test]
fn as_many_nodes_as_a_scenario_may_have_run_in_one_process() {
    let system = System::new("test").role("server", |node: Node| async move {
        loop {
            node.host().clock.sleep(ms(1000)).await;
        }
    });
    let text = "name = \"many\"\nsystem = \"test\"\nduration_s = 3\n[nodes]\nserver = 100\n";
    let trace = trace(text, &system);
    let started = |kind: &EventKind| matches!(kind, EventKind::NodeStarted { .. });
    let started = trace.events().iter().filter(|event| started(&event.kind));
    assert_eq!(started.count(), 100);
}

#[test]
fn an_instant_of_the_run_is_the_same_on_all_nodes_clocks() {
    let role = |node: Node| async move {
        node.host()
            .clock
            .sleep_until(Instant::ORIGIN + ms(1234))
            .await;
        node.note("now", node.host().clock.now().as_nanos());
        std::future::pending().await
    };
    let system = System::new("test")
        .role("server", role)
        .role("client", role);
    let now = noted(&trace(&duo(2, ""), &system), "now");
    assert_eq!(now.len(), 2);
    assert_eq!(now[0], now[1]);
}
