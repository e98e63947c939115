//! The system `leader`: servers elect one of them by majority, and the leader alone adds to a
//! balance on a storage that all of them reach. When a leader is cut off, an addition of its is on
//! its way; when that arrives at last, another leads and has added since.
//!
//! Broken on purpose is `leader_unfenced`, whose storage takes it: whoever has been elected writes,
//! whatever has been elected since.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use nitro::address::Address;
use nitro::app::{App, Fabric};
use nitro::codec::Json;
use nitro::error::{Error, Kind, Result};
use nitro::rpc::Call;
use nitro::time::Instant;
use nitro::{Client, Method, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keeper;
use crate::system::{Breach, Node, System};
use crate::trace::{Blame, OperationOutcome, Trace};

const PORT: u16 = 7000;

/// Answered with how long the vote binds, in milliseconds: 0 where it is not given.
const VOTE: Method<Ballot, u64> = Method::unary("server/vote");
const ADD: Method<u64, u64> = Method::unary("server/add");
const READ: Method<u64, u64> = Method::unary("storage/read");
const WRITE: Method<Entry, ()> = Method::unary("storage/write");

/// How long a vote binds who gives it to who has had it before, and so how long a leader is sure to
/// lead.
const LEASE: Duration = Duration::from_secs(1);

/// How long a first vote binds. If it bound for longer, servers that stand in turn would hold on to
/// enough votes that nobody could ever win.
const FIRST: Duration = Duration::from_millis(300);

/// How often a leader asks for votes again.
const RENEWED_EVERY: Duration = Duration::from_millis(250);

/// How long one call between servers, or to the storage, may take.
const CALL_MAX: Duration = Duration::from_millis(200);

/// How long a client waits for a server.
const ASK_MAX: Duration = Duration::from_secs(1);

/// How long a server without a leader waits before it stands, at most: so that two seldom do at
/// once.
const PATIENCE_MS: u64 = 500;

/// Somebody stands for a term, or asks to go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ballot {
    term: u64,
    candidate: String,
}

/// What the leader of a term writes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    term: u64,
    balance: u64,
}

/// The system: roles `server`, `storage` and `client`; operation `add`; parameter `work_ms`, how
/// long a leader thinks between reading the balance and writing it.
pub fn system() -> System {
    named("leader", true)
}

/// The same with a storage that takes what any leader writes, whenever it comes.
pub fn unfenced() -> System {
    named("leader_unfenced", false)
}

fn named(name: &str, is_fenced: bool) -> System {
    System::new(name)
        .role("server", lead)
        .role("storage", move |node| store(node, is_fenced))
        .role("client", ask)
        .operation("add")
        .one_leader_per_term("leads")
        .fenced("stored")
        .invariant("no addition is lost", no_addition_is_lost)
}

/// What a server promised: to nobody else before then.
#[derive(Debug)]
struct Promise {
    ballot: Ballot,
    until: Instant,
}

/// A server, as its handlers and its campaign share it.
struct Server {
    node: Node,
    work: Duration,
    servers: Vec<Client<Json>>,
    storage: Client<Json>,
    promise: Mutex<Promise>,
    /// The term in which it leads, and until when that is sure.
    leads: Mutex<Option<(u64, Instant)>>,
    /// One addition at a time.
    turn: tokio::sync::Mutex<()>,
}

async fn lead(node: Node) -> Result<()> {
    let nobody = Promise {
        ballot: Ballot {
            term: 0,
            candidate: String::new(),
        },
        until: Instant::ORIGIN,
    };
    let server = Arc::new(Server {
        work: Duration::from_millis(node.parameter_or("work_ms", 50)?),
        servers: reach(&node, "server", CALL_MAX),
        storage: reach(&node, "storage", CALL_MAX)
            .pop()
            .ok_or_else(|| Error::invalid_argument("there is no storage"))?,
        promise: Mutex::new(nobody),
        leads: Mutex::new(None),
        turn: tokio::sync::Mutex::default(),
        node: node.clone(),
    });
    let (voter, leader) = (Arc::clone(&server), Arc::clone(&server));
    let router = Router::new()
        .unary(&VOTE, Json, move |_: Call, ballot| {
            let bound = voter.vote(ballot).as_millis() as u64;
            async move { Ok(bound) }
        })
        .unary(&ADD, Json, move |_: Call, more| {
            let leader = Arc::clone(&leader);
            async move { leader.add(more).await }
        });
    tokio::select! {
        biased;
        served = serve(&node, router) => served,
        never = server.campaign() => never,
    }
}

impl Server {
    fn now(&self) -> Instant {
        self.node.host().clock.now()
    }

    /// Votes for who has its vote already, or else for who stands first once nobody has it: how
    /// long that binds it.
    fn vote(&self, ballot: Ballot) -> Duration {
        let now = self.now();
        let mut promise = self.promise.lock().expect("no panic while votes are given");
        let given = &promise.ballot;
        let is_same = (ballot.term, &ballot.candidate) == (given.term, &given.candidate);
        let is_next = ballot.term > given.term && now >= promise.until;
        let bound = match (is_same, is_next) {
            (true, _) => LEASE,
            (false, true) => FIRST,
            (false, false) => return Duration::ZERO,
        };
        let until = now + bound;
        *promise = Promise { ballot, until };
        bound
    }

    /// Stands whenever nobody leads, and leads as long as a majority goes along.
    async fn campaign(&self) -> Result<()> {
        let host = self.node.host();
        loop {
            let patience = Duration::from_millis(host.entropy.next_u64() % PATIENCE_MS);
            host.clock.sleep(patience).await;
            let (term, until) = {
                let promise = self.promise.lock().expect("no panic while votes are given");
                (promise.ballot.term + 1, promise.until)
            };
            if self.now() < until {
                host.clock.sleep_until(until).await;
                continue;
            }
            let mut is_elected = self.has_votes(term, FIRST).await;
            while is_elected {
                let asked = self.now();
                is_elected = self.has_votes(term, LEASE).await;
                if is_elected {
                    self.node.note("leads", json!({ "term": term }));
                    self.set_leads(Some((term, asked + LEASE)));
                    host.clock.sleep(RENEWED_EVERY).await;
                    is_elected = self.term().is_ok();
                }
            }
            self.set_leads(None);
        }
    }

    /// Whether a majority of the servers votes for this one, bound for so long at least.
    async fn has_votes(&self, term: u64, bound: Duration) -> bool {
        let candidate = self.node.name().to_owned();
        let ballot = Ballot { term, candidate };
        let votes = self.servers.iter();
        let votes = votes.map(|server| server.call(&VOTE, ballot.clone()));
        let votes = join_all(votes).await.into_iter().flatten();
        let votes = votes.filter(|ms| Duration::from_millis(*ms) >= bound);
        2 * votes.count() > self.servers.len()
    }

    /// The term in which it leads now.
    fn term(&self) -> Result<u64> {
        let leads = self.leads.lock().expect("no panic while it leads");
        let sure = leads.filter(|(_, until)| self.now() < *until);
        let sure = sure.map(|(term, _)| term);
        sure.ok_or_else(|| Error::failed_precondition("another server leads, or none"))
    }

    fn set_leads(&self, leads: Option<(u64, Instant)>) {
        *self.leads.lock().expect("no panic while it leads") = leads;
    }

    async fn add(&self, more: u64) -> Result<u64> {
        let _turn = self.turn.lock().await;
        let term = self.term()?;
        let read = self.storage.call(&READ, term).await;
        // A leader that does not reach the storage leads to nothing.
        let balance = read.inspect_err(|_| self.set_leads(None))? + more;
        self.node.host().clock.sleep(self.work).await;
        // It looks once more. It may be deposed the moment after, with the write on its way.
        if self.term()? != term {
            return Err(Error::failed_precondition("another term has begun"));
        }
        let written = self.storage.call(&WRITE, Entry { term, balance }).await;
        // Whether a write was done that failed is not known, so nothing may follow in this term.
        written.inspect_err(|_| self.set_leads(None))?;
        Ok(balance)
    }
}

/// The balance, and the newest term that has been heard of.
#[derive(Debug, Default)]
struct Stored {
    newest: u64,
    balance: u64,
}

impl Stored {
    fn admit(&mut self, term: u64) -> Result<()> {
        if term < self.newest {
            let newest = self.newest;
            let message = format!("term {term} is over, {newest} has begun");
            return Err(Error::failed_precondition(message));
        }
        self.newest = term;
        Ok(())
    }
}

async fn store(node: Node, is_fenced: bool) -> Result<()> {
    let stored: Arc<Mutex<Stored>> = Arc::default();
    let (read, written, at) = (Arc::clone(&stored), stored, node.clone());
    let router = Router::new()
        .unary(&READ, Json, move |_: Call, term| {
            let mut stored = read.lock().expect("no panic while the balance is held");
            let admitted = if is_fenced {
                stored.admit(term)
            } else {
                Ok(())
            };
            let balance = admitted.map(|()| stored.balance);
            async move { balance }
        })
        .unary(&WRITE, Json, move |_: Call, entry: Entry| {
            let mut stored = written.lock().expect("no panic while the balance is held");
            let admitted = if is_fenced {
                stored.admit(entry.term)
            } else {
                Ok(())
            };
            if admitted.is_ok() {
                stored.balance = entry.balance;
                at.note(
                    "stored",
                    json!({ "token": entry.term, "balance": entry.balance }),
                );
            }
            async move { admitted }
        });
    serve(&node, router).await
}

async fn serve(node: &Node, router: Router) -> Result<()> {
    let app = App::new(&Fabric::new(node.host()), node.role()).router(router);
    let app = app.listen(Address::tcp("0.0.0.0", PORT));
    app.run_until(node.stop_requested()).await
}

/// A client of each node of a role.
fn reach(node: &Node, role: &str, timeout: Duration) -> Vec<Client<Json>> {
    let fabric = Fabric::new(node.host());
    let client = |name: &String| {
        let builder = fabric.client_builder(role).timeout(timeout);
        builder.address(Json, Address::tcp(name, PORT))
    };
    node.peers(role).iter().map(client).collect()
}

async fn ask(node: Node) -> Result<()> {
    let asker = Arc::new(Asker {
        servers: reach(&node, "server", ASK_MAX),
        chosen: AtomicUsize::new(node.index()),
        node: node.clone(),
    });
    node.workload(move |operation| {
        let asker = Arc::clone(&asker);
        async move {
            let clock = &asker.node.host().clock;
            keeper::in_time(clock, &operation, asker.add()).await
        }
    })
    .await
}

/// A client, and the server it takes for the leader.
struct Asker {
    node: Node,
    servers: Vec<Client<Json>>,
    chosen: AtomicUsize,
}

impl Asker {
    /// Asks one server after another until one leads. An addition that may have been made is not
    /// asked for again.
    async fn add(&self) -> Result<Value> {
        loop {
            let chosen = self.chosen.load(Ordering::Relaxed);
            let place = chosen.checked_rem(self.servers.len());
            let server = place.map(|place| &self.servers[place]);
            let server = server.ok_or_else(|| Error::unavailable("there is no server"))?;
            let added = server.call(&ADD, 1).await;
            let error = match added {
                Ok(balance) => return Ok(json!({ "balance": balance })),
                Err(error) => error,
            };
            self.chosen.store(chosen + 1, Ordering::Relaxed);
            if error.kind() != Kind::FailedPrecondition {
                return Err(error);
            }
            self.node
                .host()
                .clock
                .sleep(Duration::from_millis(20))
                .await;
        }
    }
}

/// No two acknowledged additions come to the same balance.
fn no_addition_is_lost(trace: &Trace) -> Vec<Breach> {
    let mut balances = BTreeMap::new();
    let mut wrong = Vec::new();
    for (_, operation, outcome) in trace.outcomes() {
        let OperationOutcome::Ok { reply } = outcome else {
            continue;
        };
        let balance = reply["balance"].as_u64().unwrap_or(0);
        if let Some(other) = balances.insert(balance, operation) {
            let what =
                format!("operations {other} and {operation} both came to a balance of {balance}");
            wrong.push(Breach::of(what, [other, operation].map(Blame::Operation)));
        }
    }
    wrong
}
