//! A register on five replicas without a leader, after Attiya, Bar-Noy and Dolev: whatever is
//! written is on most of them, and whoever reads asks most of them.
//!
//! Two bugs: `quorum_of_one` acknowledges a write when the first replica has it, and
//! `quorum_reads_once` does not write back what it has read.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::rpc::Router;
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve, with, work};
use crate::check::model::Register;
use crate::system::{Node, Operation, System};

/// A value and its stamp: a number, and for two with the same number who wrote it.
type Stamped = ((u64, u64), Option<u64>);

const LOOK: Method<(), Stamped> = Method::unary("replica/look");
const STORE: Method<Stamped, ()> = Method::unary("replica/store");

pub(super) fn of_one() -> System {
    named("quorum_of_one", Bug::AckedByOne)
}

pub(super) fn reads_once() -> System {
    named("quorum_reads_once", Bug::ReadOnce)
}

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    AckedByOne,
    ReadOnce,
}

fn named(name: &str, bug: Bug) -> System {
    System::new(name)
        .role("replica", hold)
        .role("client", move |node| ask(node, bug))
        .operation("read")
        .operation("write")
        .linearizable(Register)
}

type Held = Arc<Mutex<Stamped>>;

async fn hold(node: Node) -> Result<()> {
    let held = Held::default();
    let router =
        Router::new()
            .unary(&LOOK, Json, with(&held, look))
            .unary(&STORE, Json, with(&held, store));
    serve(&node, router).await
}

async fn look(held: Held, (): ()) -> Result<Stamped> {
    Ok(*held.lock().expect("no panic while it is held"))
}

async fn store(held: Held, new: Stamped) -> Result<()> {
    let mut held = held.lock().expect("no panic while it is held");
    if new.0 > held.0 {
        *held = new;
    }
    Ok(())
}

#[derive(Clone)]
struct Asker {
    replicas: Vec<Client<Json>>,
    /// The bug, in the broken form.
    bug: Option<Bug>,
}

async fn ask(node: Node, bug: Bug) -> Result<()> {
    let replicas = node.peers("replica").iter();
    let asker = Asker {
        replicas: replicas.map(|name| reach(&node, name)).collect(),
        bug: is_broken(&node)?.then_some(bug),
    };
    work(&node, asker, make).await
}

async fn make(asker: Asker, operation: Operation) -> Result<Value> {
    let newest = asker.look().await?;
    if operation.name == "write" {
        // No two operations have one value, so no two writes have one stamp.
        let stamp = (newest.0.0 + 1, operation.value);
        asker.store((stamp, Some(operation.value))).await?;
        return Ok(json!(true));
    }
    // The bug: who reads next may ask others, and be told what was there before.
    if asker.bug != Some(Bug::ReadOnce) {
        asker.store(newest).await?;
    }
    Ok(json!(newest.1))
}

impl Asker {
    fn most(&self) -> usize {
        self.replicas.len() / 2 + 1
    }

    /// The newest value that most replicas know of.
    async fn look(&self) -> Result<Stamped> {
        let asked = self.replicas.iter().map(|replica| replica.call(&LOOK, ()));
        let answers = first(asked, self.most()).await?;
        Ok(answers.into_iter().max().unwrap_or_default())
    }

    async fn store(&self, new: Stamped) -> Result<()> {
        let needed = match self.bug {
            // The bug: the one that has it may be the one that nobody asks next.
            Some(Bug::AckedByOne) => 1,
            _ => self.most(),
        };
        let told = self
            .replicas
            .iter()
            .map(|replica| replica.call(&STORE, new));
        first(told, needed).await.map(drop)
    }
}

/// The first so many answers; an error when too few succeed.
async fn first<T, F>(asked: impl Iterator<Item = F>, needed: usize) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let mut asked: FuturesUnordered<F> = asked.collect();
    let mut answers = Vec::new();
    while let Some(answer) = asked.next().await {
        answers.extend(answer);
        if answers.len() == needed {
            return Ok(answers);
        }
    }
    Err(Error::unavailable("too few replicas answered"))
}
