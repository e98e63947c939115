//! The system `counter`: one server counts, clients add to it by all four kinds of method.
//!
//! Adding is not idempotent, so a call that is made twice shows in the total; the total is on
//! disk before it is acknowledged, so a crash that loses one shows as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nitro::address::Address;
use nitro::app::App;
use nitro::codec::Json;
use nitro::error::{Error, Result};
use nitro::host::{Disk, File, disk::Open};
use nitro::rpc::method::{Bidirectional, ClientStreaming, ServerStreaming};
use nitro::rpc::{Call, Incoming, Outgoing};
use nitro::{Client, Method, Router};
use serde_json::{Value, json};

use super::cluster;
use crate::system::{Node, Operation, System};
use crate::trace::{EventKind, OperationOutcome, Trace};

const ADD: Method<u64, u64> = Method::unary("counter/add");
const READ: Method<(), u64> = Method::unary("counter/read").idempotent();
const ADD_ALL: Method<u64, u64, ClientStreaming> = Method::client_streaming("counter/add_all");
const FOLLOW: Method<u64, u64, ServerStreaming> = Method::server_streaming("counter/follow");
const CONVERSE: Method<u64, u64, Bidirectional> = Method::bidirectional("counter/converse");

/// How many messages the streaming operations send or ask for.
const STREAMED: u64 = 3;

/// The system: roles `server` and `client`; operations `add`, `read`, `add_all`, `follow` and
/// `converse`.
pub fn system() -> System {
    System::new("counter")
        .role("server", serve)
        .role("client", count)
        .operation("add")
        .operation("read")
        .operation("add_all")
        .operation("follow")
        .operation("converse")
        .invariant("no addition is lost or made twice", totals_add_up)
}

/// The total, on disk before anybody is told.
#[derive(Clone)]
struct Total(Arc<Mutex<(u64, Arc<dyn File>)>>);

impl Total {
    fn open(disk: &dyn Disk) -> Result<Self> {
        let file = disk.open(Path::new("/total"), Open::OrCreate)?;
        // A file whose name is not on the disk is gone after a crash, however well it is synced.
        disk.sync_directory(Path::new("/"))?;
        let mut bytes = [0; 8];
        if file.length()? >= 8 {
            file.read_at(0, &mut bytes)?;
        }
        let total = u64::from_be_bytes(bytes);
        Ok(Self(Arc::new(Mutex::new((total, file)))))
    }

    fn add(&self, more: u64) -> Result<u64> {
        let mut held = self.0.lock().expect("no panic while the total is held");
        let sum = held.0 + more;
        held.1.write_at(0, &sum.to_be_bytes())?;
        held.1.sync()?;
        held.0 = sum;
        Ok(sum)
    }
}

async fn serve(node: Node) -> Result<()> {
    let registry = cluster::serve_registry(&node).await?;
    let total = Total::open(&*node.host().disk)?;
    let (add, read, add_all) = (total.clone(), total.clone(), total.clone());
    let (follow, converse) = (total.clone(), total);
    let router = Router::new()
        .unary(&ADD, Json, move |_: Call, more: u64| {
            let total = add.clone();
            async move { total.add(more) }
        })
        .unary(&READ, Json, move |_: Call, ()| {
            let total = read.clone();
            async move { total.add(0) }
        })
        .client_streaming(&ADD_ALL, Json, move |_: Call, input: Incoming<u64>| {
            sum(add_all.clone(), input)
        })
        .server_streaming(
            &FOLLOW,
            Json,
            move |_: Call, times: u64, out: Outgoing<u64>| tell(follow.clone(), times, out),
        )
        .bidirectional(&CONVERSE, Json, move |_: Call, input, out| {
            answer_each(converse.clone(), input, out)
        });
    let app = App::new(&cluster::fabric(&node), "counter")
        .listen(Address::tcp("0.0.0.0", cluster::SERVICE_PORT))
        .advertise(Address::tcp(node.name(), cluster::SERVICE_PORT))
        .router(router);
    app.run_until(node.stop_requested()).await?;
    drop(registry);
    Ok(())
}

/// Adds all that comes, or nothing if it breaks off.
async fn sum(total: Total, mut input: Incoming<u64>) -> Result<u64> {
    let mut more = 0;
    while let Some(next) = input.next().await {
        more += next?;
    }
    total.add(more)
}

async fn tell(total: Total, times: u64, out: Outgoing<u64>) -> Result<()> {
    for _ in 0..times.min(STREAMED) {
        out.send(total.add(0)?).await?;
    }
    Ok(())
}

async fn answer_each(total: Total, mut input: Incoming<u64>, out: Outgoing<u64>) -> Result<()> {
    while let Some(more) = input.next().await {
        out.send(total.add(more?)?).await?;
    }
    Ok(())
}

async fn count(node: Node) -> Result<()> {
    // One server: what may have reached it is never tried again, what has not goes there anew.
    let client = cluster::client(&node, "counter", Json);
    node.workload(move |operation| {
        let client = client.clone().timeout(operation.timeout);
        async move { make(&client, &operation).await }
    })
    .await
}

async fn make(client: &Client<Json>, operation: &Operation) -> Result<Value> {
    let total = match operation.name.as_str() {
        "add" => client.call(&ADD, 1).await?,
        "read" => client.call(&READ, ()).await?,
        "add_all" => {
            let (out, reply) = client.client_streaming(&ADD_ALL);
            let sending = async {
                for _ in 0..STREAMED {
                    out.send(1).await?;
                }
                out.finish().await;
                Ok(())
            };
            let (sent, reply): (Result<()>, Result<u64>) =
                futures_util::future::join(sending, reply).await;
            // What broke the call off is told by its reply; a send only fails because of that.
            let total = reply?;
            sent?;
            total
        }
        "follow" => {
            let mut totals = client.server_streaming(&FOLLOW, STREAMED).await?;
            last(&mut totals).await?
        }
        "converse" => {
            let (out, mut totals) = client.bidirectional(&CONVERSE);
            let mut total = 0;
            for _ in 0..STREAMED {
                out.send(1).await?;
                total = next(&mut totals).await?;
            }
            out.finish().await;
            total
        }
        other => return Err(Error::unimplemented(format!("no operation {other:?}"))),
    };
    Ok(json!(total))
}

async fn next(totals: &mut Incoming<u64>) -> Result<u64> {
    let ended = || Error::data_loss("the stream ended before its last message");
    totals.next().await.ok_or_else(ended)?
}

async fn last(totals: &mut Incoming<u64>) -> Result<u64> {
    let mut total = next(totals).await?;
    while let Some(next) = totals.next().await {
        total = next?;
    }
    Ok(total)
}

/// What an operation adds at most.
fn added(name: &str) -> u64 {
    match name {
        "add" => 1,
        "add_all" | "converse" => STREAMED,
        _ => 0,
    }
}

/// Each total told must hold all that was acknowledged before its question was asked, and no
/// more than had been asked for by the time it was told.
fn totals_add_up(trace: &Trace) -> Vec<String> {
    let (mut asked, mut acknowledged) = (0, 0);
    let mut open: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation, name, ..
            } => {
                asked += added(name);
                open.insert(*operation, (added(name), acknowledged));
            }
            EventKind::Outcome {
                operation,
                outcome: OperationOutcome::Ok { reply },
            } => {
                let Some((adds, least)) = open.remove(operation) else {
                    continue;
                };
                acknowledged += adds;
                let total = reply.as_u64().unwrap_or(0);
                if total < least + adds || total > asked {
                    let between = format!("between {} and {asked}", least + adds);
                    wrong.push(format!(
                        "operation {operation} was told {total}: expected {between}"
                    ));
                }
            }
            _ => {}
        }
    }
    wrong
}
