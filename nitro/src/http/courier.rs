//! One who takes the messages of one subscription from the outbox to its members, and tells the
//! outbox what became of them.

mod attempt;
mod windows;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use self::attempt::{PATIENCE, Tried, deliver};
use self::windows::Windows;
use super::client::Client;
use super::event::About;
use super::inbox::{Inbox, TAKE_WAIT};
use super::members::Member;
use crate::broker::{
    Broker, Consumer, NAME_BYTES_MAX, PRIVATE_TTL, Pulled, Receipt, Reply, Request, Verdict,
};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::latest;
use crate::layer::RetryPolicy;
use crate::port::millis;

/// How long one question to the outbox waits.
const WAIT: Duration = Duration::from_secs(20);

/// How many messages are asked for at a time.
const PULLED_MAX: usize = 16;

/// How much longer than it is on its way a message is left alone by the outbox.
const MARGIN: Duration = Duration::from_secs(3);

/// How often the outbox hears that the subscription is still there: it forgets one that says
/// nothing for [`PRIVATE_TTL`].
const KEEP_EVERY: Duration = Duration::from_secs(PRIVATE_TTL.as_secs() / 4);

/// Messages of which it is remembered who has failed to handle them.
const REMEMBERED_MAX: usize = 1_000;

/// How it tries again when the outbox or a member is away, and when a handler fails: often enough
/// that who begins to ask again need not wait for long.
pub(super) const BACKOFF: RetryPolicy = RetryPolicy {
    attempts_max: u32::MAX,
    backoff_first: Duration::from_millis(100),
    backoff_multiplier: 2.0,
    backoff_max: Duration::from_secs(1),
    jitter: 0.2,
};

/// What all couriers of a node share.
pub(super) struct Carrying {
    pub(super) host: Host,
    pub(super) outbox: Broker,
    pub(super) client: Client,
    pub(super) inbox: Inbox,
    /// The id of this node, with which its messages are signed.
    pub(super) node: Arc<str>,
}

/// The terms on which the outbox holds what is for a subscription: as those that were asked for,
/// but that it forgets it when nobody says that it is still there, and waits for as long as a
/// message may be on its way.
pub(super) fn terms(consumer: &Consumer) -> Consumer {
    let visible = Duration::from_millis(consumer.visibility_ms);
    let most = Duration::from_secs(60 * 60);
    let visible = (visible + TAKE_WAIT + PATIENCE + MARGIN).min(most);
    Consumer {
        group: None,
        visibility_ms: millis(visible),
        ..consumer.clone()
    }
}

/// Asks the outbox to hold what is for a subscription, from now on or for longer.
///
/// # Errors
///
/// What the outbox says.
pub(super) async fn hold(outbox: &Broker, name: &str, consumer: &Consumer) -> Result<()> {
    let request = Request::Subscribe {
        subscription: name.to_owned(),
        consumer: terms(consumer),
    };
    outbox.ask(request).await.map(drop)
}

/// One subscription's courier.
pub(super) struct Courier {
    carrying: Arc<Carrying>,
    name: Arc<str>,
    consumer: Consumer,
    members: latest::Receiver<Arc<Vec<Member>>>,
    windows: Windows,
    /// Who has failed to handle a message: another is tried next.
    failed: BTreeMap<u64, Arc<str>>,
    failures: u32,
}

type Trying = Pin<Box<dyn Future<Output = (Receipt, Member, Tried)> + Send>>;
type Pulling = Pin<Box<dyn Future<Output = Result<Pulled>> + Send>>;

impl Courier {
    pub(super) fn new(
        carrying: &Arc<Carrying>,
        name: &str,
        consumer: &Consumer,
        members: latest::Receiver<Arc<Vec<Member>>>,
    ) -> Self {
        Self {
            carrying: Arc::clone(carrying),
            name: name.into(),
            consumer: consumer.clone(),
            members,
            windows: Windows::default(),
            failed: BTreeMap::new(),
            failures: 0,
        }
    }

    /// Carries messages until it is aborted.
    pub(super) async fn run(mut self) {
        let clock = Arc::clone(&self.carrying.host.clock);
        let mut trying: FuturesUnordered<Trying> = FuturesUnordered::new();
        let mut pulling: Option<Pulling> = None;
        let mut keep_at = clock.now() + KEEP_EVERY;
        loop {
            // Marked as seen before looking, so that no change falls in between.
            self.members.mark_seen();
            let members = self.members.get();
            self.windows.follow(&members);
            let now = clock.now();
            let room = self.windows.room(now).min(PULLED_MAX);
            if pulling.is_none() && room > 0 {
                pulling = Some(self.pull(room));
            }
            let wake_at = self
                .windows
                .next_change(now)
                .map_or(keep_at, |at| at.min(keep_at));
            tokio::select! {
                biased;
                Some((receipt, member, tried)) = trying.next(), if !trying.is_empty() => {
                    self.settle(receipt, &member, tried).await;
                }
                pulled = async { pulling.as_mut().expect("it is checked").await },
                    if pulling.is_some() => {
                    pulling = None;
                    self.take(pulled, &mut trying).await;
                }
                _ = self.members.changed() => {}
                () = clock.sleep_until(wake_at) => {}
            }
            if clock.now() >= keep_at {
                keep_at = clock.now() + KEEP_EVERY;
                if let Err(error) = hold(&self.carrying.outbox, &self.name, &self.consumer).await {
                    tracing::warn!(subscription = &*self.name, %error, "the outbox is away");
                }
            }
        }
    }

    fn pull(&self, limit: usize) -> Pulling {
        let request = Request::Pull {
            subscription: self.name.to_string(),
            limit,
            wait_ms: millis(WAIT),
        };
        let outbox = self.carrying.outbox.clone();
        Box::pin(async move {
            match outbox.ask(request).await? {
                Reply::Pulled(pulled) => Ok(pulled),
                other => Err(Error::internal(format!("broker: a pull got {other:?}"))),
            }
        })
    }

    /// Sends what was pulled on its way.
    async fn take(&mut self, pulled: Result<Pulled>, trying: &mut FuturesUnordered<Trying>) {
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::warn!(subscription = &*self.name, %error, "the outbox is away");
                self.failures += 1;
                let Carrying { host, outbox, .. } = &*self.carrying;
                let wait = BACKOFF.backoff(self.failures, &*host.entropy);
                host.clock.sleep(wait).await;
                // It may have forgotten the subscription meanwhile.
                let _ = hold(outbox, &self.name, &self.consumer).await;
                return;
            }
        };
        self.failures = 0;
        let (dropped, dead) = (pulled.dropped, pulled.dead);
        for delivered in pulled.delivered {
            let receipt = delivered.receipt;
            let now = self.carrying.host.clock.now();
            let avoid = self.failed.get(&receipt.number);
            let Some(member) = self.windows.choose(receipt, now, avoid) else {
                // All have gone since it was asked for.
                let delay_ms = 0;
                self.tell(receipt, Verdict::Returned { delay_ms }).await;
                continue;
            };
            let about = About {
                subscription: self.name.to_string(),
                source: self.carrying.node.to_string(),
                number: receipt.number,
                attempt: delivered.attempt,
                dropped,
                dead,
            };
            let carrying = Arc::clone(&self.carrying);
            let consumer = self.consumer.clone();
            trying.push(Box::pin(async move {
                let tried = deliver(&carrying, &consumer, &member, delivered, about).await;
                (receipt, member, tried)
            }));
        }
    }

    /// Tells the outbox what became of a message, and remembers what it says of the member.
    async fn settle(&mut self, receipt: Receipt, member: &Member, tried: Tried) {
        let Host { clock, entropy, .. } = &self.carrying.host;
        let now = clock.now();
        self.failed.remove(&receipt.number);
        let verdict = match tried {
            Tried::Done => {
                self.windows.went_well(&member.id, receipt);
                Verdict::Done
            }
            Tried::Failed { reason, delay } => {
                self.windows.ended(&member.id, receipt);
                if self.failed.len() >= REMEMBERED_MAX {
                    self.failed.pop_first();
                }
                self.failed.insert(receipt.number, Arc::clone(&member.id));
                let delay_ms = millis(delay.unwrap_or(BACKOFF.backoff_first));
                let reason = cut(reason);
                Verdict::Failed { reason, delay_ms }
            }
            Tried::Returned { delay } => {
                self.windows.ended(&member.id, receipt);
                let delay_ms = millis(delay);
                Verdict::Returned { delay_ms }
            }
            Tried::NotTaken { reason, delay } => {
                let subscription = &*self.name;
                tracing::debug!(subscription, member = &*member.id, reason, "not taken");
                let backoff = |failures| BACKOFF.backoff(failures, &**entropy);
                let of = (&*member.id, receipt);
                self.windows.not_taken(of, now, delay, backoff);
                let delay_ms = 0;
                Verdict::Returned { delay_ms }
            }
        };
        self.tell(receipt, verdict).await;
    }

    async fn tell(&self, receipt: Receipt, verdict: Verdict) {
        let request = Request::Settle {
            subscription: self.name.to_string(),
            receipt,
            verdict,
        };
        if let Err(error) = self.carrying.outbox.ask(request).await {
            // It is delivered again.
            tracing::warn!(subscription = &*self.name, %error, "the outbox has not heard");
        }
    }
}

/// A reason of the length that dead letters have room for.
fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(NAME_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}
