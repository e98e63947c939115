//! The system `pool`: servers of a known capacity, and clients that spread their calls over them.
//!
//! A server has workers, each of whom does one call at a time; further calls wait for one. So what
//! a server can do is known, `workers` calls in the time of one, and what comes of more can be held
//! against it.

mod parameters;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nitro::address::Address;
use nitro::app::{App, Fabric};
use nitro::client::balance::{Balance, Target};
use nitro::client::ejection::Standing;
use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::host::entropy::Sequence;
use nitro::rpc::Request;
use nitro::{Method, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::util::MapRequestLayer;

use self::parameters::{Asking, Serving};
use crate::system::{Node, System};
use crate::trace::Trace;

const WORK: Method<u64, Value> = Method::unary("pool/work").idempotent();
const PORT: u16 = 7000;

/// How often a client looks how its nodes stand.
const LOOK: Duration = Duration::from_millis(50);

/// The system: roles `server` and `client`; operation `work`.
///
/// Servers note `call` for each call that a worker is wanted for, and `failure` for each that they
/// fail. Clients note `attempt` for each attempt at a call, `ejected` and `back` for nodes that
/// they eject and take back, `standing` whenever these change, and `panic` where ejection is then
/// ignored.
pub fn system() -> System {
    System::new("pool")
        .role("server", serve)
        .role("client", ask)
        .operation("work")
        .invariant("never more than half are ejected", half_are_in)
}

async fn serve(node: Node) -> Result<()> {
    let serving = Serving::of(&node)?;
    let host = node.host().clone();
    let lengths = Arc::new(Sequence::from_seed(host.entropy.next_u64()));
    let workers = Arc::new(Semaphore::new(serving.workers));
    let (name, settings) = (node.name().to_owned(), serving.settings);
    let noted = node.clone();
    let work = move |_call, number: u64| {
        let (host, node) = (host.clone(), noted.clone());
        let (workers, lengths) = (Arc::clone(&workers), Arc::clone(&lengths));
        async move {
            node.note("call", number);
            if serving.fails_at(host.clock.now()) {
                node.note("failure", number);
                return Err(Error::unavailable("out of order"));
            }
            let worker = workers.acquire().await.expect("it is never closed");
            host.clock.sleep(serving.takes(lengths.unit())).await;
            drop(worker);
            Ok(json!({ "from": node.name() }))
        }
    };
    let app = App::new(&Fabric::new(node.host()), "pool")
        .settings(settings)
        .router(Router::new().unary(&WORK, Json, work))
        .listen(Address::tcp(name, PORT));
    app.run_until(node.stop_requested()).await
}

async fn ask(node: Node) -> Result<()> {
    let asking = Asking::of(&node)?;
    let servers = node.peers("server").iter();
    let targets: Vec<Target> = servers
        .map(|name| Target::at(Address::tcp(name.as_str(), PORT)))
        .collect();
    let noted = node.clone();
    let note_attempt = MapRequestLayer::new(move |request: Request| {
        noted.note("attempt", request.avoid.len());
        request
    });
    let builder = Fabric::new(node.host()).client_builder("pool");
    let builder = asking.set_up(builder, node.host())?;
    let builder = builder.attempt_layer(note_attempt);
    let (client, balance) = builder.targets(Json, &targets);
    let watching = Box::pin(watch(node.clone(), balance));
    let watching = node.host().tasks.spawn("watch the nodes", watching);
    let watching = watching.abort_on_drop();
    node.workload(move |operation| {
        let client = client.clone().timeout(operation.timeout);
        async move { client.call(&WORK, operation.value).await }
    })
    .await?;
    drop(watching);
    Ok(())
}

/// Notes whenever a node is ejected or taken back, as an operator would see it.
async fn watch(node: Node, balance: Balance) {
    let mut out: BTreeSet<Arc<str>> = BTreeSet::new();
    loop {
        node.host().clock.sleep(LOOK).await;
        let health = balance.health();
        let is_out = health.nodes.iter();
        let is_out = is_out.filter(|node| node.standing != Standing::In);
        let now_out: BTreeSet<Arc<str>> = is_out.map(|node| Arc::clone(&node.id)).collect();
        if now_out == out {
            continue;
        }
        for id in now_out.difference(&out) {
            node.note("ejected", &**id);
        }
        for id in out.difference(&now_out) {
            node.note("back", &**id);
        }
        let (ejected, nodes) = (health.ejected(), health.nodes.len());
        let panicking = health.is_panicking;
        node.note(
            "standing",
            json!({ "ejected": ejected, "nodes": nodes, "panicking": panicking }),
        );
        if panicking {
            node.note("panic", ejected);
        }
        out = now_out;
    }
}

fn half_are_in(trace: &Trace) -> Vec<String> {
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or(0);
    let standing = trace.notes("standing");
    let wrong = standing.filter(|(_, value)| number(value, "ejected") * 2 > number(value, "nodes"));
    wrong
        .map(|(event, value)| {
            let client = event.node.as_deref().unwrap_or_default();
            let at = event.at_us as f64 / 1e6;
            format!("{client} at {at:.3} s: {value}")
        })
        .collect()
}
