//! What people read when a call goes wrong, word for word.

use std::time::Duration;

use bytes::Bytes;
use nitro::codec::{Json, Protobuf, Raw};
use nitro::host::memory::Machine;
use nitro::server::stack::{ServerSettings, stack};
use nitro::transport::{Exchange, Transport};
use nitro::{Address, Client, Host, Method, Server, host};
use tokio::io::AsyncWriteExt;

use super::service::*;

fn builder(host: &Host) -> nitro::client::Builder {
    let transport = Transport::new(host.network.clone(), Exchange::new());
    nitro::client::Builder::new(host, &transport, "math")
}

/// What a call to an address says, however often it was tried.
async fn told(client: &Host, at: &str) -> String {
    let once = nitro::layer::RetryPolicy {
        attempts_max: 1,
        ..Default::default()
    };
    let client = builder(client).retry(once);
    let client = client.address(Protobuf, at.parse::<Address>().unwrap());
    client
        .call(&DOUBLE, number(1))
        .await
        .unwrap_err()
        .to_string()
}

/// What a call says of a peer that answers with these bytes.
async fn told_of(answer: &'static [u8]) -> String {
    let machine = Machine::new();
    let server = machine.host("server");
    let at = "server:7000".parse().unwrap();
    let mut listener = server.network.listen(&at).await.unwrap();
    let answering = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(answer).await.unwrap();
        // Held open: what is told is told by the client itself.
        std::future::pending::<()>().await;
        drop(stream);
    };
    let client = machine.host("client");
    let telling = told(&client, "server:7000");
    let (answering, telling) = (std::pin::pin!(answering), std::pin::pin!(telling));
    match futures_util::future::select(telling, answering).await {
        futures_util::future::Either::Left((told, _)) => told,
        futures_util::future::Either::Right(_) => unreachable!("it never ends"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_is_named_with_what_kept_it() {
    let machine = Machine::new();
    let client = machine.host("client");
    insta::assert_snapshot!(told(&client, "client:7000").await, @"unavailable: cannot connect to client:7000: nobody listens at client:7000 (node client:7000)");
    insta::assert_snapshot!(told(&client, "nowhere:7000").await, @r#"unavailable: cannot connect to nowhere:7000: no host has the name "nowhere" (node nowhere:7000)"#);
    insta::assert_snapshot!(told(&client, "memory:nobody").await, @"unavailable: cannot connect to memory:nobody: nobody listens at memory:nobody (node memory:nobody)");
    insta::assert_snapshot!(told(&client, "unix:/run/socket").await, @"unavailable: cannot connect to unix:/run/socket: unix:/run/socket: a memory network carries host:port only (node unix:/run/socket)");
}

#[tokio::test]
async fn a_refused_connection_is_told_as_the_system_tells_it() {
    let host = host::tokio::host();
    let listener = host.network.listen(&"127.0.0.1:0".parse().unwrap()).await;
    let at = listener.unwrap().address().to_string();
    let told = told(&host, &at).await.replace(&at, "HERE");
    insta::assert_snapshot!(told, @"unavailable: cannot connect to HERE: Connection refused (os error 111) (node HERE)");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_speaks_something_else_is_told_as_such() {
    insta::assert_snapshot!(told_of(b"HTTP/1.1 400 Bad Request\r\n\r\n").await, @"unavailable: connection to server:7000 lost: the peer does not speak nitro: it began with [48, 54, 54, 50, 2f, 31, 2e, 31] (node server:7000)");
    insta::assert_snapshot!(told_of(b"NITRO\x02\0\0").await, @"unavailable: connection to server:7000 lost: the peer speaks version 2, expected 1 (node server:7000)");
    insta::assert_snapshot!(told_of(b"NITRO\x01\0\0\x7f\0\0\0\0\0\0\0\x01\0").await, @"unavailable: connection to server:7000 lost: a frame of 2130706432 bytes: at most 65536 (node server:7000)");
    insta::assert_snapshot!(told_of(b"").await, @"unavailable: server:7000 did not answer within 5s (node server:7000)");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_nodes_is_told_by_name() {
    let host = Machine::new().host("client");
    let (rpc, _balance) = builder(&host).rpc(&[]);
    let client = Client::new(&host, rpc, Protobuf);
    let patient = client.clone().timeout(Duration::from_secs(60));
    let error = patient.call(&DOUBLE, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"unavailable: no node of "math" is known"#);
    let hasty = client.timeout(Duration::from_secs(1));
    let error = hasty.call(&DOUBLE, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"unavailable: no node of "math" is known"#);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_cannot_do_is_told() {
    let machine = Machine::new();
    let host = machine.host("server");
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let router = router(&Seen::default());
    let service = stack(&host, &ServerSettings::default(), router);
    let server = Server::new(&host, &transport, service);
    let at: Address = "server:7000".parse().unwrap();
    let serving = server.listen(&at).await.unwrap();
    let error = server.listen(&at).await.unwrap_err();
    insta::assert_snapshot!(error, @"already exists: cannot listen at server:7000: 10.0.0.1:7000 is taken");

    let client = builder(&machine.host("client")).address(Protobuf, at);
    let error = client.call(&MISSING, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"unimplemented: no method "math/dubble" is served here (node server:7000)"#);
    let error = client.call(&PANIC, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @"internal: handler panicked: planned panic (node server:7000)");
    let echo: Method<Number, Number> = Method::unary("raw/echo");
    let json = client.clone().with_codec(Json);
    let error = json.call(&echo, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"invalid argument: content type "application/json" is not served: expected application/octet-stream (node server:7000)"#);
    let raw = client.clone().with_codec(Raw);
    let long = Bytes::from(vec![0; 4 * 1024 * 1024 + 1]);
    let error = raw.call(&ECHO, long).await.unwrap_err();
    insta::assert_snapshot!(error, @"resource exhausted: message of 4194305 bytes: at most 4194304");
    let hasty = client.clone().timeout(Duration::from_secs(1));
    let error = hasty.call(&HANG, number(1)).await.unwrap_err();
    insta::assert_snapshot!(error, @"deadline exceeded: wrong/hang: no answer within 1s (node server:7000)");
    let hanging = client.call(&HANG, number(1));
    let clock = machine.host("client").clock;
    let stopping = async {
        clock.sleep(Duration::from_millis(10)).await;
        drop(serving);
    };
    let (answer, ()) = futures_util::future::join(hanging, stopping).await;
    insta::assert_snapshot!(answer.unwrap_err(), @"unavailable: connection to server:7000 lost: the other end closed it (node server:7000)");
}
