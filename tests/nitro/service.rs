//! The service that the rpc suite calls: one method of each kind, and some that go wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use nitro::codec::{Json, Protobuf, Raw};
use nitro::rpc::method::{Bidirectional, ClientStreaming, ServerStreaming};
use nitro::rpc::{Call, Incoming, Outgoing, Reply};
use nitro::{Error, Metadata, Method, Result, Router};
use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
pub(crate) struct Number {
    #[prost(int64, tag = "1")]
    pub(crate) value: i64,
}

pub(crate) fn number(value: i64) -> Number {
    Number { value }
}

pub(crate) const DOUBLE: Method<Number, Number> = Method::unary("math/double").idempotent();
pub(crate) const COUNT: Method<Number, Number, ServerStreaming> =
    Method::server_streaming("math/count");
pub(crate) const SUM: Method<Number, Number, ClientStreaming> =
    Method::client_streaming("math/sum");
pub(crate) const RUNNING: Method<Number, Number, Bidirectional> =
    Method::bidirectional("math/running");
pub(crate) const ECHO: Method<Bytes, Bytes> = Method::unary("raw/echo");
pub(crate) const FLOOD: Method<Bytes, Bytes, ServerStreaming> =
    Method::server_streaming("raw/flood");
pub(crate) const FAIL: Method<Number, Number> = Method::unary("wrong/fail");
pub(crate) const PANIC: Method<Number, Number> = Method::unary("wrong/panic");
pub(crate) const PANIC_LATE: Method<Number, Number, ServerStreaming> =
    Method::server_streaming("wrong/panic_late");
pub(crate) const HANG: Method<Number, Number> = Method::unary("wrong/hang");
pub(crate) const DRIP: Method<Number, Number, ServerStreaming> =
    Method::server_streaming("wrong/drip");
/// Calls further, in vain, and passes the error on.
pub(crate) const RELAY: Method<Number, Number> = Method::unary("wrong/relay");
pub(crate) const RELAY_MANY: Method<Number, Number, ServerStreaming> =
    Method::server_streaming("wrong/relay_many");
pub(crate) const MISSING: Method<Number, Number> = Method::unary("math/dubble");

/// What the handlers leave behind for tests to see.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    pub(crate) cancelled: Arc<AtomicUsize>,
    pub(crate) doubled: Arc<AtomicUsize>,
    pub(crate) relayed: Arc<AtomicUsize>,
}

struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn router(seen: &Seen) -> Router {
    let both = (Protobuf, Json);
    let (doubled, hung) = (seen.doubled.clone(), seen.cancelled.clone());
    let dripped = seen.cancelled.clone();
    let (relayed, relayed_many) = (seen.relayed.clone(), seen.relayed.clone());
    let unsent = || Error::unavailable("the next node is not there").unsent();
    Router::new()
        .unary(&DOUBLE, both, move |call: Call, input: Number| {
            doubled.fetch_add(1, Ordering::SeqCst);
            async move { double(call, input).await }
        })
        .server_streaming(&COUNT, both, count)
        .client_streaming(&SUM, both, sum)
        .bidirectional(&RUNNING, both, running)
        .unary(&ECHO, Raw, |_: Call, input: Bytes| async move { Ok(input) })
        .server_streaming(&FLOOD, Raw, flood)
        .unary(&FAIL, both, fail)
        .unary(&PANIC, both, panic)
        .server_streaming(&PANIC_LATE, both, panic_late)
        .unary(&RELAY, both, move |_: Call, _: Number| {
            relayed.fetch_add(1, Ordering::SeqCst);
            async move { Err::<Number, _>(unsent()) }
        })
        .server_streaming(
            &RELAY_MANY,
            both,
            move |_: Call, _: Number, _: Outgoing<Number>| {
                relayed_many.fetch_add(1, Ordering::SeqCst);
                async move { Err(unsent()) }
            },
        )
        .unary(&HANG, both, move |_: Call, _: Number| {
            let guard = CountDrop(hung.clone());
            async move {
                let _guard = guard;
                std::future::pending::<Result<Number>>().await
            }
        })
        .server_streaming(
            &DRIP,
            both,
            move |_: Call, _: Number, out: Outgoing<Number>| {
                let guard = CountDrop(dripped.clone());
                async move {
                    let _guard = guard;
                    out.send(number(1)).await?;
                    std::future::pending::<Result<()>>().await
                }
            },
        )
}

async fn double(call: Call, input: Number) -> Result<Reply<Number>> {
    let mut metadata = Metadata::new();
    if let Some(tag) = call.metadata.get("tag") {
        metadata.insert("tag-back", tag)?;
    }
    let message = number(input.value * 2);
    Ok(Reply { message, metadata })
}

async fn count(_: Call, input: Number, out: Outgoing<Number>) -> Result<()> {
    for value in 0..input.value {
        out.send(number(value)).await?;
    }
    Ok(())
}

async fn sum(_: Call, mut input: Incoming<Number>) -> Result<Number> {
    let mut sum = 0;
    while let Some(next) = input.next().await {
        sum += next?.value;
    }
    Ok(number(sum))
}

async fn running(_: Call, mut input: Incoming<Number>, out: Outgoing<Number>) -> Result<()> {
    let mut sum = 0;
    while let Some(next) = input.next().await {
        sum += next?.value;
        out.send(number(sum)).await?;
    }
    out.send(number(-1)).await
}

/// Sends as many messages as the first two bytes say, of as many bytes as the rest is long.
async fn flood(_: Call, input: Bytes, out: Outgoing<Bytes>) -> Result<()> {
    let count = u16::from_be_bytes([input[0], input[1]]);
    for _ in 0..count {
        out.send(input.slice(2..)).await?;
    }
    Ok(())
}

async fn fail(_: Call, input: Number) -> Result<Number> {
    let error = Error::failed_precondition(format!("{} is not ready", input.value));
    Err(error.with_detail("reason", "planned"))
}

async fn panic(_: Call, _: Number) -> Result<Number> {
    panic!("planned panic")
}

async fn panic_late(_: Call, _: Number, out: Outgoing<Number>) -> Result<()> {
    out.send(number(1)).await?;
    panic!("planned late panic")
}
