//! Which tasks of a node are under way: those that are left at the end of a run may have been
//! forgotten, and with them the connections and subscriptions that they serve.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;

use crate::trace::EventKind;

/// The note that each node leaves at the end: how many tasks of each name.
pub const TASKS: &str = "tasks";

/// How many tasks of each name are under way on each node.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(Arc<Mutex<Nodes>>);

type Nodes = BTreeMap<Arc<str>, Names>;

/// Those of which there are none any more keep their place for the next.
type Names = BTreeMap<&'static str, u64>;

/// A task under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    tasks: Tasks,
    node: Arc<str>,
    name: &'static str,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.0.lock().expect("no panic while tasks are counted")
    }

    pub(super) fn begin(&self, node: &Arc<str>, name: &'static str) -> UnderWay {
        let mut nodes = self.lock();
        let names = nodes.entry(Arc::clone(node)).or_default();
        *names.entry(name).or_default() += 1;
        UnderWay {
            tasks: self.clone(),
            node: Arc::clone(node),
            name,
        }
    }

    /// How many tasks of each name a node has.
    pub(super) fn of(&self, node: &str) -> BTreeMap<&'static str, u64> {
        self.lock().get(node).map(under_way).unwrap_or_default()
    }

    /// The note of each node that has had a task.
    pub(super) fn notes(&self) -> Vec<(String, EventKind)> {
        let note = |(node, names): (&Arc<str>, &Names)| {
            let value = json!(under_way(names));
            let name = TASKS.to_owned();
            (node.to_string(), EventKind::Note { name, value })
        };
        self.lock().iter().map(note).collect()
    }
}

fn under_way(names: &Names) -> Names {
    let names = names.iter().filter(|(_, count)| **count > 0);
    names.map(|(name, count)| (*name, *count)).collect()
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut nodes = self.tasks.lock();
        let names = nodes.get_mut(&*self.node);
        if let Some(count) = names.and_then(|names| names.get_mut(self.name)) {
            *count -= 1;
        }
    }
}
