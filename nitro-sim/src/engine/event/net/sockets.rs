//! The sockets of a node, as what runs on it sees them.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use nitro::address::Address;
use nitro::host::{Datagram, Listener, Network, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Net;
use super::connection::OPENER;
use super::slab::Id;
use super::state::{State, Status};
use crate::trace::EventKind;

/// The network of a node in one of its lives.
pub(super) struct Sockets {
    pub(super) net: Net,
    pub(super) node: usize,
    pub(super) incarnation: u32,
}

impl Sockets {
    /// Runs `call` on the network, unless this life of the node has ended.
    fn call<T>(&self, call: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.net.with(|state| {
            let node = &state.nodes[self.node];
            if node.incarnation != self.incarnation || node.status != Status::Up {
                return Err(io::ErrorKind::NetworkDown.into());
            }
            call(state)
        })
    }

    /// Whether an address of this node is only for itself; an error if it is not one.
    fn is_local(&self, state: &State, host: &str) -> io::Result<bool> {
        let node = &state.nodes[self.node];
        if host == &*node.name {
            return Ok(false);
        }
        if host == "localhost" {
            return Ok(true);
        }
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip == node.address || ip.is_multicast() => Ok(false),
            Ok(ip) if ip.is_loopback() => Ok(true),
            _ => {
                let message = format!("{host} is not an address of {}", node.name);
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message))
            }
        }
    }

    fn resolve(&self, state: &State, name: &str) -> io::Result<IpAddr> {
        if let Some(fault) = state.names.forgotten(name) {
            state.recorder.touch(fault);
            let message = format!("the name {name:?} has no address now");
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let (ip, fault) = state.names.lookup(name)?;
        if let Some(fault) = fault {
            state.recorder.touch(fault);
        }
        Ok(ip)
    }

    async fn open(&self, host: &str, port: u16) -> io::Result<Box<dyn Stream>> {
        let (id, peer) = self.call(|state| {
            let ip = self.resolve(state, host)?;
            let to = state.names.place(ip, self.node)?;
            let id = state.open(self.node, to, port)?;
            let ends = &state.connections.get(id).expect("it was just opened").ends;
            Ok((id, ends[1 - OPENER].node))
        })?;
        // From here on it is closed if the caller stops waiting.
        let stream = Flow {
            net: self.net.clone(),
            id,
            side: OPENER,
        };
        let opened = poll_fn(|context| self.net.with(|state| state.poll_opened(id, context))).await;
        self.net.with(|state| {
            let Some(peer) = peer.filter(|peer| *peer != self.node) else {
                return;
            };
            let to = state.name(peer);
            let kind = match &opened {
                Ok(()) => EventKind::Connected { to },
                Err(error) => EventKind::ConnectFailed {
                    to,
                    error: error.kind().to_string(),
                },
            };
            state.record(self.node, kind);
        });
        opened.map(|()| Box::new(stream) as Box<dyn Stream>)
    }
}

fn unsupported(address: &Address) -> io::Error {
    let message = format!("{address}: a simulated network carries host:port only");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

impl Network for Sockets {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            match to {
                Address::Tcp { host, port } => self.open(host, *port).await,
                _ => Err(unsupported(to)),
            }
        })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let Address::Tcp { host, port } = at else {
                return Err(unsupported(at));
            };
            let (id, address) = self.call(|state| {
                let is_local = self.is_local(state, host)?;
                let (id, port) = state.listen(self.node, *port, is_local)?;
                Ok((id, state.socket_address(self.node, port)))
            })?;
            let net = self.net.clone();
            Ok(Box::new(Accepting { net, id, address }) as Box<dyn Listener>)
        })
    }

    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move {
            let (id, address) = self.call(|state| {
                self.is_local(state, &at.ip().to_string())?;
                let (id, port) = state.bind(self.node, at.port())?;
                Ok((id, state.socket_address(self.node, port)))
            })?;
            let net = self.net.clone();
            Ok(Box::new(Posting { net, id, address }) as Box<dyn Datagram>)
        })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { self.call(|state| Ok(vec![self.resolve(state, name)?])) })
    }
}

/// One end of a stream.
struct Flow {
    net: Net,
    id: Id,
    side: usize,
}

impl AsyncRead for Flow {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.net
            .with(|state| state.poll_read(self.id, self.side, context, buffer))
    }
}

impl AsyncWrite for Flow {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.net
            .with(|state| state.poll_write(self.id, self.side, bytes, context))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.net.with(|state| state.shut_down(self.id, self.side));
        Poll::Ready(Ok(()))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.net.with(|state| state.close(self.id, self.side));
    }
}

struct Accepting {
    net: Net,
    id: Id,
    address: SocketAddr,
}

impl Listener for Accepting {
    fn address(&self) -> Address {
        Address::from(self.address)
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
        let accepted = self.net.with(|state| {
            let accepted = state.poll_accept(self.id, context);
            accepted.map_ok(|id| {
                let opener = state.connections.get(id).map(|found| &found.ends[OPENER]);
                let from = opener.and_then(|end| Some((end.node?, end.port)));
                let (node, port) = from.expect("a stream that waits has an opener on a node");
                (id, state.socket_address(node, port))
            })
        });
        accepted.map_ok(|(id, from)| {
            let flow = Flow {
                net: self.net.clone(),
                id,
                side: 1 - OPENER,
            };
            (Box::new(flow) as Box<dyn Stream>, Address::from(from))
        })
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.net.with(|state| state.close_listener(self.id));
    }
}

struct Posting {
    net: Net,
    id: Id,
    address: SocketAddr,
}

impl Datagram for Posting {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            self.net
                .with(|state| state.send_datagram(self.id, bytes, to))
        })
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(poll_fn(move |context| {
            self.net
                .with(|state| state.poll_receive(self.id, context, buffer))
        }))
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        self.net.with(|state| state.join(self.id, group))
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        self.net.with(|state| state.leave(self.id, group))
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.net.with(|state| state.close_socket(self.id));
    }
}
