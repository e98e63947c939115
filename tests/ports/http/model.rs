//! Any sequence of requests does to two nodes what it does to a plain model of one group, but for
//! the time that messages and answers are on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::Kind;
use nitro::broker::{
    Broker, Consumer, DEAD_REASON, Delivered, Message, Receipt, Reply, Request, Verdict,
};
use nitro::host::Host;
use nitro::registry::Registry;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{On, Setting, run, start};
use crate::broker::steps::{ATTEMPTS, BACKLOG, Step, VISIBLE, agree, group};

/// How long an answer is on its way, at the most.
const A_MOMENT: u64 = 10;

/// How long a pull waits: until what was put off comes back, and a node that was not asked for a
/// while is tried again.
const WAIT: u64 = 5_000;

#[derive(Debug)]
struct Entry {
    id: String,
    key: Option<&'static str>,
    attempts: u32,
    /// The delivery it is out with, none when it is put off; and until when.
    hold: Option<(Option<Receipt>, u64)>,
}

/// What is not done with, and what died.
#[derive(Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    dead: Vec<String>,
}

impl Model {
    /// Takes back what was out until a time, and buries what was out too often.
    fn settle_time(&mut self, now: u64) {
        let mut died = Vec::new();
        for (number, entry) in &mut self.entries {
            let Some((out, until)) = entry.hold else {
                continue;
            };
            if until <= now {
                entry.hold = None;
                if out.is_some() && entry.attempts >= ATTEMPTS {
                    died.push(*number);
                }
            }
        }
        for number in died {
            self.bury(number);
        }
    }

    fn bury(&mut self, number: u64) {
        let entry = self.entries.remove(&number).unwrap();
        self.dead.push(entry.id);
    }

    /// Whether the key of a message is free for it: those before it are done with.
    fn is_first(&self, number: u64) -> bool {
        let key = self.entries[&number].key;
        let mut before = self.entries.range(..number);
        key.is_none() || before.all(|(_, entry)| entry.key != key)
    }
}

struct Pair {
    host: Host,
    publisher: Broker,
    receiver: Broker,
    model: Model,
    published: Vec<Message>,
    receipts: Vec<Receipt>,
}

impl Pair {
    fn now(&self) -> u64 {
        self.host.clock.now().as_nanos() / 1_000_000
    }

    async fn pass(&mut self, ms: u64) {
        self.host.clock.sleep(Duration::from_millis(ms)).await;
        let now = self.now();
        self.model.settle_time(now);
    }

    async fn send(&self, message: &Message) -> nitro::Result<Reply> {
        let request = Request::Publish {
            messages: vec![message.clone()],
            wait_ms: 0,
        };
        self.publisher.ask(request).await
    }

    async fn publish(&mut self, key: Option<&'static str>) -> Result<(), TestCaseError> {
        // What the other node has said is heard meanwhile; what dies meanwhile counts as either.
        let moment = Duration::from_millis(A_MOMENT);
        self.host.clock.sleep(moment).await;
        let mut message = Message::new(&self.host, "t", "x");
        message.key = key.map(str::to_owned);
        let sent = self.send(&message).await;
        let now = self.now();
        self.model.settle_time(now.saturating_sub(A_MOMENT));
        let most = self.model.entries.len();
        self.model.settle_time(now);
        let least = self.model.entries.len();
        match sent {
            Ok(Reply::Published(number)) => {
                prop_assert!(least < BACKLOG, "{} waited", least);
                let entry = Entry {
                    id: message.id.clone(),
                    key,
                    attempts: 0,
                    hold: None,
                };
                prop_assert!(self.model.entries.insert(number, entry).is_none());
                self.published.push(message);
            }
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::ResourceExhausted);
                prop_assert!(most >= BACKLOG, "{} waited", most);
            }
        }
        Ok(())
    }

    async fn pull(&mut self, limit: usize) -> Result<usize, TestCaseError> {
        let delivered = pull(&self.receiver, "g", limit).await;
        let now = self.now();
        self.model.settle_time(now);
        if delivered.is_empty() {
            let waiting = &self.model.entries;
            prop_assert!(waiting.is_empty(), "{:?} did not come", waiting);
        }
        for one in &delivered {
            let number = one.receipt.number;
            let is_first = self.model.entries.contains_key(&number) && self.model.is_first(number);
            prop_assert!(is_first, "{} is done with, or its key is not free", number);
            let entry = self.model.entries.get_mut(&number).unwrap();
            prop_assert!(entry.hold.is_none(), "{} is {:?}", number, entry);
            entry.attempts += 1;
            prop_assert_eq!(one.attempt, entry.attempts);
            prop_assert_eq!(&one.message.id, &entry.id);
            entry.hold = Some((Some(one.receipt), now + VISIBLE));
            prop_assert!(!self.receipts.contains(&one.receipt));
            self.receipts.push(one.receipt);
        }
        Ok(delivered.len())
    }

    async fn settle(&mut self, which: usize, verdict: Verdict) -> Result<(), TestCaseError> {
        let Some(receipt) = self.receipts.iter().rev().nth(which).copied() else {
            return Ok(());
        };
        let settled = settle(&self.receiver, "g", receipt, verdict.clone()).await;
        let now = self.now();
        self.model.settle_time(now);
        let number = receipt.number;
        let entry = self.model.entries.get_mut(&number);
        let entry = entry.filter(|entry| entry.hold.is_some_and(|(held, _)| held == Some(receipt)));
        let Some(entry) = entry else {
            let kind = settled.unwrap_err().kind();
            prop_assert!(matches!(kind, Kind::NotFound | Kind::FailedPrecondition));
            return Ok(());
        };
        prop_assert!(settled.is_ok(), "{:?}", settled);
        match verdict {
            Verdict::Done => drop(self.model.entries.remove(&number)),
            Verdict::Failed { .. } if entry.attempts >= ATTEMPTS => self.model.bury(number),
            Verdict::Failed { delay_ms, .. } => entry.hold = Some((None, now + delay_ms)),
            Verdict::Returned { delay_ms } => {
                entry.attempts -= 1;
                entry.hold = Some((None, now + delay_ms));
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Publish(key) => self.publish(key).await?,
            Step::PublishAgain(which) => {
                if let Some(message) = self.published.get(which).cloned() {
                    // A full group refuses without looking at what it would get.
                    let sent = self.send(&message).await;
                    let kind = sent.err().map(|error| error.kind());
                    prop_assert!(matches!(kind, None | Some(Kind::ResourceExhausted)));
                }
            }
            Step::Pull(limit) => drop(self.pull(limit).await?),
            Step::Settle(which, verdict) => self.settle(which, verdict).await?,
            Step::Advance(ms) => self.pass(ms).await,
        }
        Ok(())
    }

    /// Handles all there is: everything comes once, and what died has a letter.
    async fn end(mut self) -> Result<(), TestCaseError> {
        self.pass(VISIBLE).await;
        let mut left: Vec<String> = self.model.entries.values().map(|e| e.id.clone()).collect();
        while self.pull(1).await? > 0 {
            let receipt = *self.receipts.last().unwrap();
            let id = self.model.entries[&receipt.number].id.clone();
            prop_assert!(left.contains(&id), "{} came twice", id);
            left.retain(|other| *other != id);
            self.settle(0, Verdict::Done).await?;
        }
        prop_assert!(left.is_empty(), "{:?} did not come", left);
        let mut letters = 0;
        loop {
            let delivered = pull(&self.receiver, "letters", 64).await;
            if delivered.is_empty() {
                break;
            }
            for letter in delivered {
                letters += 1;
                let done = settle(&self.receiver, "letters", letter.receipt, Verdict::Done).await;
                prop_assert!(done.is_ok(), "{:?}", done);
                let reason = letter.message.headers.get(DEAD_REASON);
                prop_assert!(reason.is_some_and(|reason| !reason.is_empty()));
            }
        }
        prop_assert_eq!(letters, self.model.dead.len());
        Ok(())
    }
}

async fn pull(from: &Broker, subscription: &str, limit: usize) -> Vec<Delivered> {
    let request = Request::Pull {
        subscription: subscription.to_owned(),
        limit,
        wait_ms: WAIT,
    };
    match from.ask(request).await.unwrap() {
        Reply::Pulled(pulled) => pulled.delivered,
        other => panic!("{other:?}"),
    }
}

async fn settle(
    at: &Broker,
    subscription: &str,
    receipt: Receipt,
    verdict: Verdict,
) -> nitro::Result<Reply> {
    let request = Request::Settle {
        subscription: subscription.to_owned(),
        receipt,
        verdict,
    };
    at.ask(request).await
}

async fn take(setting: &Setting, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let host = &setting.host;
    let registry = Registry::memory(host);
    let (publisher, receiver) = (start(host, &registry).await, start(host, &registry).await);
    let consumer = Consumer {
        dead_letter: Some("dead".to_owned()),
        ..group()
    };
    for (name, consumer) in [
        ("g", consumer),
        ("letters", Consumer::group("dead", "letters")),
    ] {
        let subscribe = Request::Subscribe {
            subscription: name.to_owned(),
            consumer,
        };
        receiver.broker().ask(subscribe).await.unwrap();
        publisher.knows(name).await;
    }
    let mut pair = Pair {
        host: host.clone(),
        publisher: publisher.broker(),
        receiver: receiver.broker(),
        model: Model::default(),
        published: Vec::new(),
        receipts: Vec::new(),
    };
    for step in steps {
        pair.step(step).await?;
    }
    pair.end().await
}

#[test]
fn a_broker_over_http_agrees_with_a_plain_model() {
    agree(|steps| {
        let mut outcome = Ok(());
        run(On::Memory, async |setting: Setting| {
            outcome = take(&setting, steps).await;
        });
        outcome
    });
}
