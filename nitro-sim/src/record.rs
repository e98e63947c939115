//! The recorder of a run: all nodes write to it, and it becomes the trace.

mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use xxhash_rust::xxh3::xxh3_64;

use crate::trace::{EventKind, MessageOutcome, OperationOutcome, Trace};
use tasks::Tasks;
pub use tasks::{TASKS, UnderWay};

/// The most events a run may record, so that a loop without delay ends with a verdict and not
/// with the end of memory.
pub const EVENTS_MAX: usize = 1_000_000;

/// The note of a node that holds more or less of something than before: how much of it.
pub const HELD: &str = "held";

/// Collects the events of a run. A clone is the same recorder.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Mutex<State>>,
    /// Beside the lock, because every poll of every task asks.
    is_full: Arc<AtomicBool>,
    /// The cluster's time in microseconds, where nodes have clocks of their own.
    time: Option<Arc<AtomicU64>>,
    /// The tasks under way, and whether they are to be told of.
    tasks: Tasks,
    tells_tasks: bool,
    /// Whether it is told what nodes hold.
    tells_held: bool,
}

#[derive(Debug)]
struct State {
    trace: Trace,
    touches: BTreeMap<String, u64>,
    /// Operations called and not ended, with their nodes.
    open: BTreeMap<u64, String>,
    ended: BTreeSet<u64>,
    /// Nodes that are down: nothing they do on the way is recorded.
    silent: BTreeSet<String>,
    /// The points that have been come by, with whether they held, as numbers that stand for them.
    points: BTreeSet<u64>,
}

impl Recorder {
    /// A recorder that adds to `trace`.
    pub fn new(trace: Trace) -> Self {
        let state = State {
            trace,
            touches: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            silent: BTreeSet::new(),
            points: BTreeSet::new(),
        };
        Self {
            shared: Arc::new(Mutex::new(state)),
            is_full: Arc::new(AtomicBool::new(false)),
            time: None,
            tasks: Tasks::default(),
            tells_tasks: false,
            tells_held: false,
        }
    }

    /// The same recorder, which tells of what nodes hold for others, if it is to.
    pub fn with_held(mut self, is_told: bool) -> Self {
        self.tells_held = is_told;
        self
    }

    /// The same recorder, which tells at the end what tasks each node has left, if it is to.
    pub fn with_tasks(mut self, is_told: bool) -> Self {
        self.tells_tasks = is_told;
        self
    }

    /// Counts a task of a node until what is returned is dropped.
    pub fn task_begins(&self, node: &Arc<str>, name: &'static str) -> UnderWay {
        self.tasks.begin(node, name)
    }

    /// The tasks of a node that are under way: how many of each name.
    pub fn tasks_of(&self, node: &str) -> BTreeMap<&'static str, u64> {
        self.tasks.of(node)
    }

    /// The same recorder, which goes by `time`, in microseconds, whatever a node's clock says.
    pub fn with_time(mut self, time: Arc<AtomicU64>) -> Self {
        self.time = Some(time);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock().expect("no panic while events are added")
    }

    /// Records what happened on a node, or to the cluster where `node` is none. It returns the
    /// event's place in the trace; none where nothing is recorded.
    pub fn record(&self, at_us: u64, node: Option<&str>, kind: EventKind) -> Option<u64> {
        if !self.tells_held && matches!(&kind, EventKind::Note { name, .. } if name == HELD) {
            return None;
        }
        self.add(at_us, |state, at_us| state.record(at_us, node, kind))
    }

    /// Records a message of the node `from`, as [`record`](Self::record) does. Of what is recorded
    /// most are messages, so of these no [`EventKind`] is made first.
    pub fn message(
        &self,
        at_us: u64,
        [from, to]: [&str; 2],
        bytes: u64,
        outcome: MessageOutcome,
    ) -> Option<u64> {
        self.add(at_us, |state, at_us| {
            let place = state.place(Some(from))?;
            state.trace.message(at_us, [from, to], bytes, outcome);
            Some(place)
        })
    }

    fn add(&self, at_us: u64, record: impl FnOnce(&mut State, u64) -> Option<u64>) -> Option<u64> {
        let time = self.time.as_ref().map(|time| time.load(Ordering::Relaxed));
        let mut state = self.lock();
        let place = record(&mut state, time.unwrap_or(at_us));
        if state.trace.count() >= EVENTS_MAX {
            self.is_full.store(true, Ordering::Relaxed);
        }
        place
    }

    /// Counts something that a fault changed.
    pub fn touch(&self, fault: &str) {
        let mut state = self.lock();
        match state.touches.get_mut(fault) {
            Some(count) => *count += 1,
            None => drop(state.touches.insert(fault.to_owned(), 1)),
        }
    }

    /// How much a fault has touched so far.
    pub fn touched(&self, fault: &str) -> u64 {
        self.lock().touches.get(fault).copied().unwrap_or(0)
    }

    /// From now on nothing is recorded of the node, whose power is cut; the operations it had
    /// under way end as crashed.
    pub fn silence(&self, at_us: u64, node: &str) {
        let mut state = self.lock();
        let open = state.open.iter().filter(|(_, owner)| *owner == node);
        let lost: Vec<u64> = open.map(|(operation, _)| *operation).collect();
        for operation in lost {
            state.record(
                at_us,
                Some(node),
                outcome(operation, OperationOutcome::Crashed),
            );
        }
        state.silent.insert(node.to_owned());
    }

    /// From now on the node is heard again.
    pub fn unsilence(&self, node: &str) {
        self.lock().silent.remove(node);
    }

    /// The operations called and not ended, each with its node.
    pub fn open(&self) -> Vec<(u64, String)> {
        let state = self.lock();
        let open = state.open.iter();
        open.map(|(operation, node)| (*operation, node.clone()))
            .collect()
    }

    /// Whether an operation has been called or has ended.
    pub fn is_settled(&self, operation: u64) -> bool {
        let state = self.lock();
        state.ended.contains(&operation) || state.open.contains_key(&operation)
    }

    /// Whether the run has recorded [`EVENTS_MAX`] events, past which nothing is added.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// Ends the recording: every operation still open is unfinished, and how much each fault
    /// touched is added in the order of `faults`. What is recorded later is lost.
    pub fn finish<'a>(&self, at_us: u64, faults: impl Iterator<Item = &'a str>) -> Trace {
        let mut state = self.lock();
        state.silent.clear();
        let open: Vec<(u64, String)> = std::mem::take(&mut state.open).into_iter().collect();
        for (operation, node) in open {
            let kind = outcome(operation, OperationOutcome::Unfinished);
            state.record(at_us, Some(&node), kind);
        }
        let notes = self.tells_tasks.then(|| self.tasks.notes());
        for (node, note) in notes.unwrap_or_default() {
            state.record(at_us, Some(&node), note);
        }
        for fault in faults {
            let count = state.touches.get(fault).copied().unwrap_or(0);
            let fault = fault.to_owned();
            state.record(at_us, None, EventKind::Touched { fault, count });
        }
        let header = state.trace.header();
        let after = Trace::new(header.plan.clone(), header.engine.clone());
        std::mem::replace(&mut state.trace, after)
    }
}

fn outcome(operation: u64, outcome: OperationOutcome) -> EventKind {
    EventKind::Outcome { operation, outcome }
}

impl State {
    fn record(&mut self, at_us: u64, node: Option<&str>, kind: EventKind) -> Option<u64> {
        let place = self.place(node)?;
        match (&kind, node) {
            (EventKind::Call { operation, .. }, Some(node)) => {
                self.open.insert(*operation, node.to_owned());
            }
            (EventKind::Outcome { operation, .. }, _) => {
                self.open.remove(operation);
                self.ended.insert(*operation);
            }
            (
                EventKind::Point {
                    holds,
                    name,
                    module,
                    ..
                },
                _,
            ) => {
                // A loop may come by a thousand times: the first says it.
                let point = format!("{module}\n{name}\n{holds}");
                if !self.points.insert(xxh3_64(point.as_bytes())) {
                    return None;
                }
            }
            _ => {}
        }
        self.trace.record(at_us, node, &kind);
        Some(place)
    }

    /// The place that the next event of a node has; none where it is not recorded.
    fn place(&self, node: Option<&str>) -> Option<u64> {
        let place = self.trace.count();
        let is_silent = node.is_some_and(|node| self.silent.contains(node));
        (!is_silent && place < EVENTS_MAX).then_some(place as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(operation: u64) -> EventKind {
        let name = "hello".to_owned();
        EventKind::Call {
            operation,
            name,
            key: 0,
            value: 0,
        }
    }

    #[test]
    fn a_point_is_recorded_when_it_first_holds_and_when_it_first_does_not() {
        let point = |name: &str, holds| EventKind::Point {
            says: nitro::assertion::Kind::Sometimes,
            holds,
            name: name.to_owned(),
            module: "m".to_owned(),
            found: String::new(),
        };
        let recorder = Recorder::new(Trace::new("p", "test"));
        recorder.silence(0, "a-1");
        recorder.record(0, Some("a-1"), point("one", true));
        recorder.unsilence("a-1");
        for (name, holds) in [
            ("one", false),
            ("one", true),
            ("one", false),
            ("two", true),
            ("one", true),
        ] {
            recorder.record(1, Some("a-1"), point(name, holds));
        }
        let trace = recorder.finish(4, std::iter::empty());
        let kinds: Vec<_> = trace.events().iter().map(|event| &event.kind).collect();
        let expected = [point("one", false), point("one", true), point("two", true)];
        assert_eq!(kinds, expected.iter().collect::<Vec<_>>());
    }

    #[test]
    fn a_silent_node_leaves_no_trace_and_its_operations_end_as_crashed() {
        let recorder = Recorder::new(Trace::new("p", "test"));
        recorder.record(1, Some("a-1"), call(7));
        recorder.silence(2, "a-1");
        recorder.record(3, Some("a-1"), call(8));
        let trace = recorder.finish(4, ["fault-1"].into_iter());
        let kinds: Vec<_> = trace.events().iter().map(|event| &event.kind).collect();
        assert_eq!(kinds.len(), 3);
        assert_eq!(kinds[1], &outcome(7, OperationOutcome::Crashed));
        assert_eq!(trace.touches().collect::<Vec<_>>(), [("fault-1", 0)]);
    }

    #[test]
    fn the_tasks_that_are_left_are_told_where_they_are_asked_for() {
        let recorder = Recorder::new(Trace::new("p", "test"));
        let serve = recorder.task_begins(&"a-1".into(), "serve");
        assert_eq!(recorder.tasks_of("a-1"), BTreeMap::from([("serve", 1)]));
        assert_eq!(recorder.finish(4, [].into_iter()).count(), 0);
        drop(serve);
        let recorder = recorder.with_tasks(true);
        let [one, other] = ["a-1", "a-1"].map(|node| recorder.task_begins(&node.into(), "drive"));
        drop(one);
        let trace = recorder.finish(4, [].into_iter());
        let notes: Vec<_> = trace
            .notes(TASKS)
            .map(|(_, value)| value.to_string())
            .collect();
        assert_eq!(notes, ["{\"drive\":1}"]);
        drop(other);
    }
}
