//! What has come for the subscriptions of this node: it waits to be pulled, and its publisher
//! waits for what becomes of it. Nothing here outlives its request: a message is its publisher's
//! until it is done with.

mod state;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use self::state::Arrival;
use self::state::State;
use crate::broker::{Consumer, PRIVATE_TTL, Pulled, Receipt, Verdict};
use crate::error::Result;
use crate::host::Clock;
use crate::latest;
use crate::time::Instant;

/// How long a message waits to be pulled before its publisher is told to try another member.
pub(super) const TAKE_WAIT: Duration = Duration::from_secs(1);

/// What became of a message that was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A member has said what became of it.
    Settled(Verdict),
    /// It was acknowledged here before.
    Known,
    /// Nobody here has taken it, and why.
    NotTaken(&'static str),
    /// Nobody here subscribes so.
    NoSubscription,
    /// A member has taken it and said nothing in time.
    Silence,
}

/// The inbox of a node.
pub(super) struct Inbox {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes those who pull.
    changed: latest::Sender<()>,
}

/// One who pulls, for as long as it waits.
struct Pulling<'a> {
    inbox: &'a Inbox,
    subscription: &'a str,
}

impl Drop for Pulling<'_> {
    fn drop(&mut self) {
        let now = self.inbox.clock.now();
        self.inbox.lock(now).pulling(self.subscription, now, -1);
    }
}

impl Inbox {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            state: Mutex::default(),
            changed: latest::Sender::new(()),
        }
    }

    fn lock(&self, now: Instant) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().expect("no panic while the inbox is held");
        state.expire(now);
        state
    }

    /// Takes messages for a subscription from now on.
    pub(super) fn open(&self, subscription: &str, consumer: &Consumer) {
        let now = self.clock.now();
        self.lock(now).open(subscription, consumer, now);
    }

    /// Takes none any more, and forgets what was acknowledged.
    pub(super) fn close(&self, subscription: &str) -> bool {
        let was_open = self.lock(self.clock.now()).close(subscription);
        self.changed.set(());
        was_open
    }

    /// Takes none any more for those who have not pulled for a while; answers who they are.
    pub(super) fn close_idle(&self) -> Vec<String> {
        let now = self.clock.now();
        self.lock(now).close_idle(now, PRIVATE_TTL)
    }

    /// Hands in a message; answers when it is known what became of it.
    pub(super) async fn receive(&self, arrival: Arrival) -> Outcome {
        let now = self.clock.now();
        let subscription = arrival.about.subscription.clone();
        let (taken, verdict, id) = {
            let mut state = self.lock(now);
            let (taken_sender, taken) = oneshot::channel();
            let (verdict_sender, verdict) = oneshot::channel();
            match state.arrive(arrival, taken_sender, verdict_sender) {
                Ok(id) => (taken, verdict, id),
                Err(outcome) => return outcome,
            }
        };
        self.changed.set(());
        let until = match self.clock.timeout(TAKE_WAIT, taken).await {
            Ok(Ok(until)) => until,
            Ok(Err(_)) => return Outcome::NotTaken("it was taken back"),
            Err(_) => {
                let mut state = self.lock(self.clock.now());
                match state.take_back(&subscription, id) {
                    true => return Outcome::NotTaken("nobody here asked for it in time"),
                    // It was taken at the last moment.
                    false => self.clock.now() + state.visibility(&subscription),
                }
            }
        };
        match self.clock.timeout_at(until, verdict).await {
            Ok(Ok(verdict)) => Outcome::Settled(verdict),
            Ok(Err(_)) | Err(_) => Outcome::Silence,
        }
    }

    /// The next messages of a subscription, waiting for one until a time.
    pub(super) async fn pull(
        &self,
        subscription: &str,
        limit: usize,
        until: Instant,
    ) -> Result<Pulled> {
        let mut changed = self.changed.subscribe();
        let now = self.clock.now();
        self.lock(now).pulling(subscription, now, 1);
        let _pulling = Pulling {
            inbox: self,
            subscription,
        };
        loop {
            // Marked as seen before looking, so that no message falls in between.
            changed.mark_seen();
            let now = self.clock.now();
            let pulled = self.lock(now).pull(subscription, limit, now)?;
            if !pulled.delivered.is_empty() || now >= until {
                return Ok(pulled);
            }
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    /// Says what became of a message.
    pub(super) fn settle(
        &self,
        subscription: &str,
        receipt: Receipt,
        verdict: Verdict,
    ) -> Result<()> {
        let now = self.clock.now();
        self.lock(now).settle(subscription, receipt, verdict)
    }
}
