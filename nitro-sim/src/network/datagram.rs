//! A socket for datagrams whose senders' links decide what arrives.
//!
//! The choice falls where a datagram arrives, because one sent to a group has one sender and many
//! links.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use nitro::host::Datagram;
use nitro::time::Instant;

use super::link::Fate;
use super::{Attached, DATAGRAM_BYTES_MAX, DATAGRAMS_WAITING_MAX};
use crate::trace::{EventKind, MessageOutcome};

pub(super) struct LinkedDatagram {
    at: Attached,
    inner: Box<dyn Datagram>,
    waiting: Mutex<Vec<Waiting>>,
}

/// A datagram that has not arrived yet.
struct Waiting {
    bytes: Vec<u8>,
    from: SocketAddr,
    sender: usize,
    /// When it arrives; none while it is held.
    due: Option<Instant>,
    message: Option<u64>,
}

impl LinkedDatagram {
    pub(super) fn new(at: Attached, inner: Box<dyn Datagram>) -> Self {
        let waiting = Mutex::new(Vec::new());
        Self { at, inner, waiting }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().expect("no panic while datagrams wait")
    }

    /// The first waiting datagram that may arrive now.
    fn take_due(&self) -> Option<Waiting> {
        let now = self.at.clock.now();
        let mut waiting = self.lock();
        let index = waiting.iter().position(|datagram| match datagram.due {
            Some(due) => due <= now,
            None => self.at.links.is_open(datagram.sender, self.at.node),
        })?;
        Some(waiting.remove(index))
    }

    fn earliest_due(&self) -> Option<Instant> {
        self.lock().iter().filter_map(|datagram| datagram.due).min()
    }

    /// Whether one more can wait.
    fn has_room(&self) -> bool {
        self.lock().len() < DATAGRAMS_WAITING_MAX
    }

    /// Whether a datagram arrives now; if not it waits or is gone.
    fn arrives(&self, bytes: &[u8], from: SocketAddr) -> bool {
        let sender = self.at.links.node_at(from.ip());
        let Some(sender) = sender.filter(|sender| *sender != self.at.node) else {
            return true;
        };
        let links = &self.at.links;
        let latency = links.latency(sender, self.at.node);
        let due = |later| Some(self.at.clock.now() + later + latency);
        let (outcome, due) = match links.fate(sender, self.at.node) {
            Fate::Goes(later) if later.is_zero() && latency.is_zero() => {
                let message = self.record(sender, bytes.len(), MessageOutcome::Sent);
                self.record_received(message);
                return true;
            }
            Fate::Goes(later) if self.has_room() => match later.is_zero() {
                true => (MessageOutcome::Sent, due(later)),
                false => (MessageOutcome::Delayed, due(later)),
            },
            Fate::Held if self.has_room() => (MessageOutcome::Held, None),
            _ => (MessageOutcome::Dropped, None),
        };
        let message = self.record(sender, bytes.len(), outcome);
        if outcome != MessageOutcome::Dropped {
            self.lock().push(Waiting {
                bytes: bytes.to_vec(),
                from,
                sender,
                due,
                message,
            });
        }
        false
    }

    /// Records a datagram, only now, as what its sender did; one that has crashed does nothing.
    fn record(&self, sender: usize, bytes: usize, outcome: MessageOutcome) -> Option<u64> {
        let Attached { links, clock, .. } = &self.at;
        let from = links.name(sender);
        let node = match links.is_up(sender) {
            true => &from,
            false => &self.at.name,
        };
        let kind = EventKind::Message {
            from: Arc::clone(&from),
            to: Arc::clone(&self.at.name),
            bytes: bytes as u64,
            outcome,
        };
        let at_us = clock.now().as_nanos() / 1000;
        self.at.recorder.record(at_us, Some(node), kind)
    }

    fn record_received(&self, message: Option<u64>) {
        if let Some(message) = message {
            self.at.record(EventKind::Received { message });
        }
    }

    async fn next(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        loop {
            let mut changed = pin!(self.at.links.changed());
            changed.as_mut().enable();
            if let Some(Waiting {
                bytes,
                from,
                message,
                ..
            }) = self.take_due()
            {
                self.record_received(message);
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                return Ok((length, from));
            }
            let due = async {
                match self.earliest_due() {
                    Some(due) => self.at.clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = due => {}
                received = self.inner.receive(buffer) => {
                    let (length, from) = received?;
                    if self.arrives(&buffer[..length], from) {
                        return Ok((length, from));
                    }
                }
            }
        }
    }
}

impl Datagram for LinkedDatagram {
    fn address(&self) -> SocketAddr {
        let bound = self.inner.address();
        let ip = self.at.links.address(&self.at.name);
        SocketAddr::new(ip.unwrap_or(bound.ip()), bound.port())
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if bytes.len() > DATAGRAM_BYTES_MAX {
                let length = bytes.len();
                let message =
                    format!("{length} bytes; a datagram has {DATAGRAM_BYTES_MAX} at most");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            self.inner.send(bytes, to).await
        })
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.next(buffer))
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        self.inner.join(group)
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        self.inner.leave(group)
    }
}
