//! What a registry in memory knows, as plain data that only its methods change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Limits;
use crate::error::{Error, Result};
use crate::registry::{Change, ChangeKind, DownReason, Listed, Node, Revision, Watched};
use crate::time::Instant;

/// A node's service and id.
type Key = (String, String);

/// The most changes in one answer, so that it stays a message of a few hundred kilobytes; the
/// watcher asks again for the rest.
const CHANGES_ANSWERED_MAX: usize = 1_000;

/// Nodes, when each expires, and what changed last.
pub(super) struct State {
    revision: Revision,
    nodes: BTreeMap<Key, Lease>,
    /// The same leases by time.
    expiries: BTreeSet<(Instant, Key)>,
    /// The last changes, numbered without gaps up to `revision`.
    log: VecDeque<Change>,
    limits: Limits,
}

struct Lease {
    node: Node,
    expires: Instant,
}

impl State {
    pub(super) fn new(epoch: u64, limits: Limits) -> Self {
        Self {
            revision: Revision { epoch, number: 0 },
            nodes: BTreeMap::new(),
            expiries: BTreeSet::new(),
            log: VecDeque::new(),
            limits,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Lets nodes go whose time is up, in the order in which it was.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.next_expiry().is_some_and(|at| at <= now) {
            let (_, key) = self.expiries.pop_first().expect("there is a next expiry");
            let lease = self.nodes.remove(&key).expect("each expiry has its lease");
            self.record(ChangeKind::Down(DownReason::Expired), lease.node);
        }
    }

    pub(super) fn register(&mut self, node: Node, now: Instant, ttl: Duration) -> Result<Revision> {
        let key = (node.service.clone(), node.id.clone());
        let expires = now + ttl;
        let change = match self.nodes.get(&key) {
            Some(lease) if lease.node == node => None,
            Some(_) => Some(ChangeKind::Updated),
            None if self.nodes.len() >= self.limits.nodes_max => {
                return Err(Error::resource_exhausted(format!(
                    "registry: {} nodes are listed, which is the most it holds",
                    self.limits.nodes_max
                )));
            }
            None => Some(ChangeKind::Up),
        };
        if let Some(kind) = change {
            self.record(kind, node.clone());
        }
        let before = self.nodes.insert(key.clone(), Lease { node, expires });
        if let Some(before) = before {
            self.expiries.remove(&(before.expires, key.clone()));
        }
        self.expiries.insert((expires, key));
        Ok(self.revision)
    }

    pub(super) fn heartbeat(&mut self, key: Key, now: Instant, ttl: Duration) -> Result<()> {
        let Some(lease) = self.nodes.get_mut(&key) else {
            let (service, id) = key;
            return Err(Error::not_found(format!(
                "registry: node {id} of {service} is not listed: register it again"
            )));
        };
        let before = std::mem::replace(&mut lease.expires, now + ttl);
        self.expiries.remove(&(before, key.clone()));
        self.expiries.insert((now + ttl, key));
        Ok(())
    }

    pub(super) fn deregister(&mut self, key: Key) -> bool {
        let Some(lease) = self.nodes.remove(&key) else {
            return false;
        };
        self.expiries.remove(&(lease.expires, key));
        self.record(ChangeKind::Down(DownReason::Deregistered), lease.node);
        true
    }

    pub(super) fn list(&self, service: Option<&str>) -> Listed {
        let from = (service.unwrap_or_default().to_owned(), String::new());
        let all = self.nodes.range(from..).map(|(_, lease)| &lease.node);
        let wanted = all.take_while(|node| concerns(service, node));
        Listed {
            nodes: wanted.cloned().collect(),
            revision: self.revision,
        }
    }

    /// What a watcher that has seen everything up to `after` has not seen.
    pub(super) fn changes(&self, service: Option<&str>, after: Revision) -> Watched {
        let Revision { epoch, number } = self.revision;
        let logged = self.log.len() as u64;
        let told_in_full =
            after.epoch == epoch && (number - logged..=number).contains(&after.number);
        if !told_in_full {
            return Watched::Reset(self.list(service));
        }
        let missed = usize::try_from(number - after.number).expect("at most the log's length");
        let unseen = self.log.range(self.log.len() - missed..);
        let wanted = unseen.filter(|change| concerns(service, &change.node));
        let changes: Vec<Change> = wanted.take(CHANGES_ANSWERED_MAX).cloned().collect();
        let revision = match changes.last() {
            Some(last) if changes.len() == CHANGES_ANSWERED_MAX => last.revision,
            _ => self.revision,
        };
        Watched::Changes { changes, revision }
    }

    fn record(&mut self, kind: ChangeKind, node: Node) {
        self.revision.number += 1;
        self.log.push_back(Change {
            revision: self.revision,
            kind,
            node,
        });
        if self.log.len() > self.limits.changes_max {
            self.log.pop_front();
        }
    }
}

fn concerns(service: Option<&str>, node: &Node) -> bool {
    service.is_none_or(|service| service == node.service)
}
