//! What the tests of the registry's tasks share: a registry that goes away and comes back.

use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::*;
use crate::host::entropy::Sequence;

/// A registry behind a connection that a test can break in every way.
#[derive(Clone)]
pub(super) struct Fickle {
    pub(super) host: Host,
    state: Arc<State>,
}

struct State {
    behind: Mutex<Registry>,
    away: AtomicBool,
    silent: AtomicBool,
    calls: AtomicUsize,
}

impl Fickle {
    pub(super) fn new() -> Self {
        let mut host = crate::host::memory::Machine::new().host("registry");
        host.entropy = Arc::new(Sequence::from_seed(1));
        let state = State {
            behind: Mutex::new(Registry::memory(&host)),
            away: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
        };
        let state = Arc::new(state);
        Self { host, state }
    }

    /// The registry as its users reach it.
    pub(super) fn registry(&self) -> Registry {
        let fickle = self.clone();
        Registry::new(tower::service_fn(move |call: Call<Request>| {
            let fickle = fickle.clone();
            async move {
                fickle.state.calls.fetch_add(1, Ordering::Relaxed);
                if fickle.state.silent.load(Ordering::Relaxed) {
                    pending::<()>().await;
                }
                if fickle.state.away.load(Ordering::Relaxed) {
                    return Err(Error::unavailable("connection refused"));
                }
                let answer = fickle.behind().0.call(call).await;
                match fickle.state.away.load(Ordering::Relaxed) {
                    true => Err(Error::unavailable("connection reset")),
                    false => answer,
                }
            }
        }))
    }

    /// The registry as it is, whether or not it can be reached.
    pub(super) fn behind(&self) -> Registry {
        self.state.behind.lock().unwrap().clone()
    }

    /// Questions that were asked, answered or not.
    pub(super) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    pub(super) fn set_away(&self, away: bool) {
        self.state.away.store(away, Ordering::Relaxed);
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::Relaxed);
    }

    /// The registry comes back knowing nobody.
    pub(super) fn restart(&self) {
        *self.state.behind.lock().unwrap() = Registry::memory(&self.host);
    }
}

#[cfg(feature = "json")]
#[test]
fn requests_and_replies_are_plain_data() {
    let node = Node::new("greeter", "a", crate::Address::tcp("10.0.0.7", 4000));
    let request = Request::Register {
        node: node.clone(),
        ttl_ms: 30_000,
    };
    let text = serde_json::to_string(&request).unwrap();
    let expected = r#"{"register":{"node":{"id":"a","service":"greeter","version":"","address":"10.0.0.7:4000","labels":{},"weight":1},"ttl_ms":30000}}"#;
    assert_eq!(text, expected);
    assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);

    let revision = Revision {
        epoch: 7,
        number: 1,
    };
    let kind = ChangeKind::Down(DownReason::Expired);
    let changes = vec![Change {
        revision,
        kind,
        node,
    }];
    let reply = Reply::Watched(Watched::Changes { changes, revision });
    let text = serde_json::to_string(&reply).unwrap();
    assert!(text.contains(r#""kind":{"down":"expired"}"#), "{text}");
    assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
}
