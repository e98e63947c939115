//! The engine as a role sees it: time, tasks, files, logs, crashes, and the same trace again.

mod datagrams;
mod streams;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::error::Error;
use nitro::host::disk::Open;
use nitro::time::Instant;
use serde_json::Value;

use super::Turmoil;
use crate::builtin::echo;
use crate::check::Verdict;
use crate::engine::{Engine, Outcome, accepts};
use crate::plan::Plan;
use crate::run::run;
use crate::scenario::Scenario;
use crate::system::{Node, Operation, System, Systems};
use crate::trace::{EventKind, LogLevel, OperationOutcome, Trace};

/// A scenario of one server and one client, with what is added at its end.
pub(in crate::engine) fn duo(duration_s: u32, added: &str) -> String {
    format!(
        "name = \"duo\"\nsystem = \"test\"\nduration_s = {duration_s}\n\
         [nodes]\nserver = 1\nclient = 1\n[network]\nlatency_ms = 2\n{added}"
    )
}

pub(in crate::engine) fn plan(text: &str, seed: u64, system: &System) -> Plan {
    let systems = Systems::new([system.clone()]);
    let scenario = Scenario::parse("test.toml", text, &systems.catalogue());
    Plan::new(&scenario.unwrap_or_else(|error| panic!("{error}")), seed).unwrap()
}

pub(super) fn outcome(text: &str, system: &System) -> Outcome {
    Turmoil.run(&plan(text, 1, system), system)
}

pub(in crate::engine) fn ms(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

/// What was noted under a name, with the millisecond it was noted at.
pub(in crate::engine) fn noted(trace: &Trace, name: &str) -> Vec<(u64, Value)> {
    let notes = trace.notes(name);
    notes
        .map(|(event, value)| (event.at_us / 1000, value.clone()))
        .collect()
}

pub(in crate::engine) fn lone(
    role: impl Fn(Node) -> futures_util::future::BoxFuture<'static, nitro::Result<()>>
    + Send
    + Sync
    + 'static,
) -> System {
    System::new("test")
        .role("server", role)
        .role("client", |_| std::future::pending())
}

pub(in crate::engine) const CRASH: &str = "[[fault]]\nkind = \"crash\"\nnode = \"server-1\"\nat_s = 2\n\
                     restart_after_s = 1\n";

/// Two servers that echo, through a partition and a crash.
pub(in crate::engine) fn echoes(duration_s: u32, clients: u32) -> String {
    format!(
        r#"
name = "brief"
system = "echo"
duration_s = {duration_s}
[nodes]
server = 2
client = {clients}
[network]
latency_ms = [1, 5]
loss = 0.01
[[workload]]
role = "client"
operation = "echo"
every_ms = [5, 20]
timeout_ms = 300
keys = 2
[[fault]]
kind = "partition"
groups = [["server-1"], ["client"]]
at_s = [0.5, 1]
for_s = 0.5
[[fault]]
kind = "crash"
nodes = "any server"
at_s = 2
restart_after_s = 0.5
"#
    )
}

/// A plan of that, short, because turmoil without optimization is slow.
fn brief(seed: u64) -> Plan {
    plan(&echoes(4, 1), seed, &echo::system())
}

#[test]
fn one_seed_gives_one_digest_in_ten_runs_and_other_seeds_others() {
    let system = echo::system();
    let digest = |seed| Turmoil.run(&brief(seed), &system).trace.digest();
    let first = digest(7);
    assert!((0..9).all(|_| digest(7) == first));
    let mut others: Vec<String> = (100..120).map(digest).collect();
    others.push(first);
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 21);
}

#[test]
fn two_runs_beside_each_other_in_one_process_do_not_disturb_each_other() {
    let alone = Turmoil.run(&brief(3), &echo::system());
    let digests: Vec<String> = std::thread::scope(|scope| {
        let run = || Turmoil.run(&brief(3), &echo::system());
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.map(|outcome| outcome.trace.digest()).collect()
    });
    assert_eq!(digests, [alone.trace.digest(), alone.trace.digest()]);
}

#[test]
fn time_is_virtual_and_timers_fire_to_the_millisecond() {
    let system = lone(|node| {
        Box::pin(async move {
            let clock = &node.host().clock;
            for gap in [1, 7, 250, 3_000] {
                let before = clock.now();
                clock.sleep(Duration::from_millis(gap)).await;
                node.note("late", (clock.now().since(before).as_millis() as u64) - gap);
            }
            node.note("wall", clock.wall().as_unix_seconds());
            std::future::pending().await
        })
    });
    let trace = outcome(&duo(600, ""), &system).trace;
    let late = noted(&trace, "late");
    assert_eq!(late.len(), 4);
    assert!(late.iter().all(|(_, late)| *late == 0), "{late:?}");
    assert_eq!(noted(&trace, "wall"), [(3258, Value::from(1_767_225_603))]);
}

#[test]
fn a_crash_keeps_the_disk_and_nothing_else() {
    let system = lone(|node| {
        Box::pin(async move {
            let path = std::path::Path::new("count");
            let file = node.host().disk.open(path, Open::OrCreate)?;
            node.note("found", file.length()?);
            node.note("drawn", node.host().entropy.next_u64() >> 12);
            node.note("life", node.incarnation());
            file.write_at(file.length()?, b"x")?;
            file.sync()?;
            node.host().disk.sync_directory("".as_ref())?;
            node.host().clock.sleep_until(ms(2_500)).await;
            node.note("survived", true);
            std::future::pending().await
        })
    });
    let trace = outcome(&duo(5, CRASH), &system).trace;
    let values = |name| noted(&trace, name).into_iter().map(|(_, value)| value);
    assert!(values("found").eq([0, 1].map(Value::from)));
    assert!(values("life").eq([1, 2].map(Value::from)));
    assert_eq!(values("survived").count(), 1);
    assert_eq!(noted(&trace, "survived")[0].0, 3000);
    let drawn: Vec<Value> = values("drawn").collect();
    assert_ne!(drawn[0], drawn[1]);
}

#[test]
fn a_disk_fault_is_in_force_while_it_lasts_and_blocking_work_takes_the_disks_time() {
    let system = lone(|node| {
        Box::pin(async move {
            let host = node.host().clone();
            let file = host.disk.open("f".as_ref(), Open::New)?;
            for second in 0..4 {
                host.clock.sleep_until(ms(second * 1000 + 500)).await;
                node.note("written", file.write_at(0, b"x").is_ok());
                let file = Arc::clone(&file);
                let sync = Box::new(move || drop(file.sync()));
                host.tasks.block("sync", sync).join().await;
                node.note("synced", true);
            }
            Ok(())
        })
    });
    let faults = "[[fault]]\nkind = \"disk_errors\"\nname = \"broken\"\nnode = \"server-1\"\n\
                  writes = 1.0\nat_s = 1\nfor_s = 1\n\
                  [[fault]]\nkind = \"disk_slow\"\nname = \"slow\"\nnode = \"server-1\"\n\
                  factor = 100\nat_s = 2\nfor_s = 1\n";
    let trace = outcome(&duo(5, faults), &system).trace;
    let written = noted(&trace, "written").into_iter().map(|(_, value)| value);
    assert!(written.eq([true, false, true, true].map(Value::from)));
    let took = noted(&trace, "synced")
        .into_iter()
        .map(|(at, _)| at % 1000 - 500);
    let took: Vec<u64> = took.collect();
    assert!(took[2] > 50 && took[3] < 5, "{took:?}");
    let touches: Vec<(&str, u64)> = trace.touches().collect();
    assert_eq!(touches, [("broken", 1), ("slow", 2)]);
}

#[test]
fn a_log_line_is_in_the_trace_with_its_node_and_virtual_time() {
    let system = lone(|node| {
        Box::pin(async move {
            node.host().clock.sleep_until(ms(1_234)).await;
            tracing::warn!(answer = 42, "so long");
            tracing::debug!("not worth a line");
            Ok(())
        })
    });
    let trace = outcome(&duo(2, ""), &system).trace;
    let mut logs = trace.events().iter().filter_map(|event| match &event.kind {
        EventKind::Log { level, message, .. } => Some((event, *level, message.as_str())),
        _ => None,
    });
    let (event, level, message) = logs.next().unwrap();
    assert_eq!(
        (event.at_us, event.node.as_deref()),
        (1_234_000, Some("server-1"))
    );
    assert_eq!((level, message), (LogLevel::Warn, "so long answer=42"));
    assert!(logs.next().is_none());
}

fn verdict(text: &str, system: System) -> Verdict {
    let plan = plan(text, 1, &system);
    run(&plan, &Systems::new([system]), &Turmoil)
        .unwrap()
        .verdict
}

fn reason(verdict: &Verdict) -> String {
    verdict.reasons()[0].to_string()
}

#[test]
fn a_role_that_fails_or_panics_fails_the_run_by_node_and_time() {
    let failing = lone(|node| {
        Box::pin(async move {
            node.host().clock.sleep_until(ms(1_500)).await;
            Err(Error::data_loss("the disk is gone"))
        })
    });
    let failed = verdict(&duo(2, ""), failing);
    let expected = "node stopped: server-1 at 1.500 s: data loss: the disk is gone";
    assert_eq!(reason(&failed), expected);
    let panicking = lone(|_| Box::pin(async { panic!("no more") }));
    let panicked = verdict(&duo(2, ""), panicking);
    assert_eq!(
        reason(&panicked),
        "node stopped: server-1 at 0.000 s: panicked: no more"
    );
}

const ASKING: &str = "[[workload]]\nrole = \"client\"\noperation = \"ask\"\n\
                      every_ms = 500\nuntil_s = 4\ntimeout_ms = 100\n";

/// A client that handles each operation as given.
fn asking<R>(handler: fn(Operation) -> R) -> System
where
    R: Future<Output = nitro::Result<Value>> + Send + 'static,
{
    System::new("test")
        .operation("ask")
        .role("server", |_| std::future::pending())
        .role("client", move |node: Node| async move {
            node.workload(handler).await
        })
}

#[test]
fn an_operation_that_outlasts_its_deadline_is_recorded_as_unfinished() {
    let stubborn = asking(|operation| async move {
        if operation.id == 3 {
            std::future::pending::<()>().await;
        }
        Ok(Value::Null)
    });
    let trace = outcome(&duo(5, ASKING), &stubborn).trace;
    let unfinished = trace
        .outcomes()
        .find(|(_, _, outcome)| **outcome == OperationOutcome::Unfinished);
    // Known at once, not only when the run ends.
    assert_eq!(unfinished.map(|(event, ..)| event.at_us), Some(1_620_000));
    let verdict = verdict(&duo(5, ASKING), stubborn);
    assert_eq!(
        reason(&verdict),
        "answered: operation 3 (ask by client-1 at 1.500 s) had not returned 100 ms after its \
         call, its deadline, and 20 ms more"
    );
}

#[test]
fn a_handler_that_panics_fails_its_operation_and_the_run() {
    let panicking = asking(|operation| async move {
        assert!(operation.id != 2, "not two");
        Ok(Value::from(operation.value))
    });
    let verdict = verdict(&duo(5, ASKING), panicking);
    let expected = "task panicked: client-1 at 1.000 s, task operation: not two";
    assert_eq!(reason(&verdict), expected);
}

#[test]
fn operations_of_a_crashed_node_are_lost_or_skipped_and_the_rest_are_made() {
    let slow = System::new("test")
        .operation("ask")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            let clock = Arc::clone(&node.host().clock);
            node.workload(move |operation| {
                let clock = Arc::clone(&clock);
                async move {
                    clock.sleep(Duration::from_millis(50)).await;
                    Ok(Value::from(operation.id))
                }
            })
            .await
        });
    let crash = CRASH
        .replace("server-1", "client-1")
        .replace("at_s = 2\n", "at_s = 2.02\n");
    let plan = plan(&duo(5, &format!("{ASKING}{crash}")), 1, &slow);
    let run = run(&plan, &Systems::new([slow]), &Turmoil).unwrap();
    let ended = run.outcome.trace.outcomes().map(|(event, id, outcome)| {
        let word = match outcome {
            OperationOutcome::Ok { .. } => "ok",
            OperationOutcome::Crashed => "crashed",
            OperationOutcome::Skipped => "skipped",
            _ => "other",
        };
        format!("{id} {word} {}", event.at_us / 1000)
    });
    let expected = [
        "1 ok 550",
        "2 ok 1050",
        "3 ok 1550",
        "4 crashed 2020",
        "5 skipped 3020",
        "6 skipped 3020",
        "7 ok 3550",
    ];
    assert!(ended.eq(expected));
    assert_eq!(run.verdict, Verdict::Pass);
}

#[test]
fn a_task_that_panics_fails_the_run_by_its_name() {
    let system = lone(|node| {
        Box::pin(async move {
            let task = node
                .host()
                .tasks
                .spawn("sweep", Box::pin(async { panic!("oops") }));
            let ended = task.join().await;
            assert_eq!(
                ended,
                nitro::host::tasks::Ended::Panicked("oops".to_owned())
            );
            std::future::pending().await
        })
    });
    let verdict = verdict(&duo(1, ""), system);
    assert_eq!(
        reason(&verdict),
        "task panicked: server-1 at 0.000 s, task sweep: oops"
    );
}

#[test]
fn a_node_that_is_down_is_not_blamed_for_dying() {
    struct Shout(Node);
    impl Drop for Shout {
        fn drop(&mut self) {
            self.0.note("dropped", self.0.host().clock.now().as_nanos());
        }
    }
    let system = lone(|node| {
        Box::pin(async move {
            let _shout = Shout(node);
            std::future::pending().await
        })
    });
    let trace = outcome(&duo(5, CRASH), &system).trace;
    assert!(noted(&trace, "dropped").is_empty());
}

#[test]
fn what_turmoil_cannot_do_is_refused_by_name_before_the_run() {
    let ran = Arc::new(Mutex::new(false));
    let has_run = Arc::clone(&ran);
    let system = lone(move |_| {
        *has_run.lock().unwrap() = true;
        Box::pin(std::future::pending())
    });
    let faults = "[[fault]]\nkind = \"slow\"\nnode = \"server-1\"\nfactor = 3\nat_s = 1\n\
                  [[fault]]\nkind = \"clock_drift\"\nname = \"drift\"\nnode = \"client-1\"\n\
                  parts_per_million = 50\nat_s = 1\n";
    let plan = plan(&duo(5, faults), 1, &system);
    let refusal = accepts(&Turmoil, &plan).unwrap_err();
    insta::assert_snapshot!(refusal.to_string(), @r"
    the engine turmoil refuses the plan:
        fault-1: turmoil cannot slow a node down (slow); the event engine can
        drift: turmoil has one clock for all nodes (clock_drift); the event engine can
    ");
    assert!(run(&plan, &Systems::new([system]), &Turmoil).is_err());
    assert!(!*ran.lock().unwrap());
}

#[test]
fn code_that_does_not_run_the_same_twice_is_told_with_both_sides() {
    let count = Arc::new(Mutex::new(0));
    let system = lone(move |node| {
        let count = Arc::clone(&count);
        Box::pin(async move {
            *count.lock().unwrap() += 1;
            node.note("run", *count.lock().unwrap());
            std::future::pending().await
        })
    });
    let verdict = verdict(&duo(1, ""), system);
    insta::assert_snapshot!(reason(&verdict), @r#"
    replayed: two runs of the plan differ: event 2 differs
        one:   {"at_us":0,"node":"server-1","event":"note","name":"run","value":1}
        other: {"at_us":0,"node":"server-1","event":"note","name":"run","value":2}
    "#);
}

#[test]
fn a_loop_that_waits_for_nothing_fails_the_run_by_node() {
    let system = lone(|_| {
        Box::pin(async {
            loop {
                tokio::task::yield_now().await;
            }
        })
    });
    let verdict = verdict(&duo(1, ""), system);
    assert!(
        reason(&verdict).contains("server-1 at 0.000 s: panicked: polled"),
        "{verdict:?}"
    );
    assert!(reason(&verdict).ends_with("waiting for a timer or a message"));
}

#[test]
fn a_run_that_records_too_much_is_inconclusive() {
    let system = lone(|node| {
        Box::pin(async move {
            loop {
                for _ in 0..100_000 {
                    node.note("again", true);
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let verdict = verdict(&duo(1, ""), system);
    assert_eq!(verdict.word(), "inconclusive");
    assert!(
        reason(&verdict).contains("1000000 events by 0.000 s"),
        "{verdict:?}"
    );
}

#[test]
fn a_network_that_turmoil_cannot_be_is_refused_by_name() {
    let system = lone(|_| Box::pin(async { Ok(()) }));
    let log_normal =
        "[network]\nlatency = { distribution = \"log_normal\", median_ms = 2, p99_ms = 9 }\n";
    for (network, expected) in [
        (
            log_normal,
            "network: turmoil has no latency that is log_normal; the event engine has",
        ),
        ("[network]\nduplicate = 0.5\n", "no duplicates"),
        ("[network]\nbytes_per_second = 5\n", "no bandwidth"),
    ] {
        let text = duo(2, "").replace("[network]\nlatency_ms = 2\n", network);
        let refusal = accepts(&Turmoil, &plan(&text, 1, &system)).unwrap_err();
        assert!(refusal.to_string().contains(expected), "{refusal}");
    }
}
