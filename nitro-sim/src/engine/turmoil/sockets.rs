//! Turmoil's TCP and UDP as a host's network, without the links.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use crate::network::Opens;
use futures_util::future::BoxFuture;
use nitro::address::Address;
use nitro::host::{Datagram, Listener, Network, Stream};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

/// The sockets of one node.
pub(super) struct Sockets {
    pub(super) name: Arc<str>,
    pub(super) address: IpAddr,
}

impl Sockets {
    /// What turmoil binds to for an address of this node: only "any" and loopback.
    fn bindable(&self, host: &str) -> io::Result<IpAddr> {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        if host == &*self.name {
            return Ok(any);
        }
        if host == "localhost" {
            return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() || ip == self.address => Ok(any),
            Ok(ip) if ip.is_loopback() => Ok(ip),
            _ => {
                let message = format!("{host} is not an address of {}", self.name);
                Err(io::Error::new(io::ErrorKind::AddrNotAvailable, message))
            }
        }
    }
}

fn unsupported(address: &Address) -> io::Error {
    let message = format!("{address}: the turmoil engine carries TCP and UDP only");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

impl Network for Sockets {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let (stream, _) = self.open(to).await?;
            Ok(stream)
        })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let Address::Tcp { host, port } = at else {
                return Err(unsupported(at));
            };
            let listener = TcpListener::bind((self.bindable(host)?, *port)).await?;
            let listener = Arc::new(listener);
            let accepting = Mutex::new(accept(Arc::clone(&listener)));
            Ok(Box::new(Accepting {
                listener,
                accepting,
            }) as Box<dyn Listener>)
        })
    }

    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move {
            let ip = self.bindable(&at.ip().to_string())?;
            let socket = UdpSocket::bind((ip, at.port())).await?;
            Ok(Box::new(Packets(socket)) as Box<dyn Datagram>)
        })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        // The links know the names and answer before it comes to this.
        let message = format!("{name}: turmoil would make up an address");
        Box::pin(async move { Err(io::Error::new(io::ErrorKind::NotFound, message)) })
    }
}

impl Opens for Sockets {
    fn open<'a>(
        &'a self,
        to: &'a Address,
    ) -> BoxFuture<'a, io::Result<(Box<dyn Stream>, Address)>> {
        Box::pin(async move {
            let Address::Tcp { host, port } = to else {
                return Err(unsupported(to));
            };
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            let own = Address::from(stream.local_addr()?);
            Ok((Box::new(stream) as Box<dyn Stream>, own))
        })
    }
}

type Accept = BoxFuture<'static, io::Result<(TcpStream, SocketAddr)>>;

fn accept(listener: Arc<TcpListener>) -> Accept {
    Box::pin(async move { listener.accept().await })
}

struct Accepting {
    listener: Arc<TcpListener>,
    /// The next accept, under way. The lock makes it shareable; it is never contended.
    accepting: Mutex<Accept>,
}

impl Listener for Accepting {
    fn address(&self) -> Address {
        let bound = self.listener.local_addr();
        Address::from(bound.expect("a bound listener has an address"))
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
        let accepting = self.accepting.get_mut().expect("no panic while accepting");
        let accepted = match Pin::new(&mut *accepting).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(accepted) => accepted,
        };
        *accepting = accept(Arc::clone(&self.listener));
        let accepted = accepted.map(|(stream, from)| {
            let stream: Box<dyn Stream> = Box::new(stream);
            (stream, Address::from(from))
        });
        Poll::Ready(accepted)
    }
}

struct Packets(UdpSocket);

impl Datagram for Packets {
    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket has an address")
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            match self.0.send_to(bytes, to).await {
                // Turmoil refuses where nobody has the address; a datagram just vanishes.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
                sent => sent.map(|_| ()),
            }
        })
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.0.recv_from(buffer))
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => self.0.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => Err(version_six()),
        }
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => self.0.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => Err(version_six()),
        }
    }
}

fn version_six() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the simulated network is IPv4")
}
