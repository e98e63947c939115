//! The system `greeter`: servers greet, clients ask them through the whole client stack.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::address::Address;
use nitro::app::App;
use nitro::codec::Json;
use nitro::error::Result;
use nitro::{Method, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cluster;
use crate::system::{Node, System};
use crate::trace::{EventKind, OperationOutcome, Trace};

/// Who is to be greeted.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    name: String,
}

/// The greeting, and which node it is from.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    text: String,
    from: String,
}

const HELLO: Method<Hello, Greeting> = Method::unary("greeter/hello").idempotent();

/// How long a registration lasts without a heartbeat.
const TTL: Duration = Duration::from_secs(6);
/// How long a stopping server lets calls finish.
const GRACE: Duration = Duration::from_secs(3);
/// What a slow server may get, as a share of what it would if all were equal.
const SLOW_SHARE_MAX: f64 = 0.25;
/// How long the selector may take to learn who is slow.
const LEARNING_US: u64 = 10_000_000;

/// The system: roles `registry`, `server`, `client`; operation `hello`; parameters `work_ms` and
/// `slow`, how many times longer the last server takes.
pub fn system() -> System {
    System::new("greeter")
        .role("registry", cluster::keep_registry)
        .role("server", serve)
        .role("client", ask)
        .operation("hello")
        .invariant("every greeting is for who asked", greetings_match)
        .invariant("a slow server gets a quarter of its share", slow_is_shunned)
}

async fn serve(node: Node) -> Result<()> {
    let registry = cluster::serve_registry(&node).await?;
    let mut work = Duration::from_millis(node.parameter_or("work_ms", 0)?);
    let slow: u32 = node.parameter_or("slow", 1)?;
    if slow > 1 && node.index() + 1 == node.peers("server").len() {
        work *= slow;
        node.note("slow", json!({ "servers": node.peers("server").len() }));
    }
    let (clock, from) = (node.host().clock.clone(), node.name().to_owned());
    let hello = move |_call, hello: Hello| {
        let (clock, from) = (clock.clone(), from.clone());
        async move {
            clock.sleep(work).await;
            let text = format!("hello, {}", hello.name);
            Ok(Greeting { text, from })
        }
    };
    let app = App::new(&cluster::fabric(&node), "greeter")
        .listen(Address::tcp("0.0.0.0", cluster::SERVICE_PORT))
        .advertise(Address::tcp(node.name(), cluster::SERVICE_PORT))
        .router(Router::new().unary(&HELLO, Json, hello))
        .ttl(TTL)
        .grace(GRACE);
    app.run_until(node.stop_requested()).await?;
    drop(registry);
    Ok(())
}

async fn ask(node: Node) -> Result<()> {
    let client = cluster::client(&node, "greeter", Json);
    node.workload(move |operation| {
        let client = client.clone().timeout(operation.timeout);
        async move {
            let name = operation.value.to_string();
            let greeting = client.call(&HELLO, Hello { name }).await?;
            Ok(json!(greeting))
        }
    })
    .await
}

/// The greetings of a trace: when they came, what was asked, what was answered.
fn greetings(trace: &Trace) -> impl Iterator<Item = (u64, Option<u64>, &Value)> {
    let called = |event: &crate::trace::Event| match event.kind {
        EventKind::Call {
            operation, value, ..
        } => Some((operation, value)),
        _ => None,
    };
    let asked: BTreeMap<u64, u64> = trace.events().iter().filter_map(called).collect();
    trace
        .outcomes()
        .filter_map(move |(event, operation, outcome)| match outcome {
            OperationOutcome::Ok { reply } => {
                Some((event.at_us, asked.get(&operation).copied(), reply))
            }
            _ => None,
        })
}

fn greetings_match(trace: &Trace) -> Vec<String> {
    let wrong = greetings(trace).filter(|(_, asked, reply)| {
        let expected = asked.map(|value| format!("hello, {value}"));
        expected.as_deref() != reply["text"].as_str()
    });
    wrong
        .map(|(_, asked, reply)| format!("{asked:?} was greeted by {reply}"))
        .collect()
}

fn slow_is_shunned(trace: &Trace) -> Vec<String> {
    let slow = trace.events().iter().find_map(|event| match &event.kind {
        EventKind::Note { name, value } if name == "slow" => Some((event.node.clone()?, value)),
        _ => None,
    });
    let Some((slow, value)) = slow else {
        return Vec::new();
    };
    let servers = value["servers"].as_f64().unwrap_or(1.0);
    let learned = greetings(trace).filter(|(at_us, ..)| *at_us > LEARNING_US);
    let (mut all, mut at_slow) = (0.0, 0.0);
    for (_, _, reply) in learned {
        all += 1.0;
        at_slow += f64::from(u8::from(reply["from"] == *slow));
    }
    let share = at_slow / f64::max(all, 1.0) * servers;
    if share <= SLOW_SHARE_MAX {
        return Vec::new();
    }
    vec![format!("{slow} answered {share:.2} of an equal share")]
}
