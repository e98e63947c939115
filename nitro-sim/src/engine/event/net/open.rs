//! How streams begin and end: asking, answering, listening, accepting, closing.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll};

use super::connection::{ACCEPTOR, Connection, End, OPENER, Phase, Way, What};
use super::link::Fate;
use super::names::Place;
use super::slab::Id;
use super::state::{Event, Held, Queue, State, Status, renew};
use crate::trace::EventKind;

impl State {
    /// Begins to open a stream from a node; the answer comes later.
    pub(super) fn open(&mut self, node: usize, to: Place, port: u16) -> io::Result<Id> {
        let peer = match to {
            Place::Node(peer) => Some(peer),
            Place::Silent => None,
        };
        let own_port = self.nodes[node].free_port(super::state::Node::is_stream_port)?;
        self.nodes[node].ports.insert(own_port);
        let links = peer.map(|peer| [self.link(node, peer), self.link(peer, node)]);
        let window = self.settings.receive_buffer_bytes as u64;
        let way = |side: usize| Way::new(links.and_then(|links| links[side]), window);
        let id = self.connections.insert(Connection {
            ends: [
                End::new(Some(node), own_port, Phase::Opening),
                End::new(peer, port, Phase::Gone),
            ],
            ways: [way(OPENER), way(ACCEPTOR)],
            port,
            tries: 0,
            give_up: self.now + self.settings.connect_max,
        });
        self.nodes[node].ends.insert((id, OPENER));
        if let Some(peer) = peer.filter(|peer| *peer != node) {
            let to = self.name(peer);
            self.record(node, EventKind::Connect { to });
        }
        self.ask(id);
        self.schedule_ask(id);
        Ok(id)
    }

    /// Asks the other node for a stream.
    fn ask(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let (Some(peer), link) = (connection.ends[ACCEPTOR].node, connection.ways[OPENER].link)
        else {
            return;
        };
        match self.fate(link, 0) {
            Fate::Arrives(at, _) => self.schedule.push(at, peer, Event::Asked(id)),
            Fate::Held => self.held.push(Held::Asking(id)),
            Fate::Lost | Fate::Blocked => {}
        }
    }

    fn schedule_ask(&mut self, id: Id) {
        let first = self.settings.open_again_first;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let wait = first.saturating_mul(1 << connection.tries.min(20));
        connection.tries += 1;
        let at = (self.now + wait).min(connection.give_up);
        if let Some(node) = connection.ends[OPENER].node {
            self.schedule.push(at, node, Event::AskAgain(id));
        }
    }

    /// An opening is tried again, or given up.
    pub(super) fn on_ask_again(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.ends[OPENER].phase != Phase::Opening {
            return;
        }
        if self.now >= connection.give_up {
            return self.fail_opening(id, ErrorKind::TimedOut);
        }
        self.ask(id);
        self.schedule_ask(id);
    }

    pub(super) fn fail_opening(&mut self, id: Id, kind: ErrorKind) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let end = &mut connection.ends[OPENER];
        end.is_broken = true;
        end.error = Some(kind);
        // It is open and broken from here on: whoever waits is told, and lets go of it.
        end.phase = Phase::Open;
        let waker = end.reader.take();
        self.wake(waker);
        self.forget_answer(id);
    }

    /// An opening reaches the node that is asked.
    pub(super) fn on_asked(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let (Some(node), port) = (connection.ends[ACCEPTOR].node, connection.port) else {
            return;
        };
        let is_own = connection.ends[OPENER].node == Some(node);
        if let Status::Crashed(_) = self.nodes[node].status {
            return self.touch_crash(node);
        }
        match connection.ends[ACCEPTOR].phase {
            // The answer was lost.
            Phase::Answered(_) => return self.answer_opening(id),
            Phase::Queued | Phase::Open => return,
            Phase::Opening | Phase::Gone | Phase::Crashed(_) => {}
        }
        if connection.ends[OPENER].phase != Phase::Opening {
            return;
        }
        let listener = self.nodes[node].listeners.get(&port).copied();
        let found = listener.and_then(|id| Some((id, self.listeners.get_mut(id)?)));
        let Some((listener, queue)) = found.filter(|(_, queue)| is_own || !queue.is_local) else {
            return self.reset(id, OPENER);
        };
        if queue.waiting.len() + queue.answered > self.settings.backlog {
            return;
        }
        queue.answered += 1;
        let phase = Phase::Answered(listener);
        if let Some(connection) = self.connections.get_mut(id) {
            connection.ends[ACCEPTOR] = End::new(Some(node), port, phase);
            self.nodes[node].ends.insert((id, ACCEPTOR));
        }
        self.answer_opening(id);
    }

    fn answer_opening(&mut self, id: Id) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let (Some(node), link) = (connection.ends[OPENER].node, connection.ways[ACCEPTOR].link)
        else {
            return;
        };
        match self.fate(link, 0) {
            Fate::Arrives(at, _) => self.schedule.push(at, node, Event::Answered(id)),
            Fate::Held => self.held.push(Held::Answering(id)),
            Fate::Lost | Fate::Blocked => {}
        }
    }

    /// The answer reaches the opener.
    pub(super) fn on_answered(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let end = &mut connection.ends[OPENER];
        if end.phase != Phase::Opening {
            return;
        }
        end.phase = Phase::Open;
        let waker = end.reader.take();
        self.wake(waker);
        self.transmit(id, OPENER, What::Heard, 0);
    }

    /// Whether a stream is open yet.
    pub(super) fn poll_opened(
        &mut self,
        id: Id,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let end = &mut connection.ends[OPENER];
        if end.phase == Phase::Opening {
            let earlier = renew(&mut end.reader, context.waker());
            self.replace(earlier);
            return Poll::Pending;
        }
        Poll::Ready(end.error.take().map_or(Ok(()), |kind| Err(kind.into())))
    }

    /// Puts a listener in place.
    pub(super) fn listen(
        &mut self,
        node: usize,
        port: u16,
        is_local: bool,
    ) -> io::Result<(Id, u16)> {
        let owner = &mut self.nodes[node];
        if port != 0 && owner.is_stream_port(port) {
            let message = format!("port {port} of {} is taken", owner.name);
            return Err(io::Error::new(ErrorKind::AddrInUse, message));
        }
        let port = match port {
            0 => owner.free_port(super::state::Node::is_stream_port)?,
            port => port,
        };
        let id = self.listeners.insert(Queue {
            node,
            port,
            is_local,
            waiting: Default::default(),
            answered: 0,
            waker: None,
        });
        self.nodes[node].listeners.insert(port, id);
        Ok((id, port))
    }

    pub(super) fn poll_accept(
        &mut self,
        id: Id,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Id>> {
        let Some(queue) = self.listeners.get_mut(id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let node = queue.node;
        while let Some(waiting) = queue.waiting.pop_front() {
            let Some(connection) = self.connections.get_mut(waiting) else {
                continue;
            };
            connection.ends[ACCEPTOR].phase = Phase::Open;
            if let Some(peer) = connection.ends[OPENER].node.filter(|peer| *peer != node) {
                let from = self.name(peer);
                self.record(node, EventKind::Accepted { from });
            }
            return Poll::Ready(Ok(waiting));
        }
        let earlier = renew(&mut queue.waker, context.waker());
        self.replace(earlier);
        Poll::Pending
    }

    /// Takes a listener away; who waits to be accepted is told that nobody listens.
    pub(super) fn close_listener(&mut self, id: Id) {
        let Some(queue) = self.listeners.remove(id) else {
            return;
        };
        self.nodes[queue.node].listeners.remove(&queue.port);
        self.replace(queue.waker);
        for waiting in queue.waiting {
            self.retire(waiting, ACCEPTOR, Phase::Gone);
            self.reset(waiting, OPENER);
        }
    }

    /// Lets go of an end: what was written is still sent, unless there is something unread, which
    /// the other end is told by a reset.
    pub(super) fn close(&mut self, id: Id, side: usize) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let has_unread = connection.ways[1 - side].unread() > 0;
        let end = &mut connection.ends[side];
        if std::mem::replace(&mut end.is_dropped, true) {
            return;
        }
        let wakers = [end.reader.take(), end.writer.take()];
        self.discarded.extend(wakers.into_iter().flatten());
        match end.phase {
            Phase::Gone | Phase::Crashed(_) => {}
            Phase::Opening => {
                self.retire(id, side, Phase::Gone);
            }
            _ if end.is_broken => self.retire(id, side, Phase::Gone),
            _ if has_unread => {
                self.retire(id, side, Phase::Gone);
                self.reset(id, 1 - side);
            }
            _ => {
                self.shut_down(id, side);
                self.retire_if_done(id, side);
            }
        }
    }

    /// An end is no more. Once both are, the stream is forgotten.
    pub(super) fn retire(&mut self, id: Id, side: usize, phase: Phase) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let end = &mut connection.ends[side];
        let was = std::mem::replace(&mut end.phase, phase);
        let wakers = [end.reader.take(), end.writer.take()];
        if let Some(node) = end.node {
            self.nodes[node].ends.remove(&(id, side));
            if side == OPENER {
                self.nodes[node].ports.remove(&end.port);
            }
        }
        if let Phase::Answered(listener) = was
            && let Some(queue) = self.listeners.get_mut(listener)
        {
            queue.answered -= 1;
        }
        connection.ways[side].again = None;
        let never_heard = was == Phase::Opening || connection.ways[OPENER].flight.is_empty();
        self.discarded.extend(wakers.into_iter().flatten());
        if side == OPENER && never_heard {
            self.forget_answer(id);
        }
        if let Some(connection) = self.connections.get(id)
            && connection.ends.iter().all(End::is_gone)
        {
            self.connections.remove(id);
        }
    }

    /// Nobody will hear the answer to an opening: it takes no place in the queue any more.
    fn forget_answer(&mut self, id: Id) {
        let phase = self
            .connections
            .get(id)
            .map(|found| &found.ends[ACCEPTOR].phase);
        if let Some(Phase::Answered(_)) = phase {
            self.retire(id, ACCEPTOR, Phase::Gone);
        }
    }

    /// Sends again what was held on links that are open now.
    pub(super) fn send_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Asking(id) => self.ask(id),
                Held::Answering(id) => self.answer_opening(id),
                Held::Reset(id, side) => self.reset(id, side),
                Held::Datagram(link, parcel) => self.post(link, parcel),
                Held::Way(id, side) => {
                    if let Some(connection) = self.connections.get_mut(id) {
                        connection.ways[side].is_held = false;
                        self.send_again(id, side);
                    }
                }
            }
        }
    }
}
