//! How much virtual time the engines simulate in a second of this machine's, on one workload:
//! each node asks its two successors every 100 ms and awaits their answer, over streams with a
//! latency of 1 to 5 ms.
//!
//! A second is one of processor time, the run's own process included, so that what else this
//! machine does counts for little. A table, and for few nodes the same with statistics, which
//! criterion keeps from one time to the next. The table has one run each: the engines differ by
//! factors, and one long run of a deterministic simulation is as good as many short ones. `cargo
//! bench --bench engines -- 3 10` makes the table alone, of so many nodes.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use nitro::address::Address;
use nitro::codec::Json;
use nitro::error::Result;
use nitro::{App, Fabric, Method, Router};
use nitro_sim::engine::{Ended, Outcome, by_name};
use nitro_sim::plan::{Plan, PlannedNode};
use nitro_sim::scenario::Scenario;
use nitro_sim::{Node, System, Systems};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 7000;
const EVERY: Duration = Duration::from_millis(100);
/// How many questions a node asks in a virtual second: of two peers, every 100 ms and a round trip
/// of 6 ms on average.
const CALLS_A_SECOND: f64 = 2.0 / 0.106;
const MESSAGE: [u8; 64] = [7; 64];
const ASK: Method<u64, u64> = Method::unary("pairs/ask").idempotent();

fn successors(node: &Node) -> [String; 2] {
    let all = node.peers("node");
    [1, 2].map(|step| all[(node.index() + step) % all.len()].clone())
}

/// The workload over the host's own streams. It ends when it is asked to, so that it is not run for
/// longer than the plan says.
async fn streams(node: Node) -> Result<()> {
    let host = node.host().clone();
    let mut listener = host.network.listen(&Address::tcp("0.0.0.0", PORT)).await?;
    let mut tasks = Vec::new();
    for to in successors(&node) {
        let host = host.clone();
        let asking = async move {
            host.clock.sleep(EVERY).await;
            let to = Address::tcp(to, PORT);
            let mut stream = host.network.connect(&to).await.expect("it listens");
            let mut answer = MESSAGE;
            loop {
                let asked = stream.write_all(&MESSAGE).await;
                // At the end of a run whom it asks may go first.
                if asked.is_err() || stream.read_exact(&mut answer).await.is_err() {
                    return;
                }
                host.clock.sleep(EVERY).await;
            }
        };
        let asking = node.host().tasks.spawn("ask", Box::pin(asking));
        tasks.push(asking.abort_on_drop());
    }
    let serving = async {
        loop {
            let (mut stream, _) = listener.accept().await?;
            let answering = async move {
                let mut message = MESSAGE;
                while stream.read_exact(&mut message).await.is_ok() {
                    if stream.write_all(&message).await.is_err() {
                        return;
                    }
                }
            };
            let answering = node.host().tasks.spawn("answer", Box::pin(answering));
            tasks.push(answering.abort_on_drop());
        }
    };
    tokio::select! {
        biased;
        () = node.stop_requested() => Ok(()),
        failed = serving => failed,
    }
}

/// The workload over nitro's rpc.
async fn rpc(node: Node) -> Result<()> {
    let host = node.host().clone();
    let fabric = Fabric::new(&host);
    let mut tasks = Vec::new();
    for to in successors(&node) {
        let client = fabric.client_builder("pairs");
        let client = client.address(Json, Address::tcp(to, PORT));
        let host = host.clone();
        let asking = async move {
            for number in 0.. {
                host.clock.sleep(EVERY).await;
                let Ok(answer) = client.call(&ASK, number).await else {
                    return;
                };
                assert_eq!(answer, number);
            }
        };
        let asking = node.host().tasks.spawn("ask", Box::pin(asking));
        tasks.push(asking.abort_on_drop());
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

/// Processor time that this process and those it has waited for have taken, in seconds.
fn processor_seconds() -> f64 {
    /// In which the system counts, on every Linux.
    const TICKS_A_SECOND: f64 = 100.0;
    let said = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    // The name of the program, which comes second, stands in brackets and may hold spaces.
    let (_, after) = said.rsplit_once(')').expect("the name is in brackets");
    let fields = after.split_whitespace().skip(11).take(4);
    let ticks = fields.filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

/// The least that is recorded of an exchange: two messages sent, and read.
const EVENTS_AN_EXCHANGE: f64 = 4.0;

/// That a run of the event engine did all its work: a workload that fails is fast.
fn assert_whole(measured: &Measured, nodes: usize, seconds: u64) {
    let exchanges = (nodes as u64 * seconds) as f64 * CALLS_A_SECOND;
    let events = measured.outcome.trace.count() as f64;
    let least = 0.9 * EVENTS_AN_EXCHANGE * exchanges;
    assert!(events > least, "{events} events, expected at least {least}");
}

/// What an engine made of a workload.
struct Measured {
    /// Virtual seconds a second.
    speed: f64,
    /// Events recorded a second.
    events: f64,
    outcome: Outcome,
}

fn on_engine(name: &str, system: &System, nodes: usize, seconds: u64) -> Option<Measured> {
    let engine = by_name(name)?;
    let began = processor_seconds();
    let outcome = engine.run(&plan(system, nodes, seconds), system);
    let taken = processor_seconds() - began;
    assert_eq!(outcome.ended, Ended::Finished, "{}", outcome.ended);
    Some(Measured {
        speed: seconds as f64 / taken,
        events: outcome.trace.count() as f64 / taken,
        outcome,
    })
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
    let began = processor_seconds();
    while sim.elapsed() < Duration::from_secs(seconds) {
        sim.step().expect("nothing is wrong");
    }
    seconds as f64 / (processor_seconds() - began)
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

/// A node with a server that nobody calls; the first notes how much memory the process has.
async fn idle(node: Node) -> Result<()> {
    if node.index() == 0 {
        node.host().clock.sleep(Duration::from_secs(1)).await;
        node.note("resident", resident_bytes());
    }
    let app = App::new(&Fabric::new(node.host()), "idle");
    let router = Router::new().unary(&ASK, Json, |_, number: u64| async move { Ok(number) });
    let app = app.router(router).listen(Address::tcp(node.name(), PORT));
    app.run_until(node.stop_requested()).await
}

/// A node that does nothing at all; the first notes how much memory the process has.
async fn bare_idle(node: Node) -> Result<()> {
    if node.index() == 0 {
        node.host().clock.sleep(Duration::from_secs(1)).await;
        node.note("resident", resident_bytes());
    }
    std::future::pending().await
}

fn resident_bytes() -> u64 {
    let said = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = said.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0u64) * 4096
}

/// How much memory a node takes, in KiB.
fn memory_kib(system: &System) -> Option<f64> {
    const MORE: usize = 500;
    let resident = |nodes| {
        let outcome = on_engine("event", system, nodes, 2)?.outcome;
        let mut noted = outcome.trace.notes("resident");
        noted.next().and_then(|(_, bytes)| bytes.as_f64())
    };
    Some((resident(1 + MORE)? - resident(1)?) / MORE as f64 / 1024.0)
}

/// How long a run of this many nodes is, in virtual seconds: long enough to measure, short enough
/// to wait for.
fn quick_seconds(nodes: usize) -> u64 {
    (9000 / nodes as u64).clamp(5, 3000)
}

fn slow_seconds(nodes: usize) -> u64 {
    match nodes {
        0..=3 => 200,
        4..=30 => 20,
        _ => 2,
    }
}

/// The most nodes for which anybody waits for turmoil.
const SLOW_NODES_MAX: usize = 100;

fn shown(figure: Option<f64>) -> String {
    match figure {
        Some(figure) if figure >= 100.0 => format!("{figure:.0}"),
        Some(figure) => format!("{figure:.2}"),
        None => "-".to_owned(),
    }
}

fn row(nodes: usize, streams: &System, rpc: &System) -> [String; 10] {
    let is_slow = nodes <= SLOW_NODES_MAX;
    let bare = is_slow.then(|| on_bare_turmoil(nodes, slow_seconds(nodes)));
    let raw = on_engine("event", streams, nodes, quick_seconds(nodes));
    let turmoil = is_slow.then(|| on_engine("turmoil", rpc, nodes, slow_seconds(nodes)));
    let turmoil = turmoil.flatten().map(|turmoil| turmoil.speed);
    let event = on_engine("event", rpc, nodes, quick_seconds(nodes));
    for measured in raw.iter().chain(&event) {
        assert_whole(measured, nodes, quick_seconds(nodes));
    }
    let speed = |measured: &Option<Measured>| measured.as_ref().map(|measured| measured.speed);
    let (raw_speed, event_speed) = (speed(&raw), speed(&event));
    let times = |quick: Option<f64>, slow: Option<f64>| Some(quick? / slow?);
    let calls = |speed: Option<f64>| speed.map(|speed| speed * nodes as f64 * CALLS_A_SECOND);
    [
        Some(nodes as f64),
        bare,
        raw_speed,
        times(raw_speed, bare),
        calls(raw_speed).map(|calls| 1e9 / calls),
        raw.map(|raw| raw.events),
        turmoil,
        event_speed,
        times(event_speed, turmoil),
        calls(event_speed),
    ]
    .map(shown)
}

/// How fast a run of so many nodes and virtual seconds is, if there is such an engine.
type Speed<'s> = &'s dyn Fn(usize, u64) -> Option<f64>;

/// Runs of so many nodes as criterion measures them, in processor time; what passes is exchanges.
fn bench(criterion: &mut Criterion, name: [&str; 2], nodes: usize, seconds: u64, speed: Speed<'_>) {
    let mut group = criterion.benchmark_group(name[0]);
    let exchanges = (nodes as u64 * seconds) as f64 * CALLS_A_SECOND;
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(1));
    group.throughput(Throughput::Elements(exchanges as u64));
    group.bench_function(BenchmarkId::new(name[1], nodes), |bencher| {
        bencher.iter_custom(|runs| {
            let taken = |_| seconds as f64 / speed(nodes, seconds).expect("the engine is there");
            Duration::from_secs_f64((0..runs).map(taken).sum())
        });
    });
    group.finish();
}

fn benches(criterion: &mut Criterion, streams: &System, rpc: &System) {
    let event = |system, nodes, seconds| Some(on_engine("event", system, nodes, seconds)?.speed);
    let is_here = by_name("event").is_some();
    for nodes in [3, 10, 100].into_iter().filter(|_| is_here) {
        let seconds = quick_seconds(nodes);
        let speed: Speed<'_> = &|nodes, seconds| event(streams, nodes, seconds);
        bench(criterion, ["streams", "event"], nodes, seconds, speed);
    }
    // More nodes take turmoil minutes.
    for nodes in [3, 10] {
        let speed: Speed<'_> = &|nodes, seconds| Some(on_bare_turmoil(nodes, seconds));
        let seconds = slow_seconds(nodes);
        bench(
            criterion,
            ["streams", "bare turmoil"],
            nodes,
            seconds,
            speed,
        );
    }
    if is_here {
        let speed: Speed<'_> = &|nodes, seconds| event(rpc, nodes, seconds);
        bench(criterion, ["rpc", "event"], 10, quick_seconds(10), speed);
    }
    let turmoil = |nodes, seconds| Some(on_engine("turmoil", rpc, nodes, seconds)?.speed);
    bench(
        criterion,
        ["rpc", "turmoil"],
        10,
        slow_seconds(10),
        &turmoil,
    );
}

fn main() {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let words: Vec<String> = words.collect();
    // Numbers alone are node counts; among other words they are criterion's.
    let chosen: Option<Vec<usize>> = words.iter().map(|word| word.parse().ok()).collect();
    let chosen = chosen.unwrap_or_default();
    let streams = System::new("streams").role("node", streams);
    let rpc = System::new("rpc").role("node", rpc);
    if !chosen.is_empty() {
        return table(&chosen, &streams, &rpc);
    }
    let mut criterion = Criterion::default().configure_from_args();
    benches(&mut criterion, &streams, &rpc);
    criterion.final_summary();
    // Whoever asks for a part, or whether it runs, has no use for the table.
    if words.is_empty() {
        table(&[3, 10, 30, 50, 100, 300, 1000], &streams, &rpc);
    }
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn table(counts: &[usize], streams: &System, rpc: &System) {
    println!("virtual seconds a second of one core; an exchange is a question and its answer");
    let heads = [
        "nodes",
        "turmoil, bare",
        "event, streams",
        "times",
        "ns an exchange",
        "events/s",
        "turmoil, rpc",
        "event, rpc",
        "times",
        "rpcs/s",
    ];
    println!("{}", heads.join("  "));
    for nodes in counts {
        let row = row(*nodes, streams, rpc);
        let cells = row.iter().zip(heads);
        let cells: Vec<String> = cells
            .map(|(cell, head)| format!("{cell:>width$}", width = head.len().max(7)))
            .collect();
        println!("{}", cells.join("  "));
    }
    let bare = System::new("bare").role("node", bare_idle);
    let idle = System::new("idle").role("node", idle);
    for (system, what) in [(bare, "does nothing"), (idle, "serves nobody")] {
        let kib = memory_kib(&system);
        println!("memory of a node that {what}: {} KiB", shown(kib));
    }
}
