//! How much virtual time the engines simulate in a second of this machine's, on one workload:
//! each node asks its two successors every 100 ms and awaits their answer, over streams with a
//! latency of 1 to 5 ms.
//!
//! A table, and no statistics: the engines differ by factors, and one long run of a deterministic
//! simulation is as good as many short ones. `cargo bench --bench engines -- 3 10` chooses how
//! many nodes.

use std::time::Duration;

use nitro::address::Address;
use nitro::codec::Json;
use nitro::error::Result;
use nitro::{App, Fabric, Method, Router};
use nitro_sim::engine::{Ended, by_name};
use nitro_sim::plan::{Plan, PlannedNode};
use nitro_sim::scenario::Scenario;
use nitro_sim::{Node, System, Systems};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 7000;
const EVERY: Duration = Duration::from_millis(100);
const MESSAGE: [u8; 64] = [7; 64];
const ASK: Method<u64, u64> = Method::unary("pairs/ask").idempotent();

fn successors(node: &Node) -> [String; 2] {
    let all = node.peers("node");
    [1, 2].map(|step| all[(node.index() + step) % all.len()].clone())
}

/// The workload over the host's own streams.
async fn streams(node: Node) -> Result<()> {
    let host = node.host().clone();
    let mut listener = host.network.listen(&Address::tcp("0.0.0.0", PORT)).await?;
    for to in successors(&node) {
        let host = host.clone();
        let asking = async move {
            host.clock.sleep(EVERY).await;
            let to = Address::tcp(to, PORT);
            let mut stream = host.network.connect(&to).await.expect("it listens");
            let mut answer = MESSAGE;
            loop {
                stream.write_all(&MESSAGE).await.expect("nothing is wrong");
                stream.read_exact(&mut answer).await.expect("it answers");
                host.clock.sleep(EVERY).await;
            }
        };
        drop(node.host().tasks.spawn("ask", Box::pin(asking)));
    }
    loop {
        let (mut stream, _) = listener.accept().await?;
        let answering = async move {
            let mut message = MESSAGE;
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await.expect("nothing is wrong");
            }
        };
        drop(node.host().tasks.spawn("answer", Box::pin(answering)));
    }
}

/// The workload over nitro's rpc.
async fn rpc(node: Node) -> Result<()> {
    let host = node.host().clone();
    let fabric = Fabric::new(&host);
    for to in successors(&node) {
        let client = fabric.client_builder("pairs");
        let client = client.address(Json, Address::tcp(to, PORT));
        let host = host.clone();
        let asking = async move {
            for number in 0.. {
                host.clock.sleep(EVERY).await;
                let answer = client.call(&ASK, number).await;
                assert_eq!(answer.expect("nothing is wrong"), number);
            }
        };
        drop(node.host().tasks.spawn("ask", Box::pin(asking)));
    }
    let router = Router::new().unary(&ASK, Json, |_, number: u64| async move { Ok(number) });
    let app = App::new(&fabric, "pairs").router(router);
    let app = app.listen(Address::tcp(node.name(), PORT));
    app.run_until(node.stop_requested()).await
}

fn plan(system: &System, nodes: usize, seconds: u64) -> Plan {
    let text = format!(
        "name = \"pairs\"\nsystem = \"{}\"\nduration_s = {seconds}\n[nodes]\nnode = 3\n\
         [network]\nlatency_ms = [1, 5]\n[schedule]\nyields = \"off\"\n",
        system.name()
    );
    let systems = Systems::new([system.clone()]);
    let scenario = Scenario::parse("pairs.toml", &text, &systems.catalogue());
    let mut plan = Plan::new(&scenario.expect("it is right"), 1).expect("it has nothing to choose");
    // More than a scenario may have.
    let node = |number: usize| PlannedNode {
        name: format!("node-{number}"),
        role: "node".to_owned(),
    };
    plan.nodes = (1..=nodes).map(node).collect();
    plan
}

/// Virtual seconds a second.
fn on_engine(name: &str, system: &System, nodes: usize, seconds: u64) -> Option<f64> {
    let engine = by_name(name)?;
    let outcome = engine.run(&plan(system, nodes, seconds), system);
    assert_eq!(outcome.ended, Ended::Finished, "{}", outcome.ended);
    let events = outcome.trace.events().len();
    assert!(events > nodes * seconds as usize * 10, "{events} events");
    Some(seconds as f64 / outcome.wall.as_secs_f64())
}

/// The workload on turmoil itself, without nitro.
fn on_bare_turmoil(nodes: usize, seconds: u64) -> f64 {
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .tick_duration(Duration::from_millis(1))
        .simulation_duration(Duration::from_secs(seconds + 1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .build();
    for number in 0..nodes {
        let names = [1, 2].map(|step| format!("node-{}", (number + step) % nodes));
        sim.host(format!("node-{number}"), move || bare(names.clone()));
    }
    let clock = nitro::host::tokio::host().clock;
    let began = clock.now();
    while sim.elapsed() < Duration::from_secs(seconds) {
        sim.step().expect("nothing is wrong");
    }
    seconds as f64 / clock.now().since(began).as_secs_f64()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is turmoil as its users write it, to compare with"
)]
async fn bare(names: [String; 2]) -> turmoil::Result {
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
    for name in names {
        tokio::spawn(async move {
            tokio::time::sleep(EVERY).await;
            let stream = turmoil::net::TcpStream::connect((name, PORT)).await;
            let mut stream = stream.expect("it listens");
            let mut answer = MESSAGE;
            loop {
                stream.write_all(&MESSAGE).await.expect("nothing is wrong");
                stream.read_exact(&mut answer).await.expect("it answers");
                tokio::time::sleep(EVERY).await;
            }
        });
    }
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut message = MESSAGE;
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await.expect("nothing is wrong");
            }
        });
    }
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let chosen: Vec<usize> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let counts = if chosen.is_empty() {
        vec![3, 10, 30, 100, 300, 1000]
    } else {
        chosen
    };
    let (streams, rpc) = (
        System::new("streams").role("node", streams),
        System::new("rpc").role("node", rpc),
    );
    println!("virtual seconds a second");
    println!("nodes  bare turmoil  event, streams  turmoil, rpc  event, rpc  rpcs a second");
    for nodes in counts {
        // Long enough to measure, short enough to wait for.
        let slow = if nodes <= 30 { 20 } else { 2 };
        let quick = if nodes <= 100 { 20 } else { 5 };
        let shown =
            |speed: Option<f64>| speed.map_or("-".to_owned(), |speed| format!("{speed:.1}"));
        let bare = (nodes <= 100).then(|| on_bare_turmoil(nodes, slow));
        let raw = on_engine("event", &streams, nodes, quick);
        let turmoil = (nodes <= 50).then(|| on_engine("turmoil", &rpc, nodes, slow));
        let event = on_engine("event", &rpc, nodes, quick);
        let calls = event.map_or(0.0, |speed| speed * nodes as f64 * 20.0);
        println!(
            "{nodes:5}  {:>12}  {:>14}  {:>12}  {:>10}  {calls:>13.0}",
            shown(bare),
            shown(raw),
            shown(turmoil.flatten()),
            shown(event)
        );
    }
}
