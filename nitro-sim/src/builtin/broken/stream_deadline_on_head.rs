//! A deadline that holds for the beginning of an answer, and not for the rest of it.

use std::time::Duration;

use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::host::Host;
use nitro::rpc::method::ServerStreaming;
use nitro::rpc::{Call, Outgoing, Router};
use nitro::{Client, Method};
use serde_json::{Value, json};

use super::service::{is_broken, reach, serve};
use crate::system::{Node, Operation, System};

const COUNT: Method<u64, u64, ServerStreaming> = Method::server_streaming("stream/count");

/// How many messages an answer has, and how long the server takes for each.
const MESSAGES: u64 = 4;
const PAUSE: Duration = Duration::from_millis(40);

pub(super) fn system() -> System {
    System::new("stream_deadline_on_head")
        .role("server", count)
        .role("client", ask)
        .operation("count")
}

async fn count(node: Node) -> Result<()> {
    let host = node.host().clone();
    let router = Router::new().server_streaming(&COUNT, Json, move |_: Call, to, out| {
        count_to(host.clone(), to, out)
    });
    serve(&node, router).await
}

async fn count_to(host: Host, to: u64, out: Outgoing<u64>) -> Result<()> {
    for number in 1..=to {
        host.clock.sleep(PAUSE).await;
        out.send(number).await?;
    }
    Ok(())
}

async fn ask(node: Node) -> Result<()> {
    let is_broken = is_broken(&node)?;
    let (client, host) = (reach(&node, "server-1"), node.host().clone());
    node.workload(move |operation| {
        let (client, host) = (client.clone(), host.clone());
        async move {
            match is_broken {
                true => read_until_late(&client, &host, &operation).await,
                false => read(&client.timeout(operation.timeout)).await,
            }
        }
    })
    .await
}

/// The client's time limit is one for the call and all of its messages.
async fn read(client: &Client<Json>) -> Result<Value> {
    let mut numbers = client.server_streaming(&COUNT, MESSAGES).await?;
    let mut last = 0;
    while let Some(number) = numbers.next().await {
        last = number?;
    }
    Ok(json!(last))
}

/// The bug: a limit of one's own ends where the stream begins.
async fn read_until_late(
    client: &Client<Json>,
    host: &Host,
    operation: &Operation,
) -> Result<Value> {
    let opening = client.server_streaming(&COUNT, MESSAGES);
    let opened = host.clock.timeout_at(operation.deadline, opening).await;
    let mut numbers = opened.map_err(|_| Error::deadline_exceeded("no answer began in time"))??;
    let mut last = 0;
    while let Some(number) = numbers.next().await {
        last = number?;
    }
    Ok(json!(last))
}
