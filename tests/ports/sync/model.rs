//! Any sequence of requests does to leases what it does to a plain model.
//!
//! For each backend 200 sequences of 50 to 60 operations: 10,000 and more.

use std::collections::BTreeMap;
use std::time::Duration;

use nitro::Kind;
use nitro::host::Host;
use nitro::sync::{Leases, Reply, Request};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::{Backend, On, Open, Setting};

#[derive(Clone, Debug)]
enum Step {
    Acquire(&'static str, &'static str, u32, u64),
    Renew(&'static str, &'static str, u64),
    Release(&'static str, &'static str),
    Observe(&'static str),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop_oneof![Just("x"), Just("x/0000")];
    let owner = || prop_oneof![Just("a"), Just("b"), Just("c")];
    let ttl = || 10_u64..100;
    prop_oneof![
        4 => (name(), owner(), 1_u32..3, ttl())
            .prop_map(|(name, owner, permits, ttl)| Step::Acquire(name, owner, permits, ttl)),
        2 => (name(), owner(), ttl()).prop_map(|(name, owner, ttl)| Step::Renew(name, owner, ttl)),
        2 => (name(), owner()).prop_map(|(name, owner)| Step::Release(name, owner)),
        2 => name().prop_map(Step::Observe),
        2 => (0_u64..60).prop_map(Step::Advance),
    ]
}

/// Who holds what: token and end.
#[derive(Default)]
struct Model {
    now: u64,
    last: BTreeMap<&'static str, u64>,
    held: BTreeMap<&'static str, BTreeMap<&'static str, (u64, u64)>>,
}

impl Model {
    fn held(&mut self, name: &'static str) -> &mut BTreeMap<&'static str, (u64, u64)> {
        let now = self.now;
        let held = self.held.entry(name).or_default();
        held.retain(|_, (_, until)| *until > now);
        held
    }

    /// Takes in an answer, and compares it.
    fn acquired(
        &mut self,
        name: &'static str,
        owner: &'static str,
        (permits, until): (usize, u64),
        answer: Reply,
    ) -> Result<(), TestCaseError> {
        let last = self.last.get(name).copied().unwrap_or(0);
        let held = self.held(name);
        let own = held.get(owner).map(|(token, _)| *token);
        match (own, held.len() < permits) {
            (Some(token), _) => {
                prop_assert_eq!(answer, Reply::Granted(token));
                held.insert(owner, (token, until));
            }
            (None, false) => prop_assert_eq!(answer, Reply::Busy),
            (None, true) => {
                let Reply::Granted(token) = answer else {
                    return Err(TestCaseError::fail("it was free"));
                };
                prop_assert!(token > last, "{} after {}", token, last);
                held.insert(owner, (token, until));
                self.last.insert(name, token);
            }
        }
        Ok(())
    }

    /// The error of someone who does not hold.
    fn refusal(&mut self, name: &'static str, owner: &str) -> Option<Kind> {
        let held = self.held(name);
        match (held.contains_key(owner), held.is_empty()) {
            (true, _) => None,
            (false, true) => Some(Kind::NotFound),
            (false, false) => Some(Kind::FailedPrecondition),
        }
    }
}

async fn agree(leases: &Leases, host: &Host, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let kind = |asked: &nitro::Result<Reply>| asked.as_ref().err().map(nitro::Error::kind);
    for step in steps {
        match step {
            Step::Acquire(name, owner, permits, ttl_ms) => {
                let until = model.now + ttl_ms;
                let request = Request::Acquire {
                    name: name.to_owned(),
                    owner: owner.to_owned(),
                    note: owner.to_owned(),
                    permits,
                    ttl_ms,
                    wait_ms: 0,
                };
                let answer = leases.ask(request).await.unwrap();
                model.acquired(name, owner, (permits as usize, until), answer)?;
            }
            Step::Renew(name, owner, ttl_ms) => {
                let request = Request::Renew {
                    name: name.to_owned(),
                    owner: owner.to_owned(),
                    ttl_ms,
                };
                let answer = leases.ask(request).await;
                prop_assert_eq!(kind(&answer), model.refusal(name, owner));
                let until = model.now + ttl_ms;
                if let Some(held) = model.held(name).get_mut(owner) {
                    held.1 = until;
                }
            }
            Step::Release(name, owner) => {
                let request = Request::Release {
                    name: name.to_owned(),
                    owner: owner.to_owned(),
                };
                let answer = leases.ask(request).await;
                prop_assert_eq!(kind(&answer), model.refusal(name, owner));
                model.held(name).remove(owner);
            }
            Step::Observe(name) => {
                let seen = leases.observe(name, &[], Duration::ZERO).await.unwrap();
                let seen = seen.into_iter();
                let seen: Vec<(u64, String, u64)> = seen
                    .map(|holder| (holder.token, holder.note, holder.left_ms))
                    .collect();
                let now = model.now;
                let held = model.held(name).iter();
                let mut expected: Vec<(u64, String, u64)> = held
                    .map(|(owner, (token, until))| (*token, (*owner).to_owned(), until - now))
                    .collect();
                expected.sort();
                prop_assert_eq!(seen, expected);
            }
            Step::Advance(ms) => {
                host.clock.sleep(Duration::from_millis(ms)).await;
                model.now += ms;
            }
        }
    }
    Ok(())
}

fn agrees(backend: Backend) {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 50..60);
    let ran = TestRunner::new(config).run(&steps, |steps| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut setting = Setting::new(On::Memory);
            let leases = backend.open(&mut setting).await;
            agree(&leases, &setting.host, steps).await
        })
    });
    ran.unwrap();
}

#[test]
fn leases_in_memory_agree_with_a_plain_model() {
    agrees(Backend::Memory);
}

#[test]
fn leases_in_a_store_agree_with_a_plain_model() {
    agrees(Backend::StoredInMemory);
}

#[test]
fn leases_in_a_file_agree_with_a_plain_model() {
    agrees(Backend::StoredInFile);
}

#[test]
fn remote_leases_agree_with_a_plain_model() {
    agrees(Backend::Remote);
}
