//! The least system: servers echo length-prefixed messages, clients ask and compare.
//!
//! It stands on the host's streams alone, so it shows what the simulated network does to them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use nitro::address::Address;
use nitro::error::{Error, Result};
use nitro::host::{Host, Stream};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::system::{Node, Operation, System};
use crate::trace::{EventKind, OperationOutcome, Trace};

const PORT: u16 = 7000;

/// The longest message: what the length prefix may claim.
const MESSAGE_BYTES_MAX: u32 = 64 * 1024;

/// The system `echo`: roles `server` and `client`, operation `echo`, parameter `work_ms`.
pub fn system() -> System {
    System::new("echo")
        .role("server", serve)
        .role("client", ask)
        .operation("echo")
        .invariant("every reply is what was sent", replies_match)
}

async fn serve(node: Node) -> Result<()> {
    let work = Duration::from_millis(node.parameter_or("work_ms", 0)?);
    let address = Address::tcp("0.0.0.0", PORT);
    let mut listener = node.host().network.listen(&address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let host = node.host().clone();
        let answering = async move {
            // A broken connection is the client's to notice.
            let _ = answer(stream, host, work).await;
        };
        drop(node.host().tasks.spawn("answer", Box::pin(answering)));
    }
}

async fn answer(mut stream: Box<dyn Stream>, host: Host, work: Duration) -> io::Result<()> {
    loop {
        let message = read(&mut *stream).await?;
        host.clock.sleep(work).await;
        write(&mut *stream, &message).await?;
    }
}

type Connection = Arc<Mutex<Option<Box<dyn Stream>>>>;

async fn ask(node: Node) -> Result<()> {
    let connection = |server: &String| (server.clone(), Connection::default());
    let servers: BTreeMap<String, Connection> =
        node.peers("server").iter().map(connection).collect();
    let servers: Vec<(String, Connection)> = servers.into_iter().collect();
    let host = node.host().clone();
    node.workload(move |operation| {
        let chosen = operation.key as usize % servers.len();
        let (server, connection) = servers[chosen].clone();
        let host = host.clone();
        async move {
            let asking = exchange(&host, &server, &connection, &operation);
            let asked = host.clock.timeout_at(operation.deadline, asking).await;
            let late = || Error::deadline_exceeded("the server did not answer in time");
            asked.unwrap_or_else(|_| Err(late()))
        }
    })
    .await
}

/// Sends and receives on the one connection to a server. It is taken out while in use, so that
/// one that fails half-way is never used again.
async fn exchange(
    host: &Host,
    server: &str,
    connection: &Connection,
    operation: &Operation,
) -> Result<Value> {
    let mut slot = connection.lock().await;
    let mut stream = match slot.take() {
        Some(stream) => stream,
        None => host.network.connect(&Address::tcp(server, PORT)).await?,
    };
    write(&mut *stream, &operation.value.to_be_bytes()).await?;
    let reply = read(&mut *stream).await?;
    *slot = Some(stream);
    let reply = <[u8; 8]>::try_from(reply.as_slice());
    let reply = reply.map_err(|_| Error::data_loss("the reply is not a number"))?;
    Ok(Value::from(u64::from_be_bytes(reply)))
}

async fn read(stream: &mut dyn Stream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length > MESSAGE_BYTES_MAX {
        let message = format!("a message of {length} bytes; at most {MESSAGE_BYTES_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut message = vec![0; length as usize];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write(stream: &mut dyn Stream, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).expect("a message has few bytes");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn replies_match(trace: &Trace) -> Vec<String> {
    let mut sent = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation, value, ..
            } => drop(sent.insert(*operation, *value)),
            EventKind::Outcome {
                operation,
                outcome: OperationOutcome::Ok { reply },
            } => {
                let expected = sent.get(operation).copied().map(Value::from);
                if expected.as_ref() != Some(reply) {
                    wrong.push(format!("operation {operation} was answered {reply}"));
                }
            }
            _ => {}
        }
    }
    wrong
}
