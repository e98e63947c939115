//! Suites inside a simulated cluster: each case on a node of its own, all in one run.

use std::future::Future;

use nitro_sim::check::Verdict;
use nitro_sim::engine;
use nitro_sim::plan::Plan;
use nitro_sim::run::run;
use nitro_sim::scenario::Scenario;
use nitro_sim::trace::{EventKind, Trace};
use nitro_sim::{Node, System, Systems};

use super::{On, Open, Setting, not_run};

/// What a node notes when its case has come to its end.
const DONE: &str = "done";

/// How long the cases may take, in virtual time.
const DURATION_S: u64 = 240;

/// A suite as a system, to which cases are added.
pub(crate) fn suite() -> System {
    System::new("suite").invariant("every case comes to its end", |trace| {
        let nodes = trace.events().iter().filter_map(|event| match event.kind {
            EventKind::NodeStarted { .. } => event.node.as_deref(),
            _ => None,
        });
        let is_done = |node: &str| {
            let mut done = trace.notes(DONE);
            done.any(|(event, _)| event.node.as_deref() == Some(node))
        };
        let unfinished = nodes.filter(|node| !is_done(node));
        unfinished.map(|node| format!("{node} did not")).collect()
    })
}

/// A case as a role: the backend is opened on the node, and the case uses it.
pub(crate) fn case<B, F, C>(system: System, name: &str, backend: B, case: C) -> System
where
    B: Open,
    C: Fn(B::Port, nitro::Host) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    system.role(name, move |node: Node| {
        let case = case.clone();
        async move {
            let mut setting = Setting::of(node.host(), On::Simulated);
            let port = backend.open(&mut setting).await;
            case(port, node.host().clone()).await;
            node.note(DONE, true);
            Ok(())
        }
    })
}

/// Runs a suite on an engine: every case must come to its end, and none may fail.
pub(crate) fn passes(engine_name: &str, systems: fn() -> Vec<System>) {
    if !engine::NAMES.contains(&engine_name) {
        not_run(
            "the suite",
            &format!("there is no engine {engine_name} here"),
        );
        return;
    }
    let systems = Systems::made_by(systems);
    let suite = systems.get("suite").unwrap();
    let nodes: Vec<String> = suite
        .role_names()
        .map(|name| format!("{name} = 1"))
        .collect();
    assert!(!nodes.is_empty());
    let text = format!(
        "name = \"suite\"\nsystem = \"suite\"\nduration_s = {DURATION_S}\n\
         [nodes]\n{}\n[checks]\nreplayed = false\n",
        nodes.join("\n")
    );
    let scenario = Scenario::parse("suite.toml", &text, &systems.catalogue());
    let scenario = scenario.unwrap_or_else(|problems| panic!("{problems}"));
    let plan = Plan::new(&scenario, 7).unwrap();
    let engine = engine::anew(engine_name, &systems).unwrap();
    let engine = engine.unwrap_or_else(|| panic!("no engine {engine_name}"));
    let ran = run(&plan, &systems, &*engine).unwrap_or_else(|error| panic!("{error}"));
    let told = failures(&ran.outcome.trace);
    assert!(ran.verdict == Verdict::Pass, "{:?}\n{told}", ran.verdict);
}

/// What the nodes say that has failed.
fn failures(trace: &Trace) -> String {
    let said = trace.events().iter().filter_map(|event| {
        let node = event.node.as_deref().unwrap_or_default();
        match &event.kind {
            EventKind::NodeStopped { error: Some(error) } => Some(format!("{node}: {error}")),
            EventKind::TaskPanicked { task, message } => Some(format!("{node}: {task}: {message}")),
            _ => None,
        }
    });
    said.collect::<Vec<String>>().join("\n")
}
