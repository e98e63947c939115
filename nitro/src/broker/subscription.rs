//! Receiving: one message after another, each acknowledged or not.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use super::{Broker, Consumer, Delivered, Message, Receipt, Reply, Request, Verdict, unexpected};
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::{Error, Kind, Result};
use crate::host::Host;
use crate::host::tasks::panic_message;
use crate::layer::RetryPolicy;
use crate::port::millis;

/// How long one question waits for a message, at the most: it is no longer than half the time to
/// acknowledge, so that there is time left for what comes at the end of it.
const WAIT: Duration = Duration::from_secs(20);

/// How many messages are asked for at a time: few, because the others of the group could have
/// what waits here.
const PULLED: usize = 16;

/// How long a message is left alone after its handler failed.
const DELAY: Duration = Duration::from_millis(100);

/// How [`Subscription::run`] tries again while the broker is away.
const BACKOFF: RetryPolicy = RetryPolicy {
    attempts_max: u32::MAX,
    backoff_first: Duration::from_millis(100),
    backoff_multiplier: 2.0,
    backoff_max: Duration::from_secs(5),
    jitter: 0.2,
};

/// A subscription, to be received from. What is dropped unacknowledged is delivered again.
#[derive(Debug)]
pub struct Subscription {
    broker: Broker,
    host: Host,
    name: Arc<str>,
    consumer: Consumer,
    /// Messages at hand, and when they stop being so.
    at_hand: VecDeque<(Delivered, crate::time::Instant)>,
    dropped: u64,
    dead: u64,
}

impl Subscription {
    pub(super) async fn start(broker: Broker, host: &Host, consumer: Consumer) -> Result<Self> {
        let alone = || format!("~{}", host.entropy.id());
        let name = consumer.group.clone().unwrap_or_else(alone);
        let subscription = Self {
            broker,
            host: host.clone(),
            name: name.into(),
            consumer,
            at_hand: VecDeque::new(),
            dropped: 0,
            dead: 0,
        };
        subscription.subscribe().await?;
        Ok(subscription)
    }

    async fn subscribe(&self) -> Result<()> {
        let request = Request::Subscribe {
            subscription: self.name.to_string(),
            consumer: self.consumer.clone(),
        };
        match self.broker.ask(request).await? {
            Reply::Subscribed => Ok(()),
            other => Err(unexpected("subscribe", &other)),
        }
    }

    /// How many messages it has lost because it was slow, as of the last answer.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many messages have died, as of the last answer.
    pub fn dead(&self) -> u64 {
        self.dead
    }

    /// The next message, however long it takes to come: bound it.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached; asking again goes on. A broker that has forgotten the
    /// subscription, as one in memory does in a restart, is subscribed to again.
    ///
    /// # Cancellation
    ///
    /// Loses nothing: what was on its way is delivered again.
    pub async fn next(&mut self) -> Result<Delivery> {
        loop {
            while let Some((delivered, until)) = self.at_hand.pop_front() {
                // What has waited here for too long is another's by now.
                if self.host.clock.now() < until {
                    return Ok(self.delivery(delivered));
                }
            }
            let asked_at = self.host.clock.now();
            let visibility = Duration::from_millis(self.consumer.visibility_ms);
            let request = Request::Pull {
                subscription: self.name.to_string(),
                limit: PULLED,
                wait_ms: millis(WAIT.min(visibility / 2)),
            };
            match self.broker.ask(request).await {
                Ok(Reply::Pulled(pulled)) => {
                    (self.dropped, self.dead) = (pulled.dropped, pulled.dead);
                    // However long the answer was on its way, what it brings was delivered after
                    // it was asked for, and is this member's for at least as long from then.
                    let until = asked_at + visibility;
                    let delivered = pulled.delivered.into_iter();
                    self.at_hand.extend(delivered.map(|one| (one, until)));
                }
                Ok(other) => return Err(unexpected("pull", &other)),
                Err(error) if error.kind() == Kind::NotFound => {
                    point!(Reachable, true, "a broker has forgotten a subscription");
                    self.subscribe().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn delivery(&self, delivered: Delivered) -> Delivery {
        Delivery {
            broker: self.broker.clone(),
            subscription: Arc::clone(&self.name),
            receipt: delivered.receipt,
            attempt: delivered.attempt,
            message: delivered.message,
        }
    }

    /// Handles one message after another: acknowledges those that are handled, and reports those
    /// whose handler fails or panics. Goes on through outages of the broker; ends when dropped.
    pub async fn run(mut self, mut handler: impl AsyncFnMut(&Message) -> Result<()>) {
        let mut failures = 0;
        loop {
            let delivery = match self.next().await {
                Ok(delivery) => delivery,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(subscription = &*self.name, %error, "the broker is away");
                    let wait = BACKOFF.backoff(failures, &*self.host.entropy);
                    self.host.clock.sleep(wait).await;
                    continue;
                }
            };
            failures = 0;
            let handling = AssertUnwindSafe(handler(delivery.message())).catch_unwind();
            let handled = handling.await.unwrap_or_else(|panic| {
                let message = format!("the handler panicked: {}", panic_message(&*panic));
                Err(Error::internal(message))
            });
            if trick!(
                self.host.entropy,
                "a message comes again though it was handled"
            ) {
                continue;
            }
            let settled = match handled {
                Ok(()) => delivery.acknowledge().await,
                Err(error) => delivery.fail(error.to_string(), DELAY).await,
            };
            if let Err(error) = settled {
                tracing::warn!(subscription = &*self.name, %error, "a message comes again");
            }
        }
    }

    /// Receives no more; what waits for the group is dropped.
    ///
    /// # Errors
    ///
    /// When the broker cannot be reached.
    pub async fn unsubscribe(self) -> Result<()> {
        let subscription = self.name.to_string();
        match self
            .broker
            .ask(Request::Unsubscribe { subscription })
            .await?
        {
            Reply::Unsubscribed(_) => Ok(()),
            other => Err(unexpected("unsubscribe", &other)),
        }
    }
}

/// A message to be handled. Dropped, it is delivered again when its time has passed.
#[derive(Debug)]
pub struct Delivery {
    broker: Broker,
    subscription: Arc<str>,
    receipt: Receipt,
    attempt: u32,
    message: Message,
}

impl Delivery {
    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// How often it has been delivered, this time included.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Which delivery it is.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }

    /// It is done with.
    ///
    /// # Errors
    ///
    /// [`FailedPrecondition`](Kind::FailedPrecondition) when it took too long and is delivered
    /// again, [`NotFound`](Kind::NotFound) when another has done with it since.
    pub async fn acknowledge(self) -> Result<()> {
        self.settle(Verdict::Done).await
    }

    /// It could not be handled; it is delivered again after a delay, unless this was the last
    /// attempt.
    ///
    /// # Errors
    ///
    /// As [`Delivery::acknowledge`].
    pub async fn fail(self, reason: impl Into<String>, delay: Duration) -> Result<()> {
        let mut reason = reason.into();
        let most = (0..=super::NAME_BYTES_MAX).rev();
        let mut ends = most.filter(|end| reason.is_char_boundary(*end));
        reason.truncate(ends.next().unwrap_or(0));
        let delay_ms = millis(delay);
        self.settle(Verdict::Failed { reason, delay_ms }).await
    }

    /// It was not tried and is to be delivered to another, as if it had never come here.
    ///
    /// # Errors
    ///
    /// As [`Delivery::acknowledge`].
    pub async fn give_back(self, delay: Duration) -> Result<()> {
        let delay_ms = millis(delay);
        self.settle(Verdict::Returned { delay_ms }).await
    }

    async fn settle(self, verdict: Verdict) -> Result<()> {
        let request = Request::Settle {
            subscription: self.subscription.to_string(),
            receipt: self.receipt,
            verdict,
        };
        match self.broker.ask(request).await? {
            Reply::Settled => Ok(()),
            other => Err(unexpected("settle", &other)),
        }
    }
}
