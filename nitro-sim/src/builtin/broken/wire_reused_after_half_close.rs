//! A connection is used again although its server has ended its side, as what is written is taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nitro::address::Address;
use nitro::error::{Error, Result};
use nitro::host::{Clock, Host, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::is_broken;
use crate::check::model::KeyValue;
use crate::system::{Node, Operation, System};

const PORT: u16 = 6000;

/// How long a connection may be idle before its server ends it.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// How long the server takes in what was on its way then, so that no answer is lost by a reset.
const LINGER: Duration = Duration::from_secs(60);

type Kept = Arc<Mutex<BTreeMap<u64, u64>>>;

pub(super) fn system() -> System {
    System::new("wire_reused_after_half_close")
        .role("server", keep)
        .role("client", ask)
        .operation("get")
        .operation("put")
        .linearizable(KeyValue)
}

async fn keep(node: Node) -> Result<()> {
    let kept = Kept::default();
    let listening = node
        .host()
        .network
        .listen(&Address::tcp("0.0.0.0", PORT))
        .await;
    let mut listener = listening?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (kept, clock) = (Arc::clone(&kept), Arc::clone(&node.host().clock));
        // A connection that breaks is the client's to notice.
        let answering = async move { drop(answer(stream, kept, &*clock).await) };
        drop(node.host().tasks.spawn("answer", Box::pin(answering)));
    }
}

/// A question is a key and what is put there, or 0; the answer is what is there, or 0. Nothing
/// that comes after the server has ended its side is done.
async fn answer(mut stream: Box<dyn Stream>, kept: Kept, clock: &dyn Clock) -> Result<()> {
    while let Ok(key) = clock.timeout(IDLE_MAX, stream.read_u64()).await {
        let (key, value) = (key?, stream.read_u64().await?);
        let held = {
            let mut kept = kept.lock().expect("no panic while it is held");
            if value > 0 {
                kept.insert(key, value);
            }
            kept.get(&key).copied().unwrap_or(0)
        };
        stream.write_u64(held).await?;
    }
    stream.shutdown().await?;
    let drained = clock.timeout(LINGER, async {
        let mut taken = [0; 16];
        while stream.read(&mut taken).await? > 0 {}
        Ok(())
    });
    drained.await.unwrap_or(Ok(()))
}

#[derive(Clone)]
struct Asker {
    host: Host,
    idle: Arc<tokio::sync::Mutex<Option<Box<dyn Stream>>>>,
    is_broken: bool,
}

async fn ask(node: Node) -> Result<()> {
    let asker = Asker {
        host: node.host().clone(),
        idle: Arc::default(),
        is_broken: is_broken(&node)?,
    };
    node.workload(move |operation| {
        let asker = asker.clone();
        async move {
            let clock = asker.host.clock.clone();
            let asked = clock.timeout_at(operation.deadline, asker.make(&operation));
            let late = |_| Err(Error::deadline_exceeded("no answer in time"));
            asked.await.unwrap_or_else(late)
        }
    })
    .await
}

impl Asker {
    /// One that takes too long leaves no connection behind.
    async fn make(&self, operation: &Operation) -> Result<Value> {
        let mut idle = self.idle.lock().await;
        loop {
            let (is_fresh, mut stream) = match idle.take() {
                Some(stream) => (false, stream),
                None => {
                    let server = Address::tcp("server-1", PORT);
                    (true, self.host.network.connect(&server).await?)
                }
            };
            stream.write_all(&question(operation)).await?;
            let held = stream.read_u64().await;
            let has_ended =
                matches!(&held, Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof);
            if has_ended && !is_fresh && !self.is_broken {
                // The server had ended it before it was asked, so this was not done.
                continue;
            }
            // The bug: the question was taken, so the connection is kept.
            if held.is_ok() || (has_ended && self.is_broken) {
                *idle = Some(stream);
            }
            let held = held?;
            return Ok(json!((held > 0).then_some(held)));
        }
    }
}

fn question(operation: &Operation) -> [u8; 16] {
    let mut question = [0; 16];
    question[..8].copy_from_slice(&operation.key.to_be_bytes());
    if operation.name == "put" {
        question[8..].copy_from_slice(&operation.value.to_be_bytes());
    }
    question
}
