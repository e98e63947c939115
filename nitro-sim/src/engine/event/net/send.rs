//! The sending side of a stream: what is written goes out as far as the window allows, and again
//! when it is lost.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use super::connection::{Phase, SEGMENT_BYTES_MAX, Segment, What};
use super::link::Fate;
use super::slab::Id;
use super::state::{Event, Held, State, renew};
use crate::trace::{EventKind, MessageOutcome};

impl State {
    pub(super) fn poll_write(
        &mut self,
        id: Id,
        side: usize,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let (now, buffer) = (self.now, self.settings.send_buffer_bytes as u64);
        let Some(connection) = self.connections.get_mut(id) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let (end, way) = (&mut connection.ends[side], &mut connection.ways[side]);
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.is_broken || way.is_shut {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        way.hear(now);
        let room = buffer.saturating_sub(way.written - way.acknowledged) as usize;
        if room == 0 {
            let earlier = renew(&mut end.writer, context.waker());
            self.replace(earlier);
            self.schedule_hearing(id, side);
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        way.bytes.extend(&bytes[..count]);
        way.written += count as u64;
        self.push_out(id, side);
        Poll::Ready(Ok(count))
    }

    /// No more is written: the other end is told once it has all.
    pub(super) fn shut_down(&mut self, id: Id, side: usize) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ways[side].is_shut = true;
            self.push_out(id, side);
        }
    }

    /// Sends what may be sent.
    pub(super) fn push_out(&mut self, id: Id, side: usize) {
        while let Some(connection) = self.connections.get_mut(id) {
            let (end, way) = (&connection.ends[side], &mut connection.ways[side]);
            if end.is_broken || end.phase != Phase::Open && end.phase != Phase::Queued {
                return;
            }
            let most = way.written.min(way.window);
            if way.sent < most {
                let count = (most - way.sent).min(SEGMENT_BYTES_MAX);
                way.sent += count;
                let what = What::Bytes(way.sent);
                self.transmit(id, side, what, count as usize);
            } else if way.is_shut && way.sent == way.written && !way.end_sent {
                way.end_sent = true;
                self.transmit(id, side, What::End, 0);
            } else {
                break;
            }
        }
        self.keep_trying(id, side);
        self.schedule_hearing(id, side);
    }

    /// Puts a segment on its way.
    pub(super) fn transmit(&mut self, id: Id, side: usize, what: What, bytes: usize) {
        let Some(link) = self.connections.get(id).map(|found| found.ways[side].link) else {
            return;
        };
        let fate = self.fate(link, bytes);
        let mut sent = None;
        if let Some(link) = link.filter(|_| bytes > 0) {
            let outcome = match fate {
                Fate::Arrives(_, false) => MessageOutcome::Sent,
                Fate::Arrives(_, true) | Fate::Lost => MessageOutcome::Delayed,
                Fate::Blocked | Fate::Held => MessageOutcome::Held,
            };
            sent = self.record_message(link, bytes, outcome);
        }
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if let Some(message) = sent {
            way.unheard.push_back((way.sent - bytes as u64, message));
        }
        let arrives = match fate {
            Fate::Arrives(at, _) => {
                way.last_arrival = way.last_arrival.max(at);
                Some(way.last_arrival)
            }
            Fate::Lost | Fate::Blocked | Fate::Held => {
                way.lost += 1;
                way.silent_since.get_or_insert(now);
                None
            }
        };
        way.flight.push_back(Segment { what, arrives });
        if arrives.is_none() {
            self.hold_if(fate, id, side);
            self.keep_trying(id, side);
        }
        self.schedule_arrival(id, side);
    }

    fn hold_if(&mut self, fate: Fate, id: Id, side: usize) {
        if let Some(connection) = self.connections.get_mut(id)
            && fate == Fate::Held
            && !connection.ways[side].is_held
        {
            connection.ways[side].is_held = true;
            self.held.push(Held::Way(id, side));
        }
    }

    /// Schedules the arrival of the first segment, unless that is lost: later ones wait for it.
    pub(super) fn schedule_arrival(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        let (Some(first), Some(node)) = (way.flight.front(), connection.ends[1 - side].node) else {
            return;
        };
        if let (Some(at), None) = (first.arrives, way.arrival) {
            let at = at.max(self.now);
            way.arrival = Some(at);
            self.schedule.push(at, node, Event::Arrival(id, side));
        }
    }

    /// Schedules the next acknowledgement to be heard, if anything waits for it.
    pub(super) fn schedule_hearing(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let (end, way) = (&connection.ends[side], &mut connection.ways[side]);
        let waits = end.writer.is_some() || way.sent < way.written;
        if let (true, Some(answer), None, Some(node)) =
            (waits, way.answers.front(), way.hearing, end.node)
        {
            let at = answer.heard.max(self.now);
            way.hearing = Some(at);
            self.schedule.push(at, node, Event::Hearing(id, side));
        }
    }

    /// An end hears what was acknowledged.
    pub(super) fn on_hearing(&mut self, id: Id, side: usize) {
        let (now, buffer) = (self.now, self.settings.send_buffer_bytes as u64);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let (end, way) = (&mut connection.ends[side], &mut connection.ways[side]);
        if way.hearing.is_none_or(|at| at > now) {
            return;
        }
        way.hearing = None;
        way.hear(now);
        if way.written - way.acknowledged < buffer {
            let writer = end.writer.take();
            self.wake(writer);
        }
        self.push_out(id, side);
    }

    /// Starts the timer after which what is lost or unanswered is sent again.
    pub(super) fn keep_trying(&mut self, id: Id, side: usize) {
        let (first, most) = (self.settings.retransmit_first, self.settings.retransmit_max);
        let silence_max = self.settings.silence_max;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let (end, way) = (&connection.ends[side], &mut connection.ways[side]);
        let Some(node) = end
            .node
            .filter(|_| way.again.is_none() && way.is_outstanding())
        else {
            return;
        };
        let mut at = self.now + way.wait(first, most);
        if let Some(since) = way.silent_since {
            at = at.min((since + silence_max).max(self.now));
        }
        way.again = Some(at);
        self.schedule.push(at, node, Event::Again(id, side));
    }

    /// The timer has run out.
    pub(super) fn on_again(&mut self, id: Id, side: usize) {
        let (now, silence_max) = (self.now, self.settings.silence_max);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let way = &mut connection.ways[side];
        if way.again.is_none_or(|at| at > now) {
            return;
        }
        way.again = None;
        way.hear(now);
        if !way.is_outstanding() {
            way.losses = 0;
            return;
        }
        let is_over = |since| now >= since + silence_max;
        if way.silent_since.is_some_and(is_over) {
            return self.time_out(id, side);
        }
        way.losses += 1;
        self.send_again(id, side);
        self.keep_trying(id, side);
    }

    /// Sends what is lost again, or asks for the answer that is missing.
    pub(super) fn send_again(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.ways[side].lost == 0 {
            return self.probe(id, side);
        }
        let link = connection.ways[side].link;
        let segments = connection.ways[side].flight.len();
        for index in 0..segments {
            let is_lost = |state: &Self| {
                let way = &state.connections.get(id)?.ways[side];
                Some(way.flight.get(index)?.arrives.is_none())
            };
            if is_lost(self) != Some(true) {
                continue;
            }
            let fate = self.fate(link, 0);
            let Fate::Arrives(at, _) = fate else {
                self.hold_if(fate, id, side);
                break;
            };
            if let Some(connection) = self.connections.get_mut(id) {
                let way = &mut connection.ways[side];
                way.flight[index].arrives = Some(at);
                way.last_arrival = way.last_arrival.max(at);
                way.lost -= 1;
            }
        }
        self.schedule_arrival(id, side);
    }

    /// Asks how far the other end has come. The question and its answer are decided in one go.
    fn probe(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let links = [side, 1 - side].map(|side| connection.ways[side].link);
        let fate = self.fate(links[0], 0);
        let Fate::Arrives(at, _) = fate else {
            self.hold_if(fate, id, side);
            return self.hear_nothing(id, side);
        };
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let other = &connection.ends[1 - side];
        if other.is_gone() || other.is_broken {
            match self.is_silent(id, 1 - side) {
                true => self.hear_nothing(id, side),
                false => self.reset(id, side),
            }
            return;
        }
        if self.shut(links[1]).is_some() {
            return self.hear_nothing(id, side);
        }
        let heard = at + self.typical(links[1]);
        self.answer(id, side, heard);
    }

    fn hear_nothing(&mut self, id: Id, side: usize) {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ways[side].silent_since.get_or_insert(now);
        }
    }

    /// Nobody has answered for too long: the stream breaks.
    fn time_out(&mut self, id: Id, side: usize) {
        self.break_end(id, side, ErrorKind::TimedOut);
    }

    /// Breaks an end: what was not sent is forgotten, reader and writer are told.
    pub(super) fn break_end(&mut self, id: Id, side: usize, kind: ErrorKind) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let peer = connection.ends[1 - side].node;
        connection.ways[side].discard();
        let end = &mut connection.ends[side];
        end.is_broken = true;
        end.error = Some(kind);
        let wakers = [end.reader.take(), end.writer.take()];
        let (node, is_dropped) = (end.node, end.is_dropped);
        self.woken.extend(wakers.into_iter().flatten());
        if is_dropped {
            return self.retire(id, side, Phase::Gone);
        }
        if let (Some(node), Some(peer)) = (node, peer)
            && node != peer
        {
            let (peer, error) = (self.name(peer), kind.to_string());
            self.record(node, EventKind::Broken { peer, error });
        }
    }
}
