//! The couriers of a node: one for each subscription that is known, with who receives for it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::broker::{Consumer, Request};
use crate::error::Result;
use crate::host::tasks::TaskGuard;
use crate::http::courier::{Carrying, Courier, hold};
use crate::http::members::{self, Listed, Member};
use crate::latest;
use crate::registry::{Following, Node};
use crate::time::Instant;

/// Members that are remembered as having left, until the registry lists them no more.
const LEFT_MAX: usize = 1_000;

struct Held {
    consumer: Consumer,
    members: Arc<Vec<Member>>,
    told: latest::Sender<Arc<Vec<Member>>>,
    /// Since when nobody is listed.
    alone_since: Option<Instant>,
    _courier: TaskGuard,
}

impl Held {
    fn set(&mut self, members: &[Member]) {
        if *self.members != *members {
            self.members = Arc::new(members.to_vec());
            self.told.set(Arc::clone(&self.members));
        }
    }
}

/// The couriers of a node.
pub(super) struct Couriers {
    carrying: Arc<Carrying>,
    forget_after: Duration,
    held: Mutex<BTreeMap<String, Held>>,
    /// Members that have left, the latest last: a list from before still has them.
    left: Mutex<VecDeque<String>>,
    /// Subscriptions are taken up and given up one at a time.
    turn: tokio::sync::Mutex<()>,
    /// The list of the registry that was followed last.
    followed: latest::Sender<Option<Arc<Vec<Node>>>>,
}

impl Couriers {
    pub(super) fn new(carrying: &Arc<Carrying>, forget_after: Duration) -> Self {
        Self {
            carrying: Arc::clone(carrying),
            forget_after,
            held: Mutex::default(),
            left: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            followed: latest::Sender::new(None),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().expect("no panic while couriers are held")
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.left.lock().expect("no panic while members are held")
    }

    /// The terms of a subscription that is known.
    pub(super) fn terms(&self, name: &str) -> Option<Consumer> {
        let held = self.held();
        let held = held.get(name).filter(|one| one.alone_since.is_none());
        held.map(|one| one.consumer.clone())
    }

    pub(super) async fn knows(&self, name: &str) {
        let mut followed = self.followed.subscribe();
        loop {
            followed.mark_seen();
            if self.held().contains_key(name) || followed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until all has been followed that the registry has told.
    pub(super) async fn know(&self, following: &Following) {
        let mut followed = self.followed.subscribe();
        loop {
            followed.mark_seen();
            let latest = followed.get();
            if latest.is_some_and(|followed| Arc::ptr_eq(&followed, &following.nodes())) {
                return;
            }
            // It ends with the node that asks.
            if followed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Takes up what a list of the registry has, and gives up what nobody has been listed for.
    pub(super) async fn follow(&self, nodes: &Arc<Vec<Node>>) {
        let _turn = self.turn.lock().await;
        let left = self.left().clone();
        let mut listed = members::listed(nodes);
        for one in listed.values_mut() {
            let has_left = |member: &Member| left.iter().any(|id| **id == *member.id);
            one.members.retain(|member| !has_left(member));
        }
        listed.retain(|_, one| !one.members.is_empty());
        let mut is_whole = true;
        for (name, Listed { consumer, members }) in &listed {
            if let Err(error) = self.take_up(name, consumer, members).await {
                tracing::warn!(subscription = name, %error, "the outbox does not hold it");
                is_whole = false;
            }
        }
        let names: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
        for name in self.lonely(&names) {
            let forget_after = self.forget_after;
            tracing::warn!(
                subscription = name,
                ?forget_after,
                "nobody is listed: forgotten"
            );
            self.give_up(&name).await;
        }
        if is_whole {
            self.followed.set(Some(Arc::clone(nodes)));
        }
    }

    /// Notes for whom nobody is listed; answers who has been so for too long.
    fn lonely(&self, listed: &BTreeSet<&str>) -> Vec<String> {
        let now = self.carrying.host.clock.now();
        let mut lonely = Vec::new();
        for (name, held) in self.held().iter_mut() {
            if listed.contains(&**name) {
                held.alone_since = None;
                continue;
            }
            held.set(&[]);
            let since = *held.alone_since.get_or_insert(now);
            if now.since(since) >= self.forget_after {
                lonely.push(name.clone());
            }
        }
        lonely
    }

    async fn take_up(&self, name: &str, consumer: &Consumer, members: &[Member]) -> Result<()> {
        if !self.held().contains_key(name) {
            hold(&self.carrying.outbox, name, consumer).await?;
        }
        let mut held = self.held();
        let held = held.entry(name.to_owned()).or_insert_with(|| {
            let (sender, receiver) = latest::channel(Arc::default());
            let courier = Courier::new(&self.carrying, name, consumer, receiver);
            let tasks = &self.carrying.host.tasks;
            let task = tasks.spawn("http courier", Box::pin(courier.run()));
            Held {
                consumer: consumer.clone(),
                members: Arc::default(),
                told: sender,
                alone_since: None,
                _courier: task.abort_on_drop(),
            }
        });
        held.set(members);
        Ok(())
    }

    /// Takes up a subscription that a member of this node has just made, without waiting to hear
    /// of it from the registry.
    pub(super) async fn join(&self, name: &str, consumer: &Consumer, member: Member) -> Result<()> {
        let _turn = self.turn.lock().await;
        let known = self.held().get(name).map(|held| held.members.to_vec());
        let mut members = known.unwrap_or_default();
        if !members.contains(&member) {
            members.push(member);
        }
        self.take_up(name, consumer, &members).await
    }

    /// Forgets what waits for a subscription that a member has left on behalf of all.
    pub(super) async fn forget(&self, name: &str, member: &str) {
        let _turn = self.turn.lock().await;
        {
            let mut left = self.left();
            left.push_back(member.to_owned());
            if left.len() > LEFT_MAX {
                left.pop_front();
            }
        }
        self.give_up(name).await;
    }

    async fn give_up(&self, name: &str) {
        // The courier ends first, so that nobody asks for what is gone.
        drop(self.held().remove(name));
        let subscription = name.to_owned();
        let request = Request::Unsubscribe { subscription };
        if let Err(error) = self.carrying.outbox.ask(request).await {
            tracing::warn!(subscription = name, %error, "the outbox forgets it in its own time");
        }
    }

    pub(super) fn end(&self) {
        self.held().clear();
    }
}
