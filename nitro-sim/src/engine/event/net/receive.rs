//! The receiving side of a stream: arrivals, acknowledgements, resets and the end.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use nitro::time::Instant;
use tokio::io::ReadBuf;

use super::connection::{Answer, OPENER, Phase, Segment, What};
use super::link::Fate;
use super::slab::Id;
use super::state::{Event, Held, State, Status, renew};
use crate::trace::EventKind;

/// What a segment meets where it arrives.
enum Reception {
    Taken,
    /// Nobody is there to answer.
    Silence,
    /// The machine knows nothing of the stream.
    Unknown,
}

impl State {
    pub(super) fn poll_read(
        &mut self,
        id: Id,
        side: usize,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Poll::Ready(Ok(()));
        };
        let (end, way) = (&mut connection.ends[side], &mut connection.ways[1 - side]);
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let count = way.unread().min(into.remaining());
        if count > 0 {
            let (front, back) = way.bytes.as_slices();
            let from_front = count.min(front.len());
            into.put_slice(&front[..from_front]);
            into.put_slice(&back[..count - from_front]);
            way.bytes.drain(..count);
            way.read += count as u64;
            self.record_received(id, side);
            self.open_window(id, 1 - side);
            return Poll::Ready(Ok(()));
        }
        // As a kernel has it: after the end has been heard a read never fails, and an error is
        // told once, to whoever asks first.
        if way.end_heard {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.is_broken {
            return Poll::Ready(Ok(()));
        }
        let earlier = renew(&mut end.reader, context.waker());
        self.replace(earlier);
        Poll::Pending
    }

    /// Records the messages of which an end has now read something.
    fn record_received(&mut self, id: Id, side: usize) {
        while let Some(connection) = self.connections.get_mut(id) {
            let way = &mut connection.ways[1 - side];
            let (Some(&(start, message)), Some(node)) =
                (way.unheard.front(), connection.ends[side].node)
            else {
                return;
            };
            if start >= way.read {
                return;
            }
            way.unheard.pop_front();
            self.record(node, EventKind::Received { message });
        }
    }

    /// Tells the writer that there is room again, once there is enough to be worth it.
    fn open_window(&mut self, id: Id, side: usize) {
        let buffer = self.settings.receive_buffer_bytes as u64;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if way.bytes.is_empty() && way.bytes.capacity() > 4096 {
            way.bytes.shrink_to(0);
        }
        if way.read + buffer < way.told + buffer.div_ceil(2) || connection.ends[side].is_gone() {
            return;
        }
        way.told = way.read + buffer;
        let back = connection.ways[1 - side].link;
        // One that is lost is made good by the writer's own asking.
        if self.shut(back).is_none() {
            let heard = self.now + self.typical(back);
            self.answer(id, side, heard);
        }
    }

    /// The writer will hear how far the other end has come.
    pub(super) fn answer(&mut self, id: Id, side: usize, heard: Instant) {
        let buffer = self.settings.receive_buffer_bytes as u64;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        way.told = way.told.max(way.read + buffer);
        way.answers.push_back(Answer {
            heard,
            acknowledged: way.received,
            window: way.told,
        });
        way.is_unanswered = false;
        if way.lost == 0 {
            way.silent_since = None;
            way.losses = if way.is_full() { way.losses } else { 0 };
        }
        self.schedule_hearing(id, side);
    }

    /// What was sent from an end arrives at the other.
    pub(super) fn on_arrival(&mut self, id: Id, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if way.arrival.is_none_or(|at| at > now) {
            return;
        }
        way.arrival = None;
        let mut is_taken = false;
        while let Some(segment) = self.next_arrived(id, side) {
            match self.receive(id, side, segment.what) {
                Reception::Taken => is_taken = true,
                Reception::Silence => return self.lose(id, side, segment.what),
                Reception::Unknown => return self.reset(id, side),
            }
        }
        if is_taken {
            self.acknowledge(id, side);
        }
        self.schedule_arrival(id, side);
        self.retire_if_done(id, side);
    }

    fn next_arrived(&mut self, id: Id, side: usize) -> Option<Segment> {
        let now = self.now;
        let flight = &mut self.connections.get_mut(id)?.ways[side].flight;
        let is_due = flight.front()?.arrives.is_some_and(|at| at <= now);
        is_due.then(|| flight.pop_front()).flatten()
    }

    fn receive(&mut self, id: Id, side: usize, what: What) -> Reception {
        if self.is_silent(id, 1 - side) {
            return Reception::Silence;
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return Reception::Unknown;
        };
        let (end, way) = (&mut connection.ends[1 - side], &mut connection.ways[side]);
        if end.is_gone() || end.is_broken {
            return Reception::Unknown;
        }
        match what {
            What::Heard => return self.enqueue(id),
            What::Bytes(_) if end.is_dropped => {
                self.retire(id, 1 - side, Phase::Gone);
                return Reception::Unknown;
            }
            What::Bytes(count) => way.received = count,
            What::End => way.end_heard = true,
        }
        let reader = end.reader.take();
        self.wake(reader);
        Reception::Taken
    }

    /// A stream whose opener has heard the answer waits to be accepted.
    fn enqueue(&mut self, id: Id) -> Reception {
        let Some(connection) = self.connections.get_mut(id) else {
            return Reception::Unknown;
        };
        let end = &mut connection.ends[1 - OPENER];
        let Phase::Answered(listener) = end.phase else {
            return Reception::Taken;
        };
        let Some(queue) = self.listeners.get_mut(listener) else {
            self.retire(id, 1 - OPENER, Phase::Gone);
            return Reception::Unknown;
        };
        end.phase = Phase::Queued;
        queue.answered -= 1;
        queue.waiting.push_back(id);
        let waker = queue.waker.take();
        self.wake(waker);
        Reception::Taken
    }

    /// Whether nobody answers for an end: its node's power is cut.
    pub(super) fn is_silent(&self, id: Id, side: usize) -> bool {
        let Some(connection) = self.connections.get(id) else {
            return false;
        };
        let end = &connection.ends[side];
        if let Phase::Crashed(fault) = &end.phase {
            self.recorder.touch(fault);
        }
        match end.node {
            Some(node) => matches!(self.nodes[node].status, Status::Crashed(_)),
            None => true,
        }
    }

    /// A segment met nobody: it will be sent again.
    fn lose(&mut self, id: Id, side: usize, what: What) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id) {
            let way = &mut connection.ways[side];
            let arrives = None;
            way.flight.push_front(Segment { what, arrives });
            way.lost += 1;
            way.silent_since.get_or_insert(now);
            if connection.ends[side].is_gone() {
                way.discard();
            }
            self.keep_trying(id, side);
        }
    }

    /// Acknowledges what has arrived, unless the way back is shut.
    fn acknowledge(&mut self, id: Id, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.ends[side].is_gone() {
            return;
        }
        let back = connection.ways[1 - side].link;
        let shut = self.shut(back);
        if shut.is_none() {
            let heard = now + self.typical(back);
            return self.answer(id, side, heard);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        way.is_unanswered = true;
        way.silent_since.get_or_insert(now);
        if shut == Some(Fate::Held) && !way.is_held {
            way.is_held = true;
            self.held.push(Held::Way(id, side));
        }
        self.keep_trying(id, side);
    }

    /// Tells an end that the other knows nothing of the stream. It is told once: one that does
    /// not hear it asks again.
    pub(super) fn reset(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.ends[side].is_gone() {
            return;
        }
        let back = &mut connection.ways[1 - side];
        back.abandon();
        let (link, after) = (back.link, back.last_arrival);
        match self.fate(link, 0) {
            Fate::Arrives(at, _) => self.schedule_reset(id, side, at.max(after)),
            Fate::Held => self.held.push(Held::Reset(id, side)),
            Fate::Lost | Fate::Blocked => self.keep_trying_unknown(id, side),
        }
    }

    fn schedule_reset(&mut self, id: Id, side: usize, at: Instant) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // What it would send again until then meets nobody.
        connection.ways[side].again = None;
        if let Some(node) = connection.ends[side].node {
            self.schedule.push(at, node, Event::Reset(id, side));
        }
    }

    /// The word was lost: whoever has something to send sends it again.
    fn keep_trying_unknown(&mut self, id: Id, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if way.sent > way.received || way.end_sent && !way.end_heard {
            way.is_unanswered = true;
            way.silent_since.get_or_insert(now);
            self.keep_trying(id, side);
        }
    }

    /// An end is told that the other knows nothing of the stream.
    pub(super) fn on_reset(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let end_heard = connection.ways[1 - side].end_heard;
        connection.ways[1 - side].flight.clear();
        let end = &mut connection.ends[side];
        match end.phase.clone() {
            Phase::Gone | Phase::Crashed(_) => {}
            Phase::Opening => self.fail_opening(id, ErrorKind::ConnectionRefused),
            Phase::Answered(_) => self.retire(id, side, Phase::Gone),
            Phase::Queued | Phase::Open if end.is_broken => {}
            Phase::Queued | Phase::Open => {
                let kind = match end_heard {
                    true => ErrorKind::BrokenPipe,
                    false => ErrorKind::ConnectionReset,
                };
                self.break_end(id, side, kind);
            }
        }
    }

    /// Lets go of a closed end that has nothing left to send.
    pub(super) fn retire_if_done(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let is_done = connection.ends[side].is_dropped && connection.ways[side].end_heard;
        if is_done && !connection.ends[side].is_gone() {
            self.retire(id, side, Phase::Gone);
        }
    }
}
