//! A tower layer of one's own, at the three depths where one fits: around the handlers, around
//! each attempt of a client, and around the client's whole stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nitro::codec::Text;
use nitro::rpc::{Call, Request};
use nitro::{App, Fabric, Method, Router};
use tower::util::MapRequestLayer;

const SHOUT: Method<String, String> = Method::unary("text/shout");

async fn shout(_call: Call, text: String) -> nitro::Result<String> {
    Ok(text.to_uppercase())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> nitro::Result<()> {
    let seen = Arc::new(AtomicU32::new(0));
    let count = || {
        let seen = Arc::clone(&seen);
        MapRequestLayer::new(move |request: Request| {
            seen.fetch_add(1, Ordering::Relaxed);
            request
        })
    };
    let fabric = Fabric::new(&nitro::host::tokio::host());
    let router = Router::new().unary(&SHOUT, Text, shout);
    let app = App::new(&fabric, "text").router(router).layer(count());
    let app = app.start().await?;
    let client = app.client_builder("text").layer(count());
    let client = client.attempt_layer(count());
    let client = client.registry(Text, fabric.registry());
    assert_eq!(client.call(&SHOUT, "hello".to_owned()).await?, "HELLO");
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    app.stop().await
}
