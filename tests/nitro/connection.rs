//! What a client and its servers make of connections that come and go, of nodes that stop,
//! refuse or die, and of tower layers of a user's own.

mod latency;
mod layers;
mod mute;
mod restart;
mod retry;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::client::balance::{Balance, Target};
use nitro::codec::Text;
use nitro::host::memory::Machine;
use nitro::rpc::Call;
use nitro::selector::RoundRobin;
use nitro::server::Serving;
use nitro::server::stack::{ServerSettings, stack};
use nitro::transport::{Exchange, Transport};
use nitro::{Address, Client, Error, Host, Kind, Method, Result, Router, Server};

/// Does a thing once; done twice it would be done twice.
const DO: Method<String, String> = Method::unary("thing/do");
/// The same, by a method that says it may be repeated.
const LOOK: Method<String, String> = Method::unary("thing/look").idempotent();
/// Is done, and then never answers.
const HANG: Method<String, String> = Method::unary("thing/hang");
/// Fails as if another node might do better.
const FAIL: Method<String, String> = Method::unary("thing/fail");
const FAIL_LOOK: Method<String, String> = Method::unary("thing/fail_look").idempotent();

/// How long a handler takes to answer.
const WORK: Duration = Duration::from_millis(20);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What was done, by name, on all nodes.
#[derive(Clone, Default)]
struct Done(Arc<Mutex<BTreeMap<String, usize>>>);

impl Done {
    fn count(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).copied().unwrap_or(0)
    }

    fn add(&self, name: &str) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    }
}

/// Nodes that can be stopped, killed and started again, and a host to call them from.
struct Cluster {
    client: Host,
    done: Done,
    nodes: Vec<Node>,
}

struct Node {
    host: Host,
    at: Address,
    serving: Option<Serving>,
    settings: ServerSettings,
    connections_max: usize,
    /// Whether it fails the calls of `FAIL` and `FAIL_LOOK`.
    is_bad: bool,
    done: Done,
}

impl Cluster {
    async fn new(count: usize) -> Self {
        let machine = Machine::new();
        let done = Done::default();
        let node = |index: usize| Node {
            host: machine.host(&format!("node-{index}")),
            at: format!("node-{index}:7000").parse().unwrap(),
            serving: None,
            settings: ServerSettings::default(),
            connections_max: 100,
            is_bad: index == 0,
            done: done.clone(),
        };
        let mut cluster = Self {
            client: machine.host("client"),
            done: done.clone(),
            nodes: (0..count).map(node).collect(),
        };
        for node in &mut cluster.nodes {
            node.start().await;
        }
        cluster
    }

    fn targets(&self) -> Vec<Target> {
        let at = |node: &Node| Target::at(node.at.clone());
        self.nodes.iter().map(at).collect()
    }

    fn builder(&self) -> nitro::client::Builder {
        let transport = Transport::new(self.client.network.clone(), Exchange::new());
        let builder = nitro::client::Builder::new(&self.client, &transport, "thing");
        builder.selector(RoundRobin::from_seed(0))
    }

    fn client(&self) -> (Client<Text>, Balance) {
        self.builder().targets(Text, &self.targets())
    }

    async fn sleep(&self, time: Duration) {
        self.client.clock.sleep(time).await;
    }
}

impl Node {
    async fn start(&mut self) {
        let service = stack(&self.host, &self.settings, self.router());
        let transport = Transport::new(self.host.network.clone(), Exchange::new());
        let server = Server::new(&self.host, &transport, service);
        let server = server.connections_max(self.connections_max);
        self.serving = Some(server.listen(&self.at).await.unwrap());
    }

    /// Cuts its connections and stops to listen, from one moment to the next.
    async fn kill(&mut self) {
        self.serving = None;
        // What is aborted is gone at its next pause.
        host_sleep(millis(1)).await;
    }

    async fn stop(&mut self, grace: Duration) -> usize {
        self.serving.take().unwrap().stop(grace).await
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    fn router(&self) -> Router {
        let work = |is_bad: bool, work: Option<Duration>| {
            let (done, host) = (self.done.clone(), self.host.clone());
            move |_: Call, name: String| {
                let (done, clock) = (done.clone(), host.clock.clone());
                async move {
                    done.add(&name);
                    match work {
                        Some(time) => clock.sleep(time).await,
                        None => std::future::pending().await,
                    }
                    if is_bad {
                        return Err(Error::unavailable("not here, not now"));
                    }
                    Ok(name)
                }
            }
        };
        Router::new()
            .unary(&DO, Text, work(false, Some(WORK)))
            .unary(&LOOK, Text, work(false, Some(WORK)))
            .unary(&HANG, Text, work(false, None))
            .unary(&FAIL, Text, work(self.is_bad, Some(WORK)))
            .unary(&FAIL_LOOK, Text, work(self.is_bad, Some(WORK)))
    }
}

async fn join<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    futures_util::future::join(one, other).await
}

/// Calls again and again, one call after the other, until told to stop.
struct Load {
    calls: AtomicUsize,
    is_over: std::sync::atomic::AtomicBool,
}

impl Load {
    fn new() -> Self {
        let (calls, is_over) = Default::default();
        Self { calls, is_over }
    }

    /// The answer to each call, with its name, which is its own.
    async fn run(&self, client: &Client<Text>, caller: usize) -> Vec<(String, Result<String>)> {
        let mut answers = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let number = self.calls.fetch_add(1, Ordering::SeqCst);
            let name = format!("{caller}-{number}");
            let answer = client.call(&DO, name.clone()).await;
            if answer.is_err() {
                // As a user would: not at once again.
                host_sleep(millis(5)).await;
            }
            answers.push((name, answer));
        }
        answers
    }

    /// The same from eight callers at once, while `meanwhile` goes on.
    async fn around<T>(
        &self,
        client: &Client<Text>,
        meanwhile: impl Future<Output = T>,
    ) -> (Vec<(String, Result<String>)>, T) {
        let callers = (0..8).map(|caller| self.run(client, caller));
        let callers = futures_util::future::join_all(callers);
        let meanwhile = async {
            let answer = meanwhile.await;
            self.is_over.store(true, Ordering::SeqCst);
            answer
        };
        let (answers, answer) = join(callers, meanwhile).await;
        (answers.into_iter().flatten().collect(), answer)
    }
}

async fn host_sleep(time: Duration) {
    nitro::host::tokio::host().clock.sleep(time).await;
}
