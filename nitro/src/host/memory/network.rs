//! A network of pipes within one process.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::super::network::{Datagram, Listener, Network, Stream};
use crate::address::Address;

/// Bytes that a pipe holds in each direction before a writer waits.
const PIPE_BYTES: usize = 64 * 1024;
/// Streams that wait to be accepted before a connect is refused.
const BACKLOG: usize = 1024;
/// Datagrams that wait to be received before further ones are lost, as in a kernel.
const DATAGRAMS: usize = 1024;
/// The longest datagram: what UDP over IPv4 carries.
const DATAGRAM_BYTES_MAX: usize = 65_507;
/// The first port given to who asks for any, as IANA has it.
const EPHEMERAL_FIRST: u16 = 49_152;

type Accepted = (Box<dyn Stream>, Address);
type Received = (Vec<u8>, SocketAddr);

/// The hosts of one process and what listens on them.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    table: Arc<Mutex<Table>>,
}

impl std::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryNetwork").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Table {
    names: BTreeMap<String, IpAddr>,
    listeners: BTreeMap<SocketAddr, mpsc::Sender<Accepted>>,
    sockets: BTreeMap<SocketAddr, mpsc::Sender<Received>>,
    groups: BTreeMap<IpAddr, Vec<SocketAddr>>,
    last_port: u16,
}

impl Table {
    fn ip(&self, name: &str, own: IpAddr) -> io::Result<IpAddr> {
        if let Ok(ip) = name.parse::<IpAddr>() {
            return Ok(if ip.is_loopback() || ip.is_unspecified() {
                own
            } else {
                ip
            });
        }
        if name == "localhost" {
            return Ok(own);
        }
        let found = self.names.get(name).copied();
        found.ok_or_else(|| {
            io::Error::new(
                ErrorKind::NotFound,
                format!("no host has the name {name:?}"),
            )
        })
    }

    fn free_port(&mut self, taken: impl Fn(&Table, u16) -> bool) -> io::Result<u16> {
        for _ in EPHEMERAL_FIRST..=u16::MAX {
            self.last_port = self.last_port.wrapping_add(1).max(EPHEMERAL_FIRST);
            if !taken(self, self.last_port) {
                return Ok(self.last_port);
            }
        }
        Err(io::Error::new(
            ErrorKind::AddrInUse,
            "every ephemeral port is taken",
        ))
    }
}

impl MemoryNetwork {
    /// The network as the host of this name sees it.
    pub fn attach(&self, name: &str) -> Attached {
        let mut table = self.lock();
        let count = u32::try_from(table.names.len()).expect("hosts fit in memory");
        let fresh = IpAddr::V4(Ipv4Addr::from(
            u32::from(Ipv4Addr::new(10, 0, 0, 1)) + count,
        ));
        let own = *table.names.entry(name.to_owned()).or_insert(fresh);
        drop(table);
        Attached {
            network: self.clone(),
            own,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while the table is held")
    }
}

/// The network as one host sees it.
pub struct Attached {
    network: MemoryNetwork,
    own: IpAddr,
}

impl Attached {
    /// The host's address.
    pub fn address(&self) -> IpAddr {
        self.own
    }

    /// Opens a stream, and tells this end's address, as the other end sees it.
    ///
    /// # Errors
    ///
    /// As [`Network::connect`].
    pub fn open(&self, to: &Address) -> io::Result<(Box<dyn Stream>, Address)> {
        let Address::Tcp { host, port } = to else {
            return Err(unsupported(to));
        };
        let mut table = self.network.lock();
        let target = SocketAddr::new(table.ip(host, self.own)?, *port);
        let refused = || {
            io::Error::new(
                ErrorKind::ConnectionRefused,
                format!("nobody listens at {to}"),
            )
        };
        let backlog = table.listeners.get(&target).ok_or_else(refused)?.clone();
        let port = table.free_port(|_, _| false)?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let from = Address::from(SocketAddr::new(self.own, port));
        backlog
            .try_send((Box::new(far), from.clone()))
            .map_err(|_| refused())?;
        Ok((Box::new(near), from))
    }

    fn bind(
        &self,
        at: SocketAddr,
        taken: impl Fn(&Table, SocketAddr) -> bool,
    ) -> io::Result<SocketAddr> {
        let mut table = self.network.lock();
        let wanted = SocketAddr::new(self.own, at.port());
        if at.port() != 0 && taken(&table, wanted) {
            return Err(io::Error::new(
                ErrorKind::AddrInUse,
                format!("{wanted} is taken"),
            ));
        }
        if at.port() != 0 {
            return Ok(wanted);
        }
        let port = table.free_port(|table, port| taken(table, SocketAddr::new(self.own, port)))?;
        Ok(SocketAddr::new(self.own, port))
    }
}

fn unsupported(address: &Address) -> io::Error {
    let message = format!("{address}: a memory network carries host:port only");
    io::Error::new(ErrorKind::Unsupported, message)
}

impl Network for Attached {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move { self.open(to).map(|(stream, _)| stream) })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let Address::Tcp { port, .. } = at else {
                return Err(unsupported(at));
            };
            let wanted = SocketAddr::new(self.own, *port);
            let at = self.bind(wanted, |table, at| table.listeners.contains_key(&at))?;
            let (sender, backlog) = mpsc::channel(BACKLOG);
            self.network.lock().listeners.insert(at, sender);
            let network = self.network.clone();
            Ok(Box::new(Bound {
                network,
                at,
                backlog,
            }) as Box<dyn Listener>)
        })
    }

    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move {
            let at = self.bind(at, |table, at| table.sockets.contains_key(&at))?;
            let (sender, inbox) = mpsc::channel(DATAGRAMS);
            self.network.lock().sockets.insert(at, sender);
            let inbox = tokio::sync::Mutex::new(inbox);
            let network = self.network.clone();
            Ok(Box::new(Socket { network, at, inbox }) as Box<dyn Datagram>)
        })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move { Ok(vec![self.network.lock().ip(name, self.own)?]) })
    }
}

struct Bound {
    network: MemoryNetwork,
    at: SocketAddr,
    backlog: mpsc::Receiver<Accepted>,
}

impl Listener for Bound {
    fn address(&self) -> Address {
        Address::from(self.at)
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let accepted = self.backlog.poll_recv(context);
        accepted.map(|next| Ok(next.expect("the table holds a sender for as long as this lives")))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.network.lock().listeners.remove(&self.at);
    }
}

struct Socket {
    network: MemoryNetwork,
    at: SocketAddr,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Received>>,
}

impl Datagram for Socket {
    fn address(&self) -> SocketAddr {
        self.at
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if bytes.len() > DATAGRAM_BYTES_MAX {
                let message = format!(
                    "{} bytes: a datagram holds {DATAGRAM_BYTES_MAX}",
                    bytes.len()
                );
                return Err(io::Error::new(ErrorKind::InvalidInput, message));
            }
            let table = self.network.lock();
            let ip = table.ip(&to.ip().to_string(), self.at.ip())?;
            let group = table.groups.get(&ip).cloned();
            let members = group.unwrap_or_else(|| vec![SocketAddr::new(ip, to.port())]);
            for member in members.iter().filter(|member| member.port() == to.port()) {
                if let Some(inbox) = table.sockets.get(member) {
                    // A full inbox loses the datagram, as a kernel's does.
                    let _ = inbox.try_send((bytes.to_vec(), self.at));
                }
            }
            Ok(())
        })
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(async move {
            let next = self.inbox.lock().await.recv().await;
            let (bytes, from) = next.expect("the table holds a sender for as long as this lives");
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            Ok((length, from))
        })
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        if !group.is_multicast() {
            let message = format!("{group} is not a multicast address");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let mut table = self.network.lock();
        let members = table.groups.entry(group).or_default();
        if !members.contains(&self.at) {
            members.push(self.at);
        }
        Ok(())
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        let mut table = self.network.lock();
        let members = table.groups.entry(group).or_default();
        members.retain(|member| member != &self.at);
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut table = self.network.lock();
        table.sockets.remove(&self.at);
        for members in table.groups.values_mut() {
            members.retain(|member| member != &self.at);
        }
    }
}
