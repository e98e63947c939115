//! The real machine, through tokio.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};

use super::disk::{Disk, File, Open};
use super::network::{Datagram, Listener, Network, Stream};
use super::tasks::TokioTasks;
use super::{Clock, Entropy, Host, Timer};
use crate::address::Address;
use crate::time::{Instant, WallTime};

/// The longest datagram: what UDP over IPv4 carries.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// This machine: its clock, network, randomness and files, and the tokio runtime that is current
/// whenever a task is spawned.
pub fn host() -> Host {
    Host {
        clock: Arc::new(MachineClock::new()),
        network: Arc::new(MachineNetwork),
        entropy: Arc::new(MachineEntropy),
        tasks: Arc::new(TokioTasks),
        disk: Arc::new(MachineDisk),
    }
}

/// The address by which the local network reaches this machine, which is that of the interface that
/// its multicast leaves by; the loopback's where it is on no network.
///
/// # Errors
///
/// When that interface carries no multicast.
pub fn local_address() -> io::Result<Ipv4Addr> {
    /// Where multicast DNS is spoken: RFC 6762, section 3.
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    const PORT: u16 = 5353;

    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Nothing is sent: the machine only chooses from where it would be.
    let chosen = socket
        .connect((GROUP, PORT))
        .and_then(|()| socket.local_addr());
    let own = match chosen.map(|at| at.ip()) {
        Ok(IpAddr::V4(own)) if !own.is_unspecified() => own,
        _ => Ipv4Addr::LOCALHOST,
    };
    socket.join_multicast_v4(&GROUP, &own)?;
    Ok(own)
}

/// Waits until this process is asked to stop: SIGTERM, or SIGINT (Ctrl-C).
///
/// # Errors
///
/// When the machine does not let the process listen for signals.
pub async fn shutdown_signal() -> io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Tokio's clock: the machine's own, or a paused one in tests.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    origin: tokio::time::Instant,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that the ban points to"
)]
impl MachineClock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        let origin = tokio::time::Instant::now();
        Self { origin }
    }

    fn at(&self, at: Instant) -> tokio::time::Instant {
        let since_origin = Duration::from_nanos(at.as_nanos());
        // A point further off than tokio can count is never reached either way.
        let never = || self.origin + Duration::from_secs(60 * 60 * 24 * 365);
        self.origin.checked_add(since_origin).unwrap_or_else(never)
    }
}

impl Default for MachineClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that the ban points to"
)]
impl Clock for MachineClock {
    fn now(&self) -> Instant {
        Instant::ORIGIN + tokio::time::Instant::now().duration_since(self.origin)
    }

    fn wall(&self) -> WallTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        WallTime::from_unix_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        let sleep = tokio::time::sleep_until(self.at(at));
        Box::new(MachineTimer {
            clock: *self,
            sleep: Box::pin(sleep),
        })
    }
}

struct MachineTimer {
    clock: MachineClock,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Timer for MachineTimer {
    fn reset(&mut self, at: Instant) {
        let at = self.clock.at(at);
        self.sleep.as_mut().reset(at);
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.sleep.is_elapsed() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(context)
    }
}

/// The operating system's random bytes.
struct MachineEntropy;

impl Entropy for MachineEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system has random bytes");
    }

    fn buggify(&self, _site: &'static str) -> bool {
        false
    }
}

struct MachineNetwork;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the seam that the ban points to"
)]
impl Network for MachineNetwork {
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            match to {
                Address::Tcp { host, port } => {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }
                Address::Unix(path) => unix::connect(path).await,
                Address::Memory(_) => Err(unsupported(to)),
            }
        })
    }

    fn listen<'a>(&'a self, at: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            match at {
                Address::Tcp { host, port } => {
                    let listener = TcpListener::bind((host.as_str(), *port)).await?;
                    Ok(Box::new(listener) as Box<dyn Listener>)
                }
                Address::Unix(path) => unix::listen(path),
                Address::Memory(_) => Err(unsupported(at)),
            }
        })
    }

    fn datagram(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Datagram>>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(at).await?;
            Ok(Box::new(socket) as Box<dyn Datagram>)
        })
    }

    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = lookup_host((name, 0)).await?;
            let addresses: Vec<IpAddr> = found.map(|socket| socket.ip()).collect();
            if addresses.is_empty() {
                let message = format!("the name {name:?} has no address");
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
            Ok(addresses)
        })
    }
}

fn unsupported(address: &Address) -> io::Error {
    let message = format!("{address} is within one process: use a transport with an exchange");
    io::Error::new(io::ErrorKind::Unsupported, message)
}

impl Listener for TcpListener {
    fn address(&self) -> Address {
        let bound = self.local_addr().expect("a bound listener has an address");
        Address::from(bound)
    }

    fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
        TcpListener::poll_accept(self, context).map(|accepted| {
            let (stream, peer) = accepted?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Stream>, Address::from(peer)))
        })
    }
}

impl Datagram for UdpSocket {
    fn address(&self) -> SocketAddr {
        self.local_addr().expect("a bound socket has an address")
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            if bytes.len() > DATAGRAM_BYTES_MAX {
                let length = bytes.len();
                let message =
                    format!("{length} bytes; a datagram has {DATAGRAM_BYTES_MAX} at most");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            self.send_to(bytes, to).await.map(|_| ())
        })
    }

    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> BoxFuture<'a, io::Result<(usize, SocketAddr)>> {
        Box::pin(self.recv_from(buffer))
    }

    fn join(&self, group: IpAddr) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => self.join_multicast_v4(group, Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(group) => self.join_multicast_v6(&group, 0),
        }
    }

    fn leave(&self, group: IpAddr) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => self.leave_multicast_v4(group, Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(group) => self.leave_multicast_v6(&group, 0),
        }
    }
}

#[cfg(unix)]
mod unix {
    //! Unix sockets; a stale socket file, to which nobody listens, is replaced.

    use std::path::Path;

    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    pub(super) async fn connect(path: &Path) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(UnixStream::connect(path).await?))
    }

    pub(super) fn listen(path: &Path) -> io::Result<Box<dyn Listener>> {
        let is_stale = path.exists() && std::os::unix::net::UnixStream::connect(path).is_err();
        if is_stale {
            std::fs::remove_file(path)?;
        }
        Ok(Box::new(Bound {
            listener: UnixListener::bind(path)?,
            path: path.to_owned(),
        }))
    }

    struct Bound {
        listener: UnixListener,
        path: PathBuf,
    }

    impl Listener for Bound {
        fn address(&self) -> Address {
            Address::Unix(self.path.clone())
        }

        fn poll_accept(
            &mut self,
            context: &mut Context<'_>,
        ) -> Poll<io::Result<(Box<dyn Stream>, Address)>> {
            self.listener.poll_accept(context).map_ok(|(stream, _)| {
                let stream: Box<dyn Stream> = Box::new(stream);
                (stream, Address::Unix(self.path.clone()))
            })
        }
    }

    impl Drop for Bound {
        fn drop(&mut self) {
            // The name goes with the listener; if it is gone already, so much the better.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(not(unix))]
mod unix {
    //! This machine has no Unix sockets.

    use super::*;

    pub(super) async fn connect(path: &Path) -> io::Result<Box<dyn Stream>> {
        Err(missing(path))
    }

    pub(super) fn listen(path: &Path) -> io::Result<Box<dyn Listener>> {
        Err(missing(path))
    }

    fn missing(path: &Path) -> io::Error {
        let message = format!("unix:{}: no Unix sockets on this machine", path.display());
        io::Error::new(io::ErrorKind::Unsupported, message)
    }
}

struct MachineDisk;

impl Disk for MachineDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true);
        match how {
            Open::Existing => {}
            Open::OrCreate => drop(options.create(true)),
            Open::New => drop(options.create_new(true)),
            Open::Exclusive => drop(options.create(true)),
        }
        let file = options.open(path)?;
        if how == Open::Exclusive {
            file.try_lock().map_err(io::Error::from)?;
        }
        Ok(Arc::new(file))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(directory)?;
        let names = entries.map(|entry| Ok(PathBuf::from(entry?.file_name())));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).open(directory)?.sync_all()
    }
}

#[cfg(unix)]
impl File for std::fs::File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // The bytes and the length; when the file was changed last is not worth a second write.
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}
