//! A node's place in the network: its [`Network`] with the links around it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use nitro::address::Address;
use nitro::host::{Clock, Datagram, Listener, Network, Stream, Tasks};

use super::CONNECT_MAX;
use super::datagram::LinkedDatagram;
use super::link::{Links, Reach};
use super::passage::Passage;
use super::stream::LinkedStream;
use crate::record::Recorder;
use crate::trace::{EventKind, MessageOutcome};

/// Who a node is to the links and the recorder.
#[derive(Clone)]
pub struct Attached {
    /// The links of the cluster.
    pub links: Links,
    /// The node's number there.
    pub node: usize,
    /// The node's name.
    pub name: Arc<str>,
    /// The node's clock.
    pub clock: Arc<dyn Clock>,
    /// What is recorded goes here.
    pub recorder: Recorder,
}

impl Attached {
    /// Records what happened on the node now: its place in the trace.
    pub fn record(&self, kind: EventKind) -> Option<u64> {
        let at_us = self.clock.now().as_nanos() / 1000;
        self.recorder.record(at_us, Some(&self.name), kind)
    }

    pub(super) fn record_message(
        &self,
        to: usize,
        bytes: usize,
        outcome: MessageOutcome,
    ) -> Option<u64> {
        self.record(EventKind::Message {
            from: Arc::clone(&self.name),
            to: self.links.name(to),
            bytes: bytes as u64,
            outcome,
        })
    }
}

/// An engine's network, below the links.
pub trait Opens: Network {
    /// Opens a stream, and tells this end's address, as the other end sees it.
    fn open<'a>(&'a self, to: &'a Address)
    -> BoxFuture<'a, io::Result<(Box<dyn Stream>, Address)>>;
}

/// A node's network: the engine's, with the links around it.
pub struct Attachment {
    at: Attached,
    inner: Arc<dyn Opens>,
    tasks: Arc<dyn Tasks>,
}

impl Attachment {
    /// Puts the links around an engine's network.
    pub fn new(at: Attached, inner: Arc<dyn Opens>, tasks: Arc<dyn Tasks>) -> Self {
        Self { at, inner, tasks }
    }

    async fn open(&self, peer: usize, to: &Address) -> io::Result<(Box<dyn Stream>, Address)> {
        let Attached { links, node, .. } = &self.at;
        let wait = loop {
            let mut changed = pin!(links.changed());
            changed.as_mut().enable();
            match links.reach(*node, peer) {
                Reach::Open(wait) => break wait,
                Reach::Silent => changed.await,
                Reach::Refused => {
                    self.at.clock.sleep(links.latency_min * 2).await;
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
            }
        };
        if !wait.is_zero() {
            self.at.clock.sleep(wait).await;
        }
        self.inner.open(to).await
    }

    async fn connect_to(&self, peer: usize, to: &Address) -> io::Result<Box<dyn Stream>> {
        let name = self.at.links.name(peer);
        self.at.record(EventKind::Connect {
            to: Arc::clone(&name),
        });
        let opened = self
            .at
            .clock
            .timeout(CONNECT_MAX, self.open(peer, to))
            .await;
        match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok((stream, own)) => {
                self.at.record(EventKind::Connected { to: name });
                let at = self.at.clone();
                let passage = Passage::opened(&at.links, &own, to);
                let tasks = &*self.tasks;
                Ok(Box::new(LinkedStream::new(
                    at, tasks, peer, stream, passage,
                )))
            }
            Err(error) => {
                let kind = error.kind().to_string();
                self.at.record(EventKind::ConnectFailed {
                    to: name,
                    error: kind,
                });
                Err(error)
            }
        }
    }
}

impl Network for Attachment {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let Address::Tcp { host, port } = to else {
                return self.inner.connect(to).await;
            };
            let ip = self.lookup(host).await?[0];
            let to = Address::tcp(ip.to_string(), *port);
            match self.at.links.node_at(ip) {
                Some(peer) if peer != self.at.node => self.connect_to(peer, &to).await,
                Some(_) => self.inner.connect(&to).await,
                None if ip.is_loopback() => self.inner.connect(&to).await,
                None => Err(io::ErrorKind::HostUnreachable.into()),
            }
        })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener: Box<dyn Listener> = Box::new(LinkedListener {
                inner: self.inner.listen(at).await?,
                at: self.at.clone(),
                tasks: Arc::clone(&self.tasks),
            });
            Ok(listener)
        })
    }

    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move {
            let inner = self.inner.datagram(at).await?;
            let socket: Box<dyn Datagram> = Box::new(LinkedDatagram::new(self.at.clone(), inner));
            Ok(socket)
        })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            if let Ok(ip) = name.parse() {
                return Ok(vec![ip]);
            }
            if name == "localhost" {
                return Ok(vec![IpAddr::from([127, 0, 0, 1])]);
            }
            let missing = || {
                let message = format!("no node is called {name:?}");
                io::Error::new(io::ErrorKind::NotFound, message)
            };
            self.at
                .links
                .address(name)
                .map(|ip| vec![ip])
                .ok_or_else(missing)
        })
    }
}

struct LinkedListener {
    inner: Box<dyn Listener>,
    at: Attached,
    tasks: Arc<dyn Tasks>,
}

fn is_any(host: &str) -> bool {
    host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

impl Listener for LinkedListener {
    fn address(&self) -> Address {
        match self.inner.address() {
            // A node is known by its own address, not by "any".
            Address::Tcp { host, port } if is_any(&host) => {
                let ip = self.at.links.address(&self.at.name);
                let host = ip.map_or_else(|| self.at.name.to_string(), |ip| ip.to_string());
                Address::tcp(host, port)
            }
            other => other,
        }
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
        self.inner.poll_accept(context).map_ok(|(stream, from)| {
            let Address::Tcp { host, .. } = &from else {
                return (stream, from);
            };
            let ip = host.parse::<IpAddr>().ok();
            let peer = ip.and_then(|ip| self.at.links.node_at(ip));
            let Some(peer) = peer.filter(|peer| *peer != self.at.node) else {
                return (stream, from);
            };
            let name = self.at.links.name(peer);
            self.at.record(EventKind::Accepted { from: name });
            let passage = Passage::accepted(&self.at.links, &from, &self.address());
            let (at, tasks) = (self.at.clone(), &*self.tasks);
            let linked = LinkedStream::new(at, tasks, peer, stream, passage);
            (Box::new(linked) as Box<dyn Stream>, from)
        })
    }
}
