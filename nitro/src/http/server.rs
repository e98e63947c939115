//! Accepting requests: bounded connections, each of which has bounded time for whatever its peer
//! has to do, and requests of bounded size.

mod answer;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;

use super::node::Node;
use super::stream::Carried;
use crate::host::tasks::TaskGuard;
use crate::host::{Clock, Host, Listener, Stream, Task};
use crate::time::Instant;

/// Connections at a time; further ones are closed as they come.
const CONNECTIONS_MAX: usize = 1_024;

/// How long a connection may be without a whole head of a request: new, between two requests,
/// with a head that comes drop by drop, or with a peer that does not read its answer.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(30);

/// Headers of a request, and bytes of a head: the longest message has 4 KiB of headers, of which
/// each byte may take three.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The pause after accepting has failed, as when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A node that takes requests, until this is dropped.
pub(super) struct Serving {
    shared: Arc<Shared>,
    _accepting: TaskGuard,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let held = {
            let mut connections = self.shared.lock();
            connections.is_over = true;
            std::mem::take(&mut connections.held)
        };
        // Their places are given up one by one, for which the lock is needed.
        drop(held);
    }
}

struct Shared {
    host: Host,
    node: Arc<Node>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    is_over: bool,
    next: u64,
    held: BTreeMap<u64, Option<TaskGuard>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        let connections = self.connections.lock();
        connections.expect("no panic while the connections are held")
    }
}

/// A connection's place among those that are held, however it ends.
struct Place {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let held = self.shared.lock().held.remove(&self.id);
        drop(held);
    }
}

/// Takes requests for a node.
pub(super) fn serve(host: &Host, listener: Box<dyn Listener>, node: Arc<Node>) -> Serving {
    let shared = Arc::new(Shared {
        host: host.clone(),
        node,
        connections: Mutex::default(),
    });
    let accepting = accept(Arc::clone(&shared), listener);
    let task = host.tasks.spawn("http accept", Box::pin(accepting));
    Serving {
        shared,
        _accepting: task.abort_on_drop(),
    }
}

async fn accept(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if !hold(&shared, stream) {
                    tracing::warn!(%peer, most = CONNECTIONS_MAX, "too many connections");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                shared.host.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves a connection, unless there are too many.
fn hold(shared: &Arc<Shared>, stream: Box<dyn Stream>) -> bool {
    let id = {
        let mut connections = shared.lock();
        if connections.is_over || connections.held.len() >= CONNECTIONS_MAX {
            return false;
        }
        connections.next += 1;
        let id = connections.next;
        connections.held.insert(id, None);
        id
    };
    let place = Place {
        shared: Arc::clone(shared),
        id,
    };
    let serving = serve_one(Arc::clone(shared), stream, place);
    let task: Task = shared.host.tasks.spawn("http serve", Box::pin(serving));
    // It may have ended already, and then has no place any more.
    if let Some(slot) = shared.lock().held.get_mut(&id) {
        *slot = Some(task.abort_on_drop());
    }
    true
}

/// Since when a connection waits for its peer; not while a request is answered.
struct Patience {
    clock: Arc<dyn Clock>,
    waiting_since: Mutex<Option<Instant>>,
}

impl Patience {
    fn set(&self, since: Option<Instant>) {
        let waiting = self.waiting_since.lock();
        *waiting.expect("no panic while a time is held") = since;
    }

    /// Ends when the peer has been waited for too long.
    async fn end(&self) {
        loop {
            let since = *self
                .waiting_since
                .lock()
                .expect("no panic while a time is held");
            let now = self.clock.now();
            let ends_at = since.unwrap_or(now) + IDLE_MAX;
            if now >= ends_at {
                return;
            }
            self.clock.sleep_until(ends_at).await;
        }
    }
}

async fn serve_one(shared: Arc<Shared>, stream: Box<dyn Stream>, _place: Place) {
    let clock = Arc::clone(&shared.host.clock);
    let patience = Arc::new(Patience {
        waiting_since: Mutex::new(Some(clock.now())),
        clock,
    });
    let answering = Arc::clone(&patience);
    let service = service_fn(move |request| {
        let (shared, patience) = (Arc::clone(&shared), Arc::clone(&answering));
        async move {
            patience.set(None);
            let response = answer::answer(&shared.host, &shared.node, request).await;
            patience.set(Some(patience.clock.now()));
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = http1::Builder::new();
    builder.auto_date_header(false);
    builder
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(Carried::new(stream), service);
    tokio::select! {
        biased;
        served = connection => {
            if let Err(error) = served {
                tracing::debug!(%error, "http connection closed");
            }
        }
        () = patience.end() => tracing::debug!("http connection closed: its peer is too slow"),
    }
}
