//! A broker in memory: for one process, or served to others. What it holds ends with it.

mod group;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tower::Service;

use self::group::{Dead, Group};
use super::check::{full, same_terms, unknown_subscription};
use super::{
    Consumer, Message, PRIVATE_TTL, Pulled, Reply, Request, Slow, Start, WAIT_MAX, matches,
};
use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::port::Call;
use crate::service::Calling;
use crate::time::Instant;
use crate::{held, latest};

/// How much a [`Memory`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions at a time, a group counting as one.
    pub groups_max: usize,
    /// Requests that wait at a time.
    pub waiters_max: usize,
    /// Messages that are kept for those who start from an earlier one.
    pub kept_max: usize,
    /// Ids that are remembered, so that a message is not published twice.
    pub ids_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            groups_max: 1_000,
            waiters_max: 10_000,
            kept_max: 1_000,
            ids_max: 10_000,
        }
    }
}

/// A broker in memory. Clones are the same broker.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes those who wait for messages or for room.
    changed: latest::Sender<()>,
    limits: Limits,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    number: u64,
    claims: u64,
    kept: VecDeque<(u64, Arc<Message>)>,
    ids: BTreeSet<Arc<str>>,
    ids_by_age: VecDeque<Arc<str>>,
}

impl Memory {
    /// A broker without messages.
    pub fn new(host: &Host, limits: Limits) -> Self {
        let shared = Shared {
            clock: Arc::clone(&host.clock),
            state: Mutex::new(State::default()),
            changed: latest::Sender::new(()),
            limits,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Service<Call<Request>> for Memory {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let shared = Arc::clone(&self.shared);
        let until =
            shared.clock.now() + crate::port::PortRequest::wait(&call.request).min(WAIT_MAX);
        let until = call.deadline.map_or(until, |by| by.min(until));
        Box::pin(async move {
            call.request.check()?;
            match call.request {
                Request::Publish { messages, .. } => {
                    let messages: Vec<Arc<Message>> = messages.into_iter().map(Arc::new).collect();
                    let publish = |state: &mut State, _| state.publish(&messages, &shared.limits);
                    let published = shared.wait(until, None, publish).await?;
                    let number = match published {
                        Some(number) => number,
                        None => return Err(shared.at_now(|state, _| state.blocked(&messages))),
                    };
                    shared.changed.set(());
                    Ok(Reply::Published(number))
                }
                Request::Subscribe {
                    subscription,
                    consumer,
                } => {
                    let most = shared.limits.groups_max;
                    shared
                        .at_now(|state, now| state.subscribe(subscription, consumer, now, most))?;
                    shared.changed.set(());
                    Ok(Reply::Subscribed)
                }
                Request::Pull {
                    subscription,
                    limit,
                    ..
                } => {
                    let name = Some(&*subscription);
                    let pull = |state: &mut State, now| state.pull(&subscription, now, limit);
                    let pulled = shared.wait(until, name, pull).await?;
                    let pulled = match pulled {
                        Some(pulled) => pulled,
                        None => shared.at_now(|state, _| state.counts(&subscription))?,
                    };
                    Ok(Reply::Pulled(pulled))
                }
                Request::Settle {
                    subscription,
                    receipt,
                    verdict,
                } => {
                    shared.at_now(|state, now| {
                        let dead = state.group(&subscription)?.settle(receipt, verdict, now)?;
                        state.send_dead(&subscription, dead.into_iter().collect());
                        Ok::<_, Error>(())
                    })?;
                    shared.changed.set(());
                    Ok(Reply::Settled)
                }
                Request::Unsubscribe { subscription } => {
                    let gone = shared.at_now(|state, _| state.groups.remove(&subscription));
                    shared.changed.set(());
                    Ok(Reply::Unsubscribed(gone.is_some()))
                }
            }
        })
    }
}

impl Shared {
    /// Does something with the state as it is now.
    fn at_now<R>(&self, what: impl FnOnce(&mut State, Instant) -> R) -> R {
        let now = self.clock.now();
        // Nothing in the state's methods panics half-way, so a poisoned state is a whole one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.groups.len();
        if state.expire(now) {
            self.changed.set(());
        }
        let done = what(&mut state, now);
        if state.groups.len() != before {
            held::tell(held::SUBSCRIPTIONS, state.groups.len());
        }
        done
    }

    /// Tries something whenever anything changes, or the next message of a group comes back,
    /// until it answers or time is up.
    async fn wait<R>(
        &self,
        until: Instant,
        group: Option<&str>,
        mut what: impl FnMut(&mut State, Instant) -> Result<Option<R>>,
    ) -> Result<Option<R>> {
        let mut changed = self.changed.subscribe();
        if self.changed.receivers() > self.limits.waiters_max {
            let most = self.limits.waiters_max;
            let message = format!("broker: more than {most} requests are waiting");
            return Err(Error::resource_exhausted(message));
        }
        loop {
            // Marked as seen before looking, so that no change falls in between.
            changed.mark_seen();
            let (done, next, now) = self.at_now(|state, now| {
                let done = what(state, now)?;
                let group = group.and_then(|name| state.groups.get(name));
                Ok::<_, Error>((done, group.and_then(Group::next_timed), now))
            })?;
            if done.is_some() || now >= until {
                return Ok(done);
            }
            let wake_at = next.map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.clock.sleep_until(wake_at) => {}
            }
        }
    }
}

impl State {
    fn group(&mut self, name: &str) -> Result<&mut Group> {
        let group = self.groups.get_mut(name);
        group.ok_or_else(|| unknown_subscription(name))
    }

    /// Takes back what was out for too long, and forgets subscriptions that nobody pulls.
    fn expire(&mut self, now: Instant) -> bool {
        let is_over = |group: &Group| {
            group.consumer.group.is_none() && now.since(group.pulled_at) > PRIVATE_TTL
        };
        self.groups.retain(|_, group| !is_over(group));
        let due = |group: &Group| group.next_timed().is_some_and(|at| at <= now);
        let names = self.groups.iter().filter(|(_, group)| due(group));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in &names {
            let dead = self.groups.get_mut(name).map(|group| group.expire(now));
            self.send_dead(name, dead.unwrap_or_default());
        }
        !names.is_empty()
    }

    /// Publishes the letters of what died. They go where there is room.
    fn send_dead(&mut self, name: &str, dead: Vec<Dead>) {
        for Dead { message, reason } in dead {
            tracing::warn!(group = name, id = message.id, reason, "a message died");
            let group = self.groups.get(name);
            let topic = group.and_then(|group| group.consumer.dead_letter.clone());
            if let Some(topic) = topic {
                let letter = Arc::new(message.dead(&topic, name, &reason));
                self.give(&letter);
            }
        }
    }

    /// Gives a message to all groups that want it; where one is full its oldest makes room.
    fn give(&mut self, message: &Arc<Message>) {
        self.number += 1;
        for group in self.groups.values_mut() {
            if matches(&group.consumer.pattern, &message.topic) {
                if group.is_full() {
                    group.drop_oldest();
                }
                group.push(self.number, message);
            }
        }
    }

    fn full(&self, messages: &[Arc<Message>], slow: Slow) -> Option<(&str, &Consumer)> {
        let mut groups = self.groups.iter();
        let found = groups.find(|(_, group)| {
            let wants = |message: &Arc<Message>| matches(&group.consumer.pattern, &message.topic);
            group.consumer.slow == slow && group.is_full() && messages.iter().any(wants)
        });
        found.map(|(name, group)| (&**name, &group.consumer))
    }

    /// The error of a publisher that has waited long enough.
    fn blocked(&self, messages: &[Arc<Message>]) -> Error {
        let found = self.full(messages, Slow::Block);
        found.map_or_else(
            || Error::deadline_exceeded("broker: there was no room in time"),
            |(name, consumer)| full(name, consumer),
        )
    }

    /// Publishes; answers nothing while a group that blocks is full.
    fn publish(&mut self, messages: &[Arc<Message>], limits: &Limits) -> Result<Option<u64>> {
        if let Some((name, consumer)) = self.full(messages, Slow::Refuse) {
            return Err(full(name, consumer));
        }
        if self.full(messages, Slow::Block).is_some() {
            return Ok(None);
        }
        for message in messages {
            if !self.ids.insert(Arc::from(&*message.id)) {
                continue;
            }
            self.ids_by_age.push_back(Arc::from(&*message.id));
            if self.ids_by_age.len() > limits.ids_max
                && let Some(oldest) = self.ids_by_age.pop_front()
            {
                self.ids.remove(&oldest);
            }
            self.give(message);
            self.kept.push_back((self.number, Arc::clone(message)));
            if self.kept.len() > limits.kept_max {
                self.kept.pop_front();
            }
        }
        Ok(Some(self.number))
    }

    fn subscribe(
        &mut self,
        name: String,
        consumer: Consumer,
        now: Instant,
        groups_max: usize,
    ) -> Result<()> {
        if let Some(group) = self.groups.get_mut(&name) {
            group.pulled_at = now;
            return same_terms(&name, &group.consumer, &consumer);
        }
        if self.groups.len() >= groups_max {
            let message = format!("broker: there are {groups_max} subscriptions, the most it has");
            return Err(Error::resource_exhausted(message));
        }
        let mut group = Group::new(consumer, now);
        if let Start::From(first) = group.consumer.start {
            let kept = self.kept.iter().filter(|(number, _)| *number >= first);
            for (number, message) in kept {
                if matches(&group.consumer.pattern, &message.topic) {
                    if group.is_full() {
                        group.drop_oldest();
                    }
                    group.push(*number, message);
                }
            }
        }
        self.groups.insert(name, group);
        Ok(())
    }

    fn pull(&mut self, name: &str, now: Instant, limit: usize) -> Result<Option<Pulled>> {
        let mut claims = self.claims;
        let group = self.group(name)?;
        group.pulled_at = now;
        let delivered = group.take(now, limit, &mut claims);
        self.claims = claims;
        if delivered.is_empty() {
            return Ok(None);
        }
        let counts = self.counts(name)?;
        Ok(Some(Pulled {
            delivered,
            ..counts
        }))
    }

    fn counts(&mut self, name: &str) -> Result<Pulled> {
        let group = self.group(name)?;
        Ok(Pulled {
            delivered: Vec::new(),
            dropped: group.dropped,
            dead: group.dead,
        })
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
