//! Which messages of a stream the other end has read: both ends count the same bytes, and a
//! message is known by where it begins among them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use nitro::address::Address;

use super::link::Links;

/// The messages under way on a stream, by the end that sent them.
type Ways = Mutex<[VecDeque<Sent>; 2]>;

/// A message of which nothing has been read.
struct Sent {
    /// How many bytes were written before it.
    start: u64,
    /// Its place in the trace.
    message: u64,
}

/// The streams that are open, by the addresses of their ends, the opener's first.
#[derive(Debug, Default)]
pub(super) struct Passages(Mutex<BTreeMap<[String; 2], Weak<Ways>>>);

/// One end's view of what passes through a stream.
pub(super) struct Passage {
    ways: Arc<Ways>,
    own: usize,
}

impl Passage {
    /// The passage of a stream that this end opened.
    pub(super) fn opened(links: &Links, own: &Address, to: &Address) -> Self {
        let ways = links.passages.find([own.to_string(), to.to_string()]);
        Self { ways, own: 0 }
    }

    /// The passage of a stream that this end accepted.
    pub(super) fn accepted(links: &Links, from: &Address, own: &Address) -> Self {
        let ways = links.passages.find([from.to_string(), own.to_string()]);
        Self { ways, own: 1 }
    }

    fn lock(&self) -> MutexGuard<'_, [VecDeque<Sent>; 2]> {
        self.ways.lock().expect("no panic while messages pass")
    }

    /// A message is sent, after so many bytes.
    pub(super) fn send(&self, start: u64, message: Option<u64>) {
        if let Some(message) = message {
            self.lock()[self.own].push_back(Sent { start, message });
        }
    }

    /// The next message to this end of which something is among the first `count` bytes.
    pub(super) fn receive(&self, count: u64) -> Option<u64> {
        let waiting = &mut self.lock()[1 - self.own];
        let is_read = waiting.front()?.start < count;
        is_read
            .then(|| waiting.pop_front())
            .flatten()
            .map(|sent| sent.message)
    }
}

impl Passages {
    fn find(&self, ends: [String; 2]) -> Arc<Ways> {
        let mut all = self.0.lock().expect("no panic while streams open");
        if let Some(ways) = all.get(&ends).and_then(Weak::upgrade) {
            return ways;
        }
        all.retain(|_, ways| ways.strong_count() > 0);
        let ways = Arc::new(Ways::default());
        all.insert(ends, Arc::downgrade(&ways));
        ways
    }
}
