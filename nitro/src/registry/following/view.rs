//! What a follower believes: the nodes listed, and those that a restarted registry has forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::registry::{ChangeKind, Listed, Node, Revision, Watched};
use crate::time::Instant;

/// How long nodes stay that a registry knew before it was restarted: long enough for their next
/// heartbeat to find that they must register again.
pub(super) const RESTORE_TIME: Duration = Duration::from_secs(30);

/// The nodes of one service, by id.
#[derive(Debug, Default)]
pub(super) struct View {
    revision: Revision,
    listed: BTreeMap<String, Node>,
    /// Listed before a restart of the registry and not since.
    forgotten: BTreeMap<String, Node>,
    forget_at: Instant,
}

impl View {
    /// What to ask after next.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        let mut all = self.forgotten.clone();
        all.extend(self.listed.clone());
        all.into_values().collect()
    }

    pub(super) fn apply(&mut self, watched: Watched, now: Instant) {
        match watched {
            Watched::Changes { changes, revision } => {
                self.revision = revision;
                for change in changes {
                    self.forgotten.remove(&change.node.id);
                    match change.kind {
                        ChangeKind::Up | ChangeKind::Updated => {
                            self.listed.insert(change.node.id.clone(), change.node);
                        }
                        ChangeKind::Down(_) => {
                            self.listed.remove(&change.node.id);
                        }
                    }
                }
            }
            Watched::Reset(listed) => self.reset(listed, now),
        }
        if now >= self.forget_at {
            self.forgotten.clear();
        }
    }

    fn reset(&mut self, listed: Listed, now: Instant) {
        let restarted = listed.revision.epoch != self.revision.epoch;
        let nodes = listed.nodes.into_iter().map(|node| (node.id.clone(), node));
        let before = std::mem::replace(&mut self.listed, nodes.collect());
        if restarted {
            self.forgotten.extend(before);
            self.forget_at = now + RESTORE_TIME;
        }
        self.forgotten.retain(|id, _| !self.listed.contains_key(id));
        self.revision = listed.revision;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn reset(epoch: u64, number: u64, ids: &[&str]) -> Watched {
        let node = |id: &&str| Node::new("greeter", *id, Address::memory(*id));
        Watched::Reset(Listed {
            nodes: ids.iter().map(node).collect(),
            revision: Revision { epoch, number },
        })
    }

    fn ids(view: &View) -> String {
        view.nodes().into_iter().map(|node| node.id).collect()
    }

    #[test]
    fn only_a_restart_keeps_nodes_that_a_reset_does_not_list() {
        let mut view = View::default();
        view.apply(reset(1, 5, &["a", "b"]), Instant::ORIGIN);
        view.apply(reset(1, 99, &["b", "c"]), Instant::ORIGIN);
        assert_eq!(ids(&view), "bc", "it lagged, and is told how things are");
        view.apply(reset(2, 1, &["b"]), Instant::ORIGIN);
        assert_eq!(ids(&view), "bc");
        view.apply(reset(2, 99, &[]), Instant::ORIGIN);
        assert_eq!(ids(&view), "c", "b had come back, and is gone for good");
    }
}
