//! What a peer may do wrong on the wire, byte by byte, and what becomes of it: the connection
//! closes with a reason, and no other is the worse for it.

mod answering;
mod calling;
mod late;
mod patience;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nitro::codec::Raw;
use nitro::host::memory::Machine;
use nitro::host::network::Stream;
use nitro::rpc::method::{ClientStreaming, ServerStreaming};
use nitro::rpc::wire::Limits;
use nitro::rpc::{Call, Incoming, Outgoing};
use nitro::server::stack::{ServerSettings, stack};
use nitro::server::{Server, Serving};
use nitro::transport::{Exchange, Transport};
use nitro::{Address, Client, Host, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::{ECHO, Seen, router};

const PREFACE: &[u8] = b"NITRO\x01\0\0";
const SETTINGS: u8 = 1;
const CALL: u8 = 2;
const REPLY: u8 = 3;
const DATA: u8 = 4;
const END: u8 = 5;
const CANCEL: u8 = 6;
const CREDIT: u8 = 7;
const PING: u8 = 8;
const PONG: u8 = 9;
const GOAWAY: u8 = 10;

const IS_END: u8 = 1;
const MESSAGE: u8 = 2;
const NAMED: u8 = 4;

/// The first use of the first slot.
const FIRST: u32 = 0x0001_0000;

/// Takes a stream and never looks at it.
const SINK: Method<Bytes, Bytes, ClientStreaming> = Method::client_streaming("raw/sink");

/// Answers without end, counting what it has sent.
const POUR: Method<Bytes, Bytes, ServerStreaming> = Method::server_streaming("raw/pour");
const POURED_BYTES: usize = 60_000;

fn second(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A frame as it goes on the wire.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, flags]);
    bytes.extend(payload);
    bytes
}

/// The header of a frame that says it is so long.
fn header_of(length: u32) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend([0, 0, 0, 0, DATA, 0]);
    bytes
}

/// A CALL that names its method by number 0, without metadata.
fn call(flags: u8, stream: u32, path: &str, message: &[u8]) -> Vec<u8> {
    let payload = call_payload(0, path.as_bytes(), &[0, 0], message);
    frame(CALL, flags | NAMED, stream, &payload)
}

fn call_payload(number: u16, path: &[u8], metadata: &[u8], message: &[u8]) -> Vec<u8> {
    let content_type = b"application/octet-stream";
    let mut payload = number.to_be_bytes().to_vec();
    payload.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
    payload.extend(path);
    payload.push(u8::try_from(content_type.len()).unwrap());
    payload.extend(content_type);
    payload.extend(metadata);
    payload.extend(message);
    payload
}

/// A further CALL of method number 0.
fn call_again(flags: u8, stream: u32, message: &[u8]) -> Vec<u8> {
    frame(CALL, flags, stream, &[&[0, 0, 0, 0], message].concat())
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Read {
    /// The message of a status.
    fn status(&self) -> String {
        let length = usize::from(u16::from_be_bytes([self.payload[2], self.payload[3]]));
        String::from_utf8(self.payload[4..4 + length].to_vec()).unwrap()
    }
}

/// One end of a connection of which the test writes every byte.
struct Peer {
    stream: Box<dyn Stream>,
    has_preface: bool,
}

impl Peer {
    fn new(stream: Box<dyn Stream>) -> Self {
        let has_preface = false;
        Self {
            stream,
            has_preface,
        }
    }

    /// Writes; what the other end no longer takes is not missed.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` when the other end has closed.
    async fn next(&mut self) -> Option<Read> {
        if !self.has_preface {
            let mut preface = [0; 8];
            self.stream.read_exact(&mut preface).await.ok()?;
            assert_eq!(preface, PREFACE);
            self.has_preface = true;
        }
        let mut header = [0; 10];
        self.stream.read_exact(&mut header).await.ok()?;
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut payload = vec![0; number(0) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        let (stream, kind, flags) = (number(4), header[8], header[9]);
        Some(Read {
            kind,
            flags,
            stream,
            payload,
        })
    }

    /// The next frame of a kind; others before it are passed over.
    async fn next_of(&mut self, kind: u8) -> Read {
        loop {
            let read = self.next().await.expect("the other end has closed");
            if read.kind == kind {
                return read;
            }
        }
    }

    /// Reads to the end; answers why the other end has closed, as its last GOAWAY says.
    async fn reason(&mut self) -> String {
        let mut reason = String::from("(no reason)");
        while let Some(read) = self.next().await {
            if read.kind == GOAWAY {
                reason = read.status();
            }
        }
        reason
    }
}

/// A server on one host, a client of it on another, and a place for peers on a third.
struct Served {
    peer_host: Host,
    client: Client<Raw>,
    serving: Serving,
    /// Messages that `raw/pour` has sent.
    poured: Arc<AtomicUsize>,
}

const AT: &str = "server:7000";

impl Served {
    async fn new(limits: Limits) -> Self {
        let machine = Machine::new();
        let host = machine.host("server");
        let transport = Transport::new(host.network.clone(), Exchange::new());
        let poured = Arc::new(AtomicUsize::new(0));
        let counted = poured.clone();
        let router = router(&Seen::default())
            .client_streaming(&SINK, Raw, sink)
            .server_streaming(&POUR, Raw, move |_: Call, _: Bytes, out| {
                pour(out, counted.clone())
            });
        let service = stack(&host, &ServerSettings::default(), router);
        let server = Server::new(&host, &transport, service).limits(limits);
        let serving = server.listen(&AT.parse().unwrap()).await.unwrap();
        let client = client(&machine.host("client"), serving.address().clone());
        Self {
            peer_host: machine.host("peer"),
            client,
            serving,
            poured,
        }
    }

    async fn peer(&self) -> Peer {
        let network = &self.peer_host.network;
        Peer::new(network.connect(self.serving.address()).await.unwrap())
    }

    /// A peer whose SETTINGS are sent and answered.
    async fn open_peer(&self) -> Peer {
        let mut peer = self.peer().await;
        peer.send(&opening()).await;
        peer.next_of(SETTINGS).await;
        peer
    }

    /// Asserts that a call over another connection is answered, and that nothing is left of
    /// those that were closed.
    async fn is_unharmed(&self) {
        let sent = Bytes::from_static(b"still here");
        assert_eq!(self.client.call(&ECHO, sent.clone()).await.unwrap(), sent);
        let counts = self.serving.counts();
        assert_eq!((counts.connections, counts.in_flight), (1, 0), "{counts:?}");
    }
}

fn client(host: &Host, at: Address) -> Client<Raw> {
    let transport = Transport::new(host.network.clone(), Exchange::new());
    nitro::client::Builder::new(host, &transport, "raw").address(Raw, at)
}

async fn sink(_: Call, input: Incoming<Bytes>) -> nitro::Result<Bytes> {
    let _unread = input;
    std::future::pending().await
}

async fn pour(out: Outgoing<Bytes>, count: Arc<AtomicUsize>) -> nitro::Result<()> {
    loop {
        out.send(Bytes::from(vec![7; POURED_BYTES])).await?;
        count.fetch_add(1, Ordering::SeqCst);
    }
}

/// What a good peer begins with.
fn opening() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}
