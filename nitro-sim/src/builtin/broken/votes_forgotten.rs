//! A voter that was restarted does not know that it has voted, and votes again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::Router;
use nitro::store::{Sync, Table};
use nitro::time::Instant;
use nitro::{Client, Method};
use serde_json::json;
use tokio::sync::Mutex;

use super::service::{is_broken, reach, serve, with};
use crate::builtin::keeper;
use crate::system::{Node, System};

/// Asks for a vote: the term, and who stands. The answer is the voter's term, and whether it is
/// for that candidate.
const VOTE: Method<(u64, String), (u64, bool)> = Method::unary("voter/vote");
/// Says who leads in a term; answers the voter's term.
const LEAD: Method<u64, u64> = Method::unary("voter/lead");

/// How often a leader says so, and how long after the last word of it others wait at least.
const SAY: Duration = Duration::from_millis(100);
const SILENCE: Duration = Duration::from_millis(400);

pub(super) fn system() -> System {
    System::new("votes_forgotten")
        .role("voter", stand)
        .one_leader_per_term("leads")
}

/// The term, and who has this voter's vote in it.
#[derive(Clone, Default)]
struct Ballot {
    term: u64,
    vote: String,
}

#[derive(Clone)]
struct Voter {
    node: Node,
    table: Table,
    others: Arc<Vec<Client<Json>>>,
    /// The ballot, and until when nobody is to stand.
    state: Arc<Mutex<(Ballot, Instant)>>,
    is_broken: bool,
}

async fn stand(node: Node) -> Result<()> {
    let others = node
        .peers("voter")
        .iter()
        .filter(|name| *name != node.name());
    let voter = Voter {
        table: keeper::open(&node, Sync::Always)
            .await?
            .store
            .table("voter", "ballot"),
        others: Arc::new(
            others
                .map(|name| reach(&node, name).timeout(SILENCE))
                .collect(),
        ),
        state: Arc::new(Mutex::new((Ballot::default(), Instant::ORIGIN))),
        is_broken: is_broken(&node)?,
        node: node.clone(),
    };
    if let Some(found) = voter.table.read("ballot").await? {
        let text = String::from_utf8_lossy(&found.value).into_owned();
        let (term, vote) = text.split_once(' ').unwrap_or(("0", ""));
        let (term, vote) = (term.parse().unwrap_or(0), vote.to_owned());
        voter.state.lock().await.0 = Ballot { term, vote };
    }
    let standing = voter.clone();
    let standing = async move { standing.campaign().await };
    let standing = node.host().tasks.spawn("campaign", Box::pin(standing));
    let _standing = standing.abort_on_drop();
    let router =
        Router::new()
            .unary(&VOTE, Json, with(&voter, vote))
            .unary(&LEAD, Json, with(&voter, heed));
    serve(&node, router).await
}

async fn vote(voter: Voter, (term, candidate): (u64, String)) -> Result<(u64, bool)> {
    let mut state = voter.state.lock().await;
    if term > state.0.term {
        let ballot = Ballot {
            term,
            vote: candidate.clone(),
        };
        voter.save(&ballot).await?;
        *state = (ballot, voter.later());
    }
    let ballot = &state.0;
    Ok((ballot.term, ballot.term == term && ballot.vote == candidate))
}

async fn heed(voter: Voter, term: u64) -> Result<u64> {
    let mut state = voter.state.lock().await;
    if term >= state.0.term {
        state.1 = voter.later();
    }
    Ok(state.0.term)
}

impl Voter {
    async fn save(&self, ballot: &Ballot) -> Result<()> {
        // The bug: a vote that is in memory alone was never given, after a restart.
        if self.is_broken {
            return Ok(());
        }
        let text = format!("{} {}", ballot.term, ballot.vote);
        self.table.write("ballot", text).await.map(drop)
    }

    /// When to stand if nothing is heard: each at another time.
    fn later(&self) -> Instant {
        let host = self.node.host();
        let wait = Duration::from_millis(host.entropy.next_u64() % 400);
        host.clock.now() + SILENCE + wait
    }

    async fn campaign(&self) {
        let clock = &self.node.host().clock;
        self.state.lock().await.1 = self.later();
        loop {
            let until = self.state.lock().await.1;
            if clock.now() < until {
                clock.sleep_until(until).await;
                continue;
            }
            if let Ok(Some(term)) = self.ask_for_votes().await {
                self.lead(term).await;
            }
            self.state.lock().await.1 = self.later();
        }
    }

    /// The term in which most are for this voter, if they are.
    async fn ask_for_votes(&self) -> Result<Option<u64>> {
        let (me, term) = (
            self.node.name().to_owned(),
            self.state.lock().await.0.term + 1,
        );
        let own = vote(self.clone(), (term, me.clone())).await?;
        let asked = self
            .others
            .iter()
            .map(|other| other.call(&VOTE, (term, me.clone())));
        let answers: Vec<(u64, bool)> = join_all(asked).await.into_iter().flatten().collect();
        let votes = answers.iter().filter(|(_, is_mine)| *is_mine).count() + usize::from(own.1);
        let greatest = answers.iter().map(|(term, _)| *term).max().unwrap_or(0);
        if greatest > term {
            // Somebody is further: the next attempt is made in a later term than that.
            vote(self.clone(), (greatest, String::new())).await?;
        }
        Ok((votes * 2 > self.others.len() + 1).then_some(term))
    }

    /// Leads for as long as nobody knows of a later term.
    async fn lead(&self, term: u64) {
        loop {
            self.node.note("leads", json!({ "term": term }));
            let said = self.others.iter().map(|other| other.call(&LEAD, term));
            let heard: Vec<u64> = join_all(said).await.into_iter().flatten().collect();
            let own = self.state.lock().await.0.term;
            if heard.iter().any(|other| *other > term) || own > term {
                return;
            }
            self.node.host().clock.sleep(SAY).await;
        }
    }
}
