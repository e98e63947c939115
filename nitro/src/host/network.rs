//! Sockets and names: streams, listeners, datagrams, look-up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;

/// The network of a host.
pub trait Network: Send + Sync + 'static {
    /// Opens a stream. It may take as long as the network does: bound it.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` where nobody listens, `TimedOut` where nobody answers, `NotFound`
    /// for an unknown name, `Unsupported` for a kind of address this network does not carry.
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;

    /// Listens for streams; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// `AddrInUse` where somebody listens already, `Unsupported` as for `connect`.
    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Opens a socket for datagrams; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// `AddrInUse` where the port is taken.
    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>>;

    /// The addresses of a name, or the one that `name` itself is.
    ///
    /// # Errors
    ///
    /// `NotFound` for an unknown name; never an empty list.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// A two-way stream of bytes: a TCP connection or what stands in for one.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static> Stream for T {}

/// Accepts streams. Dropping it frees the address at once.
pub trait Listener: Send + Sync + 'static {
    /// Where it listens, with the port that was chosen.
    fn address(&self) -> Address;

    /// The next stream, with the address of its other end.
    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>>;
}

impl dyn Listener {
    /// The next stream, with the address of its other end.
    ///
    /// # Errors
    ///
    /// What the machine says, such as running out of file descriptors: wait and accept again.
    pub async fn accept(&mut self) -> io::Result<(Box<dyn Stream>, Address)> {
        std::future::poll_fn(|context| self.poll_accept(context)).await
    }
}

/// A socket for datagrams.
pub trait Datagram: Send + Sync + 'static {
    /// Where it is bound, with the port that was chosen.
    fn address(&self) -> SocketAddr;

    /// Sends one datagram; that it is sent does not mean that it arrives.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when it is too long.
    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>>;

    /// Receives one datagram into `buffer`: its length and who sent it. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// What the machine says.
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>>;

    /// Receives what is sent to a group, from now on.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when `group` is not a multicast address.
    fn join(&self, group: IpAddr) -> io::Result<()>;

    /// Stops receiving what is sent to a group.
    ///
    /// # Errors
    ///
    /// What the machine says, as when the group was never joined.
    fn leave(&self, group: IpAddr) -> io::Result<()>;
}
