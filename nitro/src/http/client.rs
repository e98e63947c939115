//! Posting: connections that are kept for the next request, and an answer in bounded time and
//! size.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode};

use super::stream::Carried;
use crate::address::Address;
use crate::host::Host;
use crate::host::tasks::TaskGuard;
use crate::time::Instant;

/// How long a peer may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection is kept that nothing is sent over: less than a server waits.
const KEPT: Duration = Duration::from_secs(10);

/// Connections that are kept for one peer, and for all.
const KEPT_PER_PEER_MAX: usize = 32;
const KEPT_MAX: usize = 256;

/// How much of an answer's body is read, and for how long: it is only to tell people.
const ANSWER_BYTES_MAX: usize = 1024;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Headers of an answer, at most.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What a peer answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) head: HeaderMap,
    /// The beginning of the body.
    pub(super) text: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It cannot have been seen by the peer.
    Unsent(String),
    /// The peer may have seen it.
    Lost(String),
}

/// What posts, with the connections that it keeps.
pub(super) struct Client {
    host: Host,
    kept: Mutex<BTreeMap<Address, Vec<Connection>>>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    idle_since: Instant,
    _driver: TaskGuard,
}

impl Client {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            host: host.clone(),
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Address, Vec<Connection>>> {
        self.kept
            .lock()
            .expect("no panic while connections are held")
    }

    /// Posts to a path of a peer, and waits for an answer no longer than `limit`.
    pub(super) async fn post(
        &self,
        (to, path): (&Address, &str),
        head: HeaderMap,
        body: Bytes,
        limit: Duration,
    ) -> Result<Answer, Trouble> {
        let until = self.host.clock.now() + limit;
        let request = || request(to, path, head.clone(), body.clone());
        if let Some(connection) = self.take(to) {
            match self.send(to, connection, request()?, until).await {
                // A connection that was kept may be closed at any moment: that is no answer.
                Err(_) if self.host.clock.now() < until => {}
                answered => return answered,
            }
        }
        let connection = self.connect(to).await?;
        self.send(to, connection, request()?, until).await
    }

    fn take(&self, to: &Address) -> Option<Connection> {
        let now = self.host.clock.now();
        let mut kept = self.kept();
        let is_good = |one: &Connection| {
            now.since(one.idle_since) < KEPT && one.sender.is_ready() && !one.sender.is_closed()
        };
        for connections in kept.values_mut() {
            connections.retain(is_good);
        }
        kept.retain(|_, connections| !connections.is_empty());
        kept.get_mut(to)?.pop()
    }

    fn keep(&self, to: &Address, mut connection: Connection) {
        connection.idle_since = self.host.clock.now();
        let mut kept = self.kept();
        if kept.values().map(Vec::len).sum::<usize>() < KEPT_MAX {
            let connections = kept.entry(to.clone()).or_default();
            if connections.len() < KEPT_PER_PEER_MAX {
                connections.push(connection);
            }
        }
    }

    async fn connect(&self, to: &Address) -> Result<Connection, Trouble> {
        let connecting = self.host.network.connect(to);
        let connected = self.host.clock.timeout(CONNECT_TIMEOUT, connecting).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Trouble::Unsent(format!("{to}: {error}"))),
            Err(_) => {
                let message = format!("{to}: no connection within {CONNECT_TIMEOUT:?}");
                return Err(Trouble::Unsent(message));
            }
        };
        let mut builder = http1::Builder::new();
        builder
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX);
        let made = builder.handshake(Carried::new(stream)).await;
        let (sender, driver) = made.map_err(|error| Trouble::Unsent(format!("{to}: {error}")))?;
        let driving = async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "http connection closed");
            }
        };
        let task = self.host.tasks.spawn("http connection", Box::pin(driving));
        Ok(Connection {
            sender,
            idle_since: self.host.clock.now(),
            _driver: task.abort_on_drop(),
        })
    }

    async fn send(
        &self,
        to: &Address,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
        until: Instant,
    ) -> Result<Answer, Trouble> {
        let sending = connection.sender.try_send_request(request);
        let response = match self.host.clock.timeout_at(until, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(mut error)) => {
                let is_unsent = error.take_message().is_some();
                let reason = format!("{to}: {}", error.error());
                return Err(match is_unsent {
                    true => Trouble::Unsent(reason),
                    false => Trouble::Lost(reason),
                });
            }
            Err(_) => return Err(Trouble::Lost(format!("{to}: no answer in time"))),
        };
        let (head, body) = response.into_parts();
        let reading = self.read(body);
        let read = self.host.clock.timeout(ANSWER_TIMEOUT, reading).await;
        let text = match read {
            Ok((text, true)) => {
                self.keep(to, connection);
                text
            }
            // What is left of it would stand in the way: the connection goes with it.
            Ok((text, false)) => text,
            Err(_) => String::new(),
        };
        Ok(Answer {
            status: head.status,
            head: head.headers,
            text,
        })
    }

    /// Reads the beginning of a body; says whether that was all of it.
    async fn read(&self, mut body: Incoming) -> (String, bool) {
        let mut bytes = Vec::new();
        let is_whole = loop {
            let Some(frame) = body.frame().await else {
                break true;
            };
            let Ok(frame) = frame else { break false };
            let room = ANSWER_BYTES_MAX - bytes.len();
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    break false;
                }
            }
        };
        (String::from_utf8_lossy(&bytes).into_owned(), is_whole)
    }
}

fn request(
    to: &Address,
    path: &str,
    head: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Trouble> {
    let wrong = |error: &dyn std::fmt::Display| Trouble::Unsent(format!("{to}{path}: {error}"));
    let request = Request::post(path).body(Full::new(body));
    let mut request = request.map_err(|error| wrong(&error))?;
    *request.headers_mut() = head;
    let host = HeaderValue::from_str(&to.to_string()).map_err(|error| wrong(&error))?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
