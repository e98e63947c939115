//! Any sequence of requests does to a broker what it does to a plain model of one group.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::Kind;
use nitro::broker::{Broker, Message, Pulled, Receipt, Reply, Request, Verdict};
use nitro::host::Host;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::steps::{ATTEMPTS, BACKLOG, Step, VISIBLE, agree, group};
use super::{Backend, On, Open, Setting};

#[derive(Debug)]
struct Entry {
    id: String,
    key: Option<&'static str>,
    attempts: u32,
    /// The delivery it is out with, none when it is put off; and until when.
    hold: Option<(Option<Receipt>, u64)>,
}

#[derive(Default)]
struct Model {
    now: u64,
    dead: u64,
    entries: BTreeMap<u64, Entry>,
}

impl Model {
    fn settle_time(&mut self) {
        let now = self.now;
        for entry in self.entries.values_mut() {
            if entry.hold.is_some_and(|(_, until)| until <= now) {
                entry.hold = None;
            }
        }
    }

    /// The numbers that a pull delivers, after those that die have died.
    fn pull(&mut self, limit: usize) -> Vec<u64> {
        self.settle_time();
        let before = self.entries.len();
        let is_dead = |entry: &Entry| entry.hold.is_none() && entry.attempts >= ATTEMPTS;
        self.entries.retain(|_, entry| !is_dead(entry));
        self.dead += (before - self.entries.len()) as u64;
        let mut keys = Vec::new();
        let mut pulled = Vec::new();
        for (number, entry) in &self.entries {
            if let Some(key) = entry.key {
                if keys.contains(&key) {
                    continue;
                }
                keys.push(key);
            }
            if entry.hold.is_none() && pulled.len() < limit {
                pulled.push(*number);
            }
        }
        pulled
    }
}

struct Pair {
    broker: Broker,
    host: Host,
    model: Model,
    published: Vec<Message>,
    receipts: Vec<Receipt>,
}

impl Pair {
    async fn publish(&mut self, key: Option<&'static str>) -> Result<(), TestCaseError> {
        let mut message = Message::new(&self.host, "t", "x");
        message.key = key.map(str::to_owned);
        let id = message.id.clone();
        let request = Request::Publish {
            messages: vec![message.clone()],
            wait_ms: 0,
        };
        match self.broker.ask(request).await {
            Ok(Reply::Published(number)) => {
                let entry = Entry {
                    id,
                    key,
                    attempts: 0,
                    hold: None,
                };
                let before = self.model.entries.insert(number, entry);
                prop_assert!(before.is_none());
                self.published.push(message);
                prop_assert!(self.model.entries.len() <= BACKLOG);
            }
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::ResourceExhausted);
                // What has been delivered too often dies when it is noticed: at a pull at the latest.
                prop_assert!(self.model.entries.len() >= BACKLOG);
            }
        }
        Ok(())
    }

    async fn pull(&mut self, limit: usize) -> Result<(), TestCaseError> {
        let request = Request::Pull {
            subscription: "g".to_owned(),
            limit,
            wait_ms: 0,
        };
        let Reply::Pulled(pulled) = self.broker.ask(request).await.unwrap() else {
            return Err(TestCaseError::fail("no pull"));
        };
        let Pulled {
            delivered,
            dropped,
            dead,
        } = pulled;
        let numbers: Vec<u64> = delivered.iter().map(|one| one.receipt.number).collect();
        prop_assert_eq!(numbers, self.model.pull(limit));
        prop_assert_eq!((dropped, dead), (0, self.model.dead));
        for one in delivered {
            let until = self.model.now + VISIBLE;
            let entry = self.model.entries.get_mut(&one.receipt.number).unwrap();
            entry.attempts += 1;
            prop_assert_eq!(one.attempt, entry.attempts);
            prop_assert_eq!(&one.message.id, &entry.id);
            entry.hold = Some((Some(one.receipt), until));
            prop_assert!(!self.receipts.contains(&one.receipt));
            self.receipts.push(one.receipt);
        }
        Ok(())
    }

    async fn settle(&mut self, which: usize, verdict: Verdict) -> Result<(), TestCaseError> {
        let Some(receipt) = self.receipts.iter().rev().nth(which).copied() else {
            return Ok(());
        };
        let request = Request::Settle {
            subscription: "g".to_owned(),
            receipt,
            verdict: verdict.clone(),
        };
        let settled = self.broker.ask(request).await;
        self.model.settle_time();
        let number = receipt.number;
        let now = self.model.now;
        let entry = self.model.entries.get_mut(&number);
        let is_out = |entry: &Entry| entry.hold.is_some_and(|(held, _)| held == Some(receipt));
        match entry {
            Some(entry) if is_out(entry) => {
                prop_assert!(settled.is_ok(), "{:?}", settled);
                let put_off = |delay| (delay > 0).then_some((None, now + delay));
                match verdict {
                    Verdict::Done => drop(self.model.entries.remove(&number)),
                    Verdict::Failed { .. } if entry.attempts >= ATTEMPTS => {
                        self.model.entries.remove(&number);
                        self.model.dead += 1;
                    }
                    Verdict::Failed { delay_ms, .. } => entry.hold = put_off(delay_ms),
                    Verdict::Returned { delay_ms } => {
                        entry.attempts -= 1;
                        entry.hold = put_off(delay_ms);
                    }
                }
            }
            Some(entry) => {
                let kind = settled.unwrap_err().kind();
                // One that is dead and not noticed so far may be either.
                let is_dying = entry.hold.is_none() && entry.attempts >= ATTEMPTS;
                let may = kind == Kind::FailedPrecondition || is_dying && kind == Kind::NotFound;
                prop_assert!(may, "{:?}", kind);
            }
            None => prop_assert_eq!(settled.unwrap_err().kind(), Kind::NotFound),
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(key) => {
                // The model's dead are noticed first, as some brokers do by themselves.
                self.pull(1).await?;
                self.publish(key).await
            }
            Step::PublishAgain(which) => {
                let Some(message) = self.published.get(which).cloned() else {
                    return Ok(());
                };
                let request = Request::Publish {
                    messages: vec![message],
                    wait_ms: 0,
                };
                // A full group refuses without looking at what it would get.
                if let Err(error) = self.broker.ask(request).await {
                    prop_assert_eq!(error.kind(), Kind::ResourceExhausted);
                }
                Ok(())
            }
            Step::Pull(limit) => self.pull(limit).await,
            Step::Settle(which, verdict) => self.settle(which, verdict).await,
            Step::Advance(ms) => {
                self.host.clock.sleep(Duration::from_millis(ms)).await;
                self.model.now += ms;
                Ok(())
            }
        }
    }
}

fn agrees(backend: Backend) {
    agree(|steps| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut setting = Setting::new(On::Memory);
            let broker = backend.open(&mut setting).await;
            let subscribe = Request::Subscribe {
                subscription: "g".to_owned(),
                consumer: group(),
            };
            broker.ask(subscribe).await.unwrap();
            let mut pair = Pair {
                broker,
                host: setting.host.clone(),
                model: Model::default(),
                published: Vec::new(),
                receipts: Vec::new(),
            };
            for step in steps {
                pair.step(step).await?;
            }
            Ok(())
        })
    });
}

#[test]
fn a_broker_in_memory_agrees_with_a_plain_model() {
    agrees(Backend::Memory);
}

#[test]
fn a_broker_in_a_store_agrees_with_a_plain_model() {
    agrees(Backend::StoredInMemory);
}

#[test]
fn a_broker_in_a_file_agrees_with_a_plain_model() {
    agrees(Backend::StoredInFile);
}

#[test]
fn a_remote_broker_agrees_with_a_plain_model() {
    agrees(Backend::Remote);
}
