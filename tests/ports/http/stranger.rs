//! Clients and servers of HTTP that are a few bytes on a stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::Address;
use nitro::host::tasks::TaskGuard;
use nitro::host::{Host, Stream};
use nitro::registry::{Node, Registration, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends bytes as they are; answers all that comes until the peer closes, or for so long.
pub(super) async fn exchange(host: &Host, to: &Address, bytes: &[u8], time: Duration) -> String {
    let mut stream = host.network.connect(to).await.unwrap();
    // One that has been refused reads no more.
    let _ = stream.write_all(bytes).await;
    read_all(host, &mut stream, time).await
}

/// All that comes until the peer closes, or for so long.
pub(super) async fn read_all(host: &Host, stream: &mut Box<dyn Stream>, time: Duration) -> String {
    let mut got = Vec::new();
    let reading = async {
        let mut room = [0; 4096];
        while let Ok(count) = stream.read(&mut room).await
            && count > 0
        {
            got.extend_from_slice(&room[..count]);
        }
    };
    let _ = host.clock.timeout(time, reading).await;
    String::from_utf8_lossy(&got).into_owned()
}

/// What a stranger does with a request.
#[derive(Clone, Debug)]
pub(super) enum Does {
    /// Answers these bytes and closes.
    Says(&'static str),
    /// Answers these bytes, and then nothing for a long time.
    SaysAndStops(&'static str),
    /// Answers a head and 100 MB.
    Floods,
    /// Closes without a word.
    HangsUp,
}

pub(super) const GOOD: Does = Does::Says("HTTP/1.1 204 No Content\r\n\r\n");

/// A server that does one thing after another, the last for ever.
pub(super) struct Stranger {
    pub(super) address: Address,
    seen: Arc<Mutex<Vec<String>>>,
    /// How many bytes it could send of what it wanted to.
    pub(super) sent: Arc<Mutex<usize>>,
    _serving: TaskGuard,
}

impl Stranger {
    pub(super) async fn start(host: &Host, script: &[Does]) -> Self {
        let at = Address::tcp("127.0.0.1", 0);
        let mut listener = host.network.listen(&at).await.unwrap();
        let address = listener.address();
        let (seen, sent) = <(Arc<Mutex<Vec<String>>>, Arc<Mutex<usize>>)>::default();
        let (see, send) = (Arc::clone(&seen), Arc::clone(&sent));
        let mut script: Vec<Does> = script.iter().rev().cloned().collect();
        let clock = host.clock.clone();
        let serving = async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                see.lock().unwrap().push(request);
                let does = script.last().cloned().unwrap();
                if script.len() > 1 {
                    script.pop();
                }
                match does {
                    Does::Says(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                    Does::SaysAndStops(text) => {
                        stream.write_all(text.as_bytes()).await.unwrap();
                        clock.sleep(Duration::from_secs(60)).await;
                    }
                    Does::Floods => {
                        let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n";
                        let _ = stream.write_all(head.as_bytes()).await;
                        for _ in 0..100 {
                            if stream.write_all(&[b'x'; 1_000_000]).await.is_err() {
                                break;
                            }
                            *send.lock().unwrap() += 1_000_000;
                        }
                    }
                    Does::HangsUp => {}
                }
            }
        };
        let task = host.tasks.spawn("a stranger", Box::pin(serving));
        Self {
            address,
            seen,
            sent,
            _serving: task.abort_on_drop(),
        }
    }

    /// What it was asked so far.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How often each attempt was made.
    pub(super) fn attempts(&self) -> Vec<String> {
        let seen = self.seen();
        let attempt = |request: &String| header(request, "nitro-attempt").to_owned();
        seen.iter().map(attempt).collect()
    }
}

/// A header of a request.
pub(super) fn header<'a>(request: &'a str, name: &str) -> &'a str {
    let mut lines = request.lines();
    let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_default()
}

async fn read_request(stream: &mut Box<dyn Stream>) -> String {
    let mut got = Vec::new();
    let mut room = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= header(head, "content-length").parse().unwrap_or(0)
        {
            return text;
        }
        match stream.read(&mut room).await {
            Ok(count) if count > 0 => got.extend_from_slice(&room[..count]),
            _ => return text,
        }
    }
}

/// Registers a server as a member of a group.
pub(super) async fn register(
    host: &Host,
    registry: &Registry,
    id: &str,
    address: &Address,
    more: &[(&str, &str)],
) -> Registration {
    let mut node = Node::new("nitro-events", id, address.clone());
    let labels = [
        ("subscription", "g"),
        ("pattern", "t"),
        ("visibility-ms", "200"),
        ("attempts-max", "3"),
    ];
    let labels = labels.iter().chain(more);
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    node.labels = labels.map(pair).collect::<BTreeMap<String, String>>();
    let mut registration = registry.keep(host, node, Duration::from_secs(15));
    registration.registered().await.unwrap();
    registration
}
