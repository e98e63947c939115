//! A connection is used again although an answer is still on its way over it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nitro::address::Address;
use nitro::error::{Error, Result};
use nitro::host::{Host, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::service::is_broken;
use crate::check::model::KeyValue;
use crate::system::{Node, Operation, System};

const PORT: u16 = 6000;

type Kept = Arc<Mutex<BTreeMap<u64, u64>>>;

pub(super) fn system() -> System {
    System::new("wire_reused_after_timeout")
        .role("server", keep)
        .role("client", ask)
        .operation("get")
        .operation("put")
        .linearizable(KeyValue)
}

async fn keep(node: Node) -> Result<()> {
    let kept = Kept::default();
    let mut listener = node
        .host()
        .network
        .listen(&Address::tcp("0.0.0.0", PORT))
        .await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let kept = Arc::clone(&kept);
        // A connection that breaks is the client's to notice.
        let answering = async move { drop(answer(stream, kept).await) };
        drop(node.host().tasks.spawn("answer", Box::pin(answering)));
    }
}

/// A question is a key and what is put there, or 0; the answer is what is there, or 0.
async fn answer(mut stream: Box<dyn Stream>, kept: Kept) -> Result<()> {
    loop {
        let (key, value) = (stream.read_u64().await?, stream.read_u64().await?);
        let held = {
            let mut kept = kept.lock().expect("no panic while it is held");
            if value > 0 {
                kept.insert(key, value);
            }
            kept.get(&key).copied().unwrap_or(0)
        };
        stream.write_u64(held).await?;
    }
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
        async move { asker.make(&operation).await }
    })
    .await
}

impl Asker {
    async fn make(&self, operation: &Operation) -> Result<Value> {
        let late = || Error::deadline_exceeded("no answer in time");
        let clock = &self.host.clock;
        let idle = clock.timeout_at(operation.deadline, self.idle.lock()).await;
        let mut idle = idle.map_err(|_| late())?;
        let mut stream = match idle.take() {
            Some(stream) => stream,
            None => {
                let server = Address::tcp("server-1", PORT);
                let connecting = self.host.network.connect(&server);
                let connected = clock.timeout_at(operation.deadline, connecting).await;
                connected.map_err(|_| late())??
            }
        };
        let asking = exchange(&mut *stream, operation);
        let asked = clock.timeout_at(operation.deadline, asking).await;
        // The bug: the answer that did not come in time still comes, and the next question gets it.
        let is_clean = matches!(asked, Ok(Ok(_))) || (self.is_broken && asked.is_err());
        if is_clean {
            *idle = Some(stream);
        }
        asked.unwrap_or_else(|_| Err(late()))
    }
}

async fn exchange(stream: &mut dyn Stream, operation: &Operation) -> Result<Value> {
    let is_put = operation.name == "put";
    let mut question = [0; 16];
    question[..8].copy_from_slice(&operation.key.to_be_bytes());
    if is_put {
        question[8..].copy_from_slice(&operation.value.to_be_bytes());
    }
    stream.write_all(&question).await?;
    let held = stream.read_u64().await?;
    Ok(json!((held > 0).then_some(held)))
}
