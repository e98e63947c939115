//! A stream between two nodes: its two ends, and the bytes on their way each way.
//!
//! The model knows more than a kernel does, and needs fewer events for it: a segment that will
//! arrive has one event, its arrival. Acknowledgements are noted with the time at which they are
//! heard, and cost an event only when a writer waits for one. A timer runs only while something
//! is lost or unanswered.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use nitro::time::Instant;

use super::slab::Id;

/// The longest segment: what a kernel hands to a network card in one go.
pub(super) const SEGMENT_BYTES_MAX: u64 = 16 * 1024;

/// The end that opened a stream.
pub(super) const OPENER: usize = 0;
/// The end that accepted it.
pub(super) const ACCEPTOR: usize = 1;

/// A stream. `ways[end]` carries what `ends[end]` writes.
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) ways: [Way; 2],
    /// The port that was asked for.
    pub(super) port: u16,
    /// How often the opening has been tried.
    pub(super) tries: u32,
    pub(super) give_up: Instant,
}

/// One end of a stream.
pub(super) struct End {
    /// The node it is on; none for an address that nobody has.
    pub(super) node: Option<usize>,
    pub(super) port: u16,
    pub(super) phase: Phase,
    /// No handle to it is left; what was written is still sent.
    pub(super) is_dropped: bool,
    /// It was reset or timed out: nothing is sent or received any more.
    pub(super) is_broken: bool,
    /// How it broke, until that is told.
    pub(super) error: Option<ErrorKind>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

/// How far an end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for an answer.
    Opening,
    /// It has answered, and waits for the opener's word that it heard.
    Answered(Id),
    /// It waits to be accepted.
    Queued,
    /// It is in use, or closed and still sending.
    Open,
    /// Nothing of it is left.
    Gone,
    /// It ended in a crash by this fault.
    Crashed(Arc<str>),
}

/// What is on its way from one end to the other.
pub(super) struct Way {
    /// The link it takes; none within one node.
    pub(super) link: Option<usize>,
    /// The bytes from `read` to `written`.
    pub(super) bytes: VecDeque<u8>,
    /// How many bytes were ever written, sent, acknowledged so far as the writer knows,
    /// received in order, and read.
    pub(super) written: u64,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) received: u64,
    pub(super) read: u64,
    /// How far the writer may send, so far as it knows.
    pub(super) window: u64,
    /// How far it may send, as it was last told.
    pub(super) told: u64,
    /// No more is written.
    pub(super) is_shut: bool,
    /// The other end has been told so; it has heard it.
    pub(super) end_sent: bool,
    pub(super) end_heard: bool,
    /// The recorded messages of which nothing has been read: where each begins, and its place in
    /// the trace.
    pub(super) unheard: VecDeque<(u64, u64)>,
    pub(super) flight: VecDeque<Segment>,
    /// How many of them are lost.
    pub(super) lost: usize,
    /// When the last one arrives; a later one does not overtake it.
    pub(super) last_arrival: Instant,
    /// The arrival that is scheduled.
    pub(super) arrival: Option<Instant>,
    /// What the writer will hear, and when.
    pub(super) answers: VecDeque<Answer>,
    /// The hearing that is scheduled.
    pub(super) hearing: Option<Instant>,
    /// The other end's answer was lost.
    pub(super) is_unanswered: bool,
    /// When what is lost or unanswered is sent again.
    pub(super) again: Option<Instant>,
    pub(super) losses: u32,
    pub(super) silent_since: Option<Instant>,
    /// It waits among what is held.
    pub(super) is_held: bool,
}

/// Bytes that were sent, or the word that there are no more, or that the opener heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) what: What,
    /// When it arrives; none while it is lost.
    pub(super) arrives: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The opener has heard the answer.
    Heard,
    /// Bytes, up to this count of all.
    Bytes(u64),
    /// There are no more bytes.
    End,
}

/// What the other end acknowledges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) heard: Instant,
    pub(super) acknowledged: u64,
    pub(super) window: u64,
}

impl Connection {
    /// Whether its opener waits for an answer.
    pub(super) fn is_opening(&self) -> bool {
        self.ends[OPENER].phase == Phase::Opening
    }
}

impl End {
    pub(super) fn new(node: Option<usize>, port: u16, phase: Phase) -> Self {
        Self {
            node,
            port,
            phase,
            is_dropped: false,
            is_broken: false,
            error: None,
            reader: None,
            writer: None,
        }
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone | Phase::Crashed(_))
    }
}

impl Way {
    pub(super) fn new(link: Option<usize>, window: u64) -> Self {
        Self {
            link,
            bytes: VecDeque::new(),
            written: 0,
            sent: 0,
            acknowledged: 0,
            received: 0,
            read: 0,
            window,
            told: window,
            is_shut: false,
            end_sent: false,
            end_heard: false,
            unheard: VecDeque::new(),
            flight: VecDeque::new(),
            lost: 0,
            last_arrival: Instant::ORIGIN,
            arrival: None,
            answers: VecDeque::new(),
            hearing: None,
            is_unanswered: false,
            again: None,
            losses: 0,
            silent_since: None,
            is_held: false,
        }
    }

    /// Takes in what the writer has heard by now.
    pub(super) fn hear(&mut self, now: Instant) {
        while let Some(answer) = self.answers.front()
            && answer.heard <= now
        {
            self.acknowledged = self.acknowledged.max(answer.acknowledged);
            self.window = self.window.max(answer.window);
            self.answers.pop_front();
        }
    }

    /// How many bytes have arrived and not been read.
    pub(super) fn unread(&self) -> usize {
        (self.received - self.read) as usize
    }

    /// Whether bytes wait because the other end takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.sent < self.written && self.flight.is_empty() && self.sent >= self.window
    }

    /// Whether something must be sent again.
    pub(super) fn is_outstanding(&self) -> bool {
        self.lost > 0 || self.is_unanswered || self.is_full()
    }

    /// Forgets all that has not arrived, and stops its timers.
    pub(super) fn discard(&mut self) {
        self.flight.clear();
        self.lost = 0;
        self.sent = self.received;
        self.stop();
    }

    /// Forgets what no longer arrives because its sender is gone; what is on its way arrives.
    pub(super) fn abandon(&mut self) {
        let arriving = self
            .flight
            .iter()
            .position(|segment| segment.arrives.is_none());
        self.flight.truncate(arriving.unwrap_or(self.flight.len()));
        self.lost = 0;
        let sent = self
            .flight
            .iter()
            .rev()
            .find_map(|segment| match segment.what {
                What::Bytes(end) => Some(end),
                _ => None,
            });
        self.sent = sent.unwrap_or(self.received);
        self.stop();
    }

    fn stop(&mut self) {
        self.written = self.sent;
        self.bytes.truncate((self.written - self.read) as usize);
        self.is_shut = true;
        self.is_unanswered = false;
        self.again = None;
        self.hearing = None;
        self.answers.clear();
        self.silent_since = None;
    }

    /// How long to wait until something is sent again.
    pub(super) fn wait(&self, first: Duration, most: Duration) -> Duration {
        first.saturating_mul(1 << self.losses.min(20)).min(most)
    }
}
