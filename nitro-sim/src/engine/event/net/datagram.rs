//! Datagrams: each finds its own way, or does not.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::link::Fate;
use super::names::Place;
use super::slab::Id;
use super::state::{Event, Held, State, Status};
use crate::trace::{EventKind, MessageOutcome};

/// How long a datagram waits for a busy link before it is lost, as in a router.
const QUEUE_MAX: Duration = Duration::from_secs(1);

/// How many bytes of each piece of a datagram are not its own: the headers of IPv4 and UDP.
const HEADER_BYTES: usize = 28;

/// How much later one comes that others are to overtake.
const OVERTAKEN: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];

/// The most datagrams that wait, held, before further ones are lost.
const HELD_MAX: usize = 1024;

/// A socket for datagrams.
pub(super) struct Socket {
    pub(super) node: usize,
    pub(super) port: u16,
    inbox: VecDeque<Parcel>,
    groups: Vec<IpAddr>,
    waiting: Vec<Waker>,
}

/// A datagram on its way.
pub(super) struct Parcel {
    to: usize,
    port: u16,
    from: SocketAddr,
    bytes: Bytes,
    /// Its place in the trace, where it is recorded.
    message: Option<u64>,
}

impl State {
    /// Puts a socket in place.
    pub(super) fn bind(&mut self, node: usize, port: u16) -> io::Result<(Id, u16)> {
        let owner = &mut self.nodes[node];
        if port != 0 && owner.sockets.contains_key(&port) {
            let message = format!("port {port} of {} is taken", owner.name);
            return Err(io::Error::new(ErrorKind::AddrInUse, message));
        }
        let port = match port {
            0 => owner.free_port(|node, port| node.sockets.contains_key(&port))?,
            port => port,
        };
        let id = self.sockets.insert(Socket {
            node,
            port,
            inbox: VecDeque::new(),
            groups: Vec::new(),
            waiting: Vec::new(),
        });
        self.nodes[node].sockets.insert(port, id);
        Ok((id, port))
    }

    /// Sends a datagram to a node or to all that have joined a group.
    pub(super) fn send_datagram(&mut self, id: Id, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let most = self.settings.datagram_bytes_max;
        if bytes.len() > most {
            let length = bytes.len();
            let message = format!("{length} bytes; a datagram has {most} at most");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let Some(socket) = self.sockets.get(id) else {
            return Err(ErrorKind::NotConnected.into());
        };
        let (node, from) = (socket.node, self.socket_address(socket.node, socket.port));
        let bytes = Bytes::copy_from_slice(bytes);
        if to.ip().is_multicast() {
            let members = self.groups.get(&to.ip()).cloned().unwrap_or_default();
            for (member, port) in members {
                if port == to.port() {
                    self.dispatch(node, member, port, from, bytes.clone());
                }
            }
            return Ok(());
        }
        if let Place::Node(peer) = self.names.place(to.ip(), node)? {
            self.dispatch(node, peer, to.port(), from, bytes);
        }
        Ok(())
    }

    fn dispatch(&mut self, node: usize, to: usize, port: u16, from: SocketAddr, bytes: Bytes) {
        let parcel = Parcel {
            to,
            port,
            from,
            bytes,
            message: None,
        };
        match self.link(node, to) {
            Some(link) => {
                let duplicate = self.links.settings(link).duplicate;
                if self.links.chance(link, duplicate, self.now) {
                    self.post(link, Box::new(parcel.copy()));
                }
                self.post(link, Box::new(parcel));
            }
            None => {
                let at = self.now + self.typical(None);
                self.schedule
                    .push(at, to, Event::Datagram(Box::new(parcel)));
            }
        }
    }

    /// Puts a datagram on a link.
    pub(super) fn post(&mut self, link: usize, mut parcel: Box<Parcel>) {
        let bytes = parcel.bytes.len();
        let pieces = (bytes + 8).div_ceil(self.settings.mtu_bytes.max(HEADER_BYTES * 2) - 20);
        let is_full = self.links.backlog(link, self.now) > QUEUE_MAX;
        let mut fate = self.links.fate(link, bytes + HEADER_BYTES, self.now);
        for _ in 1..pieces {
            // The rest of a long one: it arrives when all of it does.
            let rest = self.links.fate(link, 0, self.now);
            fate = match (fate, rest) {
                (Fate::Arrives(first, late), Fate::Arrives(at, _)) => {
                    Fate::Arrives(first.max(at), late)
                }
                (Fate::Arrives(..), rest) => rest,
                (lost, _) => lost,
            };
        }
        let outcome = match fate {
            _ if is_full => MessageOutcome::Dropped,
            Fate::Arrives(_, false) => MessageOutcome::Sent,
            Fate::Arrives(_, true) => MessageOutcome::Delayed,
            Fate::Held if self.held.len() < HELD_MAX => MessageOutcome::Held,
            _ => MessageOutcome::Dropped,
        };
        if parcel.message.is_none() {
            // One that was held is recorded already.
            parcel.message = self.record_message(link, bytes, outcome);
        }
        match fate {
            _ if outcome == MessageOutcome::Dropped => {}
            Fate::Arrives(at, _) => {
                let reorder = self.links.settings(link).reorder;
                let [least, most] = OVERTAKEN;
                let later = match self.links.chance(link, reorder, self.now) {
                    true => self.links.duration(link, [least, most], self.now),
                    false => Duration::ZERO,
                };
                let to = parcel.to;
                self.schedule.push(at + later, to, Event::Datagram(parcel));
            }
            _ => self.held.push(Held::Datagram(link, parcel)),
        }
    }

    /// A datagram arrives; one for nobody, or for a socket that is full, is lost.
    pub(super) fn on_datagram(&mut self, parcel: Parcel) {
        let node = &self.nodes[parcel.to];
        if node.status != Status::Up {
            return self.touch_crash(parcel.to);
        }
        let id = node.sockets.get(&parcel.port).copied();
        let Some(socket) = id.and_then(|id| self.sockets.get_mut(id)) else {
            return;
        };
        if socket.inbox.len() < self.settings.inbox {
            socket.inbox.push_back(parcel);
            self.woken.append(&mut socket.waiting);
        }
    }

    /// Receives a datagram; what does not fit is lost.
    pub(super) fn poll_receive(
        &mut self,
        id: Id,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let Some(socket) = self.sockets.get_mut(id) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        if let Some(parcel) = socket.inbox.pop_front() {
            let length = parcel.bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&parcel.bytes[..length]);
            let node = socket.node;
            if let Some(message) = parcel.message {
                self.record(node, EventKind::Received { message });
            }
            return Poll::Ready(Ok((length, parcel.from)));
        }
        let is_known = |waker: &Waker| waker.will_wake(context.waker());
        if !socket.waiting.iter().any(is_known) {
            socket.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Lets a socket receive what is sent to a group.
    pub(super) fn join(&mut self, id: Id, group: IpAddr) -> io::Result<()> {
        if !group.is_multicast() {
            let message = format!("{group} is not a multicast address");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let Some(socket) = self.sockets.get_mut(id) else {
            return Err(ErrorKind::NotConnected.into());
        };
        if socket.groups.contains(&group) {
            return Err(ErrorKind::AddrInUse.into());
        }
        socket.groups.push(group);
        let member = (socket.node, socket.port);
        self.groups.entry(group).or_default().insert(member);
        Ok(())
    }

    /// Stops a socket from receiving what is sent to a group.
    pub(super) fn leave(&mut self, id: Id, group: IpAddr) -> io::Result<()> {
        let Some(socket) = self.sockets.get_mut(id) else {
            return Err(ErrorKind::NotConnected.into());
        };
        if !socket.groups.contains(&group) {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        socket.groups.retain(|joined| *joined != group);
        let member = (socket.node, socket.port);
        self.leave_group(group, member);
        Ok(())
    }

    fn leave_group(&mut self, group: IpAddr, member: (usize, u16)) {
        if let Some(members) = self.groups.get_mut(&group) {
            members.remove(&member);
            if members.is_empty() {
                self.groups.remove(&group);
            }
        }
    }

    /// Takes a socket away.
    pub(super) fn close_socket(&mut self, id: Id) {
        let Some(socket) = self.sockets.remove(id) else {
            return;
        };
        self.nodes[socket.node].sockets.remove(&socket.port);
        for group in socket.groups {
            self.leave_group(group, (socket.node, socket.port));
        }
        self.discarded.extend(socket.waiting);
    }
}

impl Parcel {
    fn copy(&self) -> Self {
        Self {
            to: self.to,
            port: self.port,
            from: self.from,
            bytes: self.bytes.clone(),
            message: self.message,
        }
    }
}
