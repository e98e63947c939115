//! Serves calls: listens, answers, and stops without losing any.

pub mod stack;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::latest;

use crate::address::Address;
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::Result;
use crate::host::{Host, Task};
use crate::rpc::Rpc;
use crate::rpc::wire::{self, Limits, ServedConnection};
use crate::transport::{Acceptor, Link, Transport};

/// Connections that a server holds unless told otherwise.
const CONNECTIONS_MAX: usize = 64 * 1024;
/// The pause after accepting has failed, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A service, ready to be listened for.
#[derive(Clone, Debug)]
pub struct Server {
    host: Host,
    transport: Transport,
    service: Rpc,
    limits: Limits,
    connections_max: usize,
}

impl Server {
    /// Serves `service`, which has its layers already: see [`stack::stack`].
    pub fn new(host: &Host, transport: &Transport, service: Rpc) -> Self {
        Self {
            host: host.clone(),
            transport: transport.clone(),
            service,
            limits: Limits::default(),
            connections_max: CONNECTIONS_MAX,
        }
    }

    /// Sets what each connection accepts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many connections are held at once; further ones are closed as they come, and
    /// counted.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// Listens at an address, until what is returned is stopped or dropped.
    ///
    /// # Errors
    ///
    /// As [`Transport::listen`].
    pub async fn listen(&self, at: &Address) -> Result<Serving> {
        let acceptor = self.transport.listen(at).await?;
        let address = acceptor.address();
        let (changed, _) = latest::channel(());
        let shared = Arc::new(Shared {
            connections: Mutex::new(Connections::default()),
            counts: Counts::default(),
            changed,
        });
        let accepting = accept(self.clone(), acceptor, Arc::clone(&shared));
        let task = self.host.tasks.spawn("rpc accept", Box::pin(accepting));
        Ok(Serving {
            host: self.host.clone(),
            address,
            accepting: Some(task),
            shared,
        })
    }
}

/// What a server has seen, since it began to listen.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    turned_away: AtomicU64,
    accept_errors: AtomicU64,
}

/// A reading of a server's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once, because there were too many.
    pub turned_away: u64,
    /// Times that the machine could not accept.
    pub accept_errors: u64,
    /// Connections now.
    pub connections: usize,
    /// Calls under way now.
    pub in_flight: usize,
}

#[derive(Default)]
struct Connections {
    /// No further ones are held: one that was being accepted meanwhile is dropped.
    is_stopping: bool,
    next: u64,
    held: BTreeMap<u64, (ServedConnection, Option<Task>)>,
}

struct Shared {
    connections: Mutex<Connections>,
    counts: Counts,
    changed: latest::Sender<()>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .expect("no panic while the connections are held")
    }
}

/// A connection's place among those that are held, however its driver ends.
struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.lock().held.remove(&self.id);
        self.shared.changed.set(());
    }
}

async fn accept(server: Server, mut acceptor: Acceptor, shared: Arc<Shared>) {
    loop {
        match acceptor.accept().await {
            Ok((link, peer)) => serve_link(&server, link, &peer, &shared),
            Err(error) => {
                shared.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "cannot accept a connection");
                server.host.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn serve_link(server: &Server, link: Link, peer: &Address, shared: &Arc<Shared>) {
    let mut connections = shared.lock();
    if connections.is_stopping {
        return;
    }
    let is_full = connections.held.len() >= server.connections_max;
    if is_full || trick!(server.host.entropy, "a connection is turned away") {
        point!(Reachable, true, "a connection is turned away");
        shared.counts.turned_away.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%peer, most = server.connections_max, "too many connections");
        return;
    }
    shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
    let service = server.service.clone();
    let (connection, driver) =
        wire::serve(&server.host, link, peer.to_string(), service, server.limits);
    let id = connections.next;
    connections.next += 1;
    connections.held.insert(id, (connection, None));
    drop(connections);
    let place = Place {
        shared: Arc::clone(shared),
        id,
    };
    let peer = peer.clone();
    let driving = async move {
        let _place = place;
        let reason = driver.await;
        tracing::debug!(%peer, %reason, "connection closed");
    };
    let task = server
        .host
        .tasks
        .spawn("rpc server connection", Box::pin(driving));
    match shared.lock().held.get_mut(&id) {
        Some((_, slot)) => *slot = Some(task),
        // It has ended already, or the server has stopped meanwhile.
        None => task.abort(),
    }
}

/// A server that listens. Dropping it stops it at once; [`Serving::stop`] lets calls finish.
pub struct Serving {
    host: Host,
    address: Address,
    accepting: Option<Task>,
    shared: Arc<Shared>,
}

impl Serving {
    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// What it has seen.
    pub fn counts(&self) -> ServerCounts {
        let counts = &self.shared.counts;
        let connections = self.shared.lock();
        let in_flight = connections.held.values().map(|(one, _)| one.in_flight());
        ServerCounts {
            accepted: counts.accepted.load(Ordering::Relaxed),
            turned_away: counts.turned_away.load(Ordering::Relaxed),
            accept_errors: counts.accept_errors.load(Ordering::Relaxed),
            connections: connections.held.len(),
            in_flight: in_flight.sum(),
        }
    }

    /// Stops: tells every peer to call elsewhere, lets calls under way finish within `grace`, and
    /// cuts what is left. Answers how many calls were cut.
    ///
    /// It no longer listens once this has begun. On the connections that it has, calls that
    /// crossed its GOAWAY on the way are answered with an error that is safe to repeat elsewhere,
    /// so that a client which had not heard yet loses nothing.
    pub async fn stop(mut self, grace: Duration) -> usize {
        let until = self.host.clock.now() + grace;
        let mut changed = self.shared.changed.subscribe();
        let clock = Arc::clone(&self.host.clock);
        self.drain();
        if let Some(accepting) = self.accepting.take() {
            // Only when it has ended is the address free for whoever comes next.
            accepting.abort();
            accepting.join().await;
        }
        while !self.shared.lock().held.is_empty() {
            if clock.timeout_at(until, changed.changed()).await.is_err() {
                break;
            }
        }
        self.counts().in_flight
    }

    fn drain(&self) {
        let mut connections = self.shared.lock();
        connections.is_stopping = true;
        for (connection, _) in connections.held.values() {
            connection.drain();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
        let mut connections = self.shared.lock();
        connections.is_stopping = true;
        let held = std::mem::take(&mut connections.held);
        drop(connections);
        for (_, task) in held.into_values() {
            if let Some(task) = task {
                task.abort();
            }
        }
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving")
            .field("address", &self.address)
            .field("counts", &self.counts())
            .finish()
    }
}
