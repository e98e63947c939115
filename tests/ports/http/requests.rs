//! Requests from strangers: what they can do with a few bytes, and what is refused.

use std::time::Duration;

use nitro::Address;
use nitro::broker::Subscription;
use nitro::host::Host;
use nitro::http::HttpBroker;
use nitro::registry::Registry;
use tokio::io::AsyncWriteExt;

use super::stranger::{exchange, read_all};
use super::{On, Setting, quick, run, start};

const SECOND: Duration = Duration::from_secs(1);

async fn subscribed(setting: &Setting) -> (HttpBroker, Subscription, Address) {
    let host = &setting.host;
    let node = start(host, &Registry::memory(host)).await;
    let received = node.broker().subscribe(host, quick("t.>", "g")).await;
    let address = node.address().clone();
    (node, received.unwrap(), address)
}

/// A request that is answered once, as text.
async fn ask(host: &Host, to: &Address, head: &str, body: &str) -> String {
    let length = body.len();
    let request =
        format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    exchange(host, to, request.as_bytes(), 60 * SECOND).await
}

async fn received(host: &Host, from: &mut Subscription) -> nitro::broker::Message {
    let next = host.clock.timeout(20 * SECOND, from.next());
    let delivery = next.await.expect("a message comes").unwrap();
    let message = delivery.message().clone();
    delivery.acknowledge().await.unwrap();
    message
}

#[test]
fn anybody_who_can_post_can_publish() {
    for on in [On::Memory, On::Machine] {
        run(on, async |setting: Setting| {
            let host = &setting.host;
            let (_node, mut from, to) = subscribed(&setting).await;
            // As curl -d does it.
            let head = "POST /publish/t.a HTTP/1.1\r\ncontent-type: text/plain";
            let answer = ask(host, &to, head, "hello").await;
            assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
            let message = received(host, &mut from).await;
            assert_eq!((&*message.topic, &*message.body), ("t.a", &b"hello"[..]));
            assert_eq!(message.content_type, "text/plain");
            // As a library for CloudEvents does it, twice: it is one event.
            let head = "POST /publish HTTP/1.1\r\nCE-SpecVersion: 1.0\r\nCE-ID: 7\r\n\
                        CE-Source: /shop\r\nCE-Type: t.b\r\nce-time: 2026-01-01T00:00:00Z";
            for _ in 0..2 {
                let answer = ask(host, &to, head, "{}").await;
                assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
            }
            let message = received(host, &mut from).await;
            assert_eq!((&*message.topic, &*message.id), ("t.b", "/shop#7"));
            ask(host, &to, "POST /publish/t.%63 HTTP/1.1", "").await;
            assert_eq!(received(host, &mut from).await.topic, "t.c");
        });
    }
}

#[test]
fn an_event_that_was_acknowledged_is_acknowledged_again_without_being_handled_again() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (_node, mut from, to) = subscribed(&setting).await;
        let head = "POST /deliver HTTP/1.1\r\nce-id: 1\r\nce-type: t.a\r\nnitro-subscription: g";
        let posting = ask(host, &to, head, "x");
        let handling = received(host, &mut from);
        let (answer, _) = futures_util::future::join(posting, handling).await;
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        let again = ask(host, &to, head, "x").await;
        assert!(again.starts_with("HTTP/1.1 204 "), "{again}");
        let none = host.clock.timeout(SECOND, from.next()).await;
        assert!(none.is_err());
        // Nobody asks for the next, and one whose answer is late is one whose time was over.
        let head = head.replace("ce-id: 1", "ce-id: 2");
        let nobody = ask(host, &to, &head, "x").await;
        assert!(nobody.starts_with("HTTP/1.1 503 "), "{nobody}");
        let posting = ask(host, &to, &head, "x");
        let (late, delivery) = futures_util::future::join(posting, from.next()).await;
        assert!(late.starts_with("HTTP/1.1 504 "), "{late}");
        delivery.unwrap().acknowledge().await.unwrap_err();
    });
}

#[test]
fn what_is_no_request_for_it_is_refused_with_what_is_right() {
    let deliver = "POST /deliver HTTP/1.1\r\nce-type: t.a\r\nnitro-subscription: g";
    let many: String = (0..70).map(|n| format!("\r\nx-{n}: 1")).collect();
    let many = format!("POST /publish/t.a HTTP/1.1{many}");
    let long = format!("POST /publish/t.a HTTP/1.1\r\nx: {}", "y".repeat(100_000));
    let structured = "POST /publish/t.a HTTP/1.1\r\ncontent-type: Application/CloudEvents+json";
    let batched = "POST /deliver HTTP/1.1\r\ncontent-type: application/cloudevents-batch+json";
    let wrong = [
        ("GET /publish/t.a HTTP/1.1", "405", "only POST"),
        ("POST / HTTP/1.1", "404", "/publish/<topic>"),
        ("POST /publisht HTTP/1.1", "404", "/publish/<topic>"),
        ("POST /publish HTTP/1.1", "400", "no topic"),
        ("POST /publish/ HTTP/1.1", "400", "no topic"),
        ("POST /publish/a..b HTTP/1.1", "400", "one dot between"),
        ("POST /publish/t.* HTTP/1.1", "400", "wildcard"),
        ("POST /publish/%zz HTTP/1.1", "400", "%xx"),
        ("POST /deliver HTTP/1.1", "400", "ce-id is missing"),
        (deliver, "400", "ce-id is missing"),
        (
            "POST /forget HTTP/1.1",
            "400",
            "nitro-subscription is missing",
        ),
        (structured, "415", "binary mode"),
        (batched, "415", "binary mode"),
        (
            "POST /publish/t.a HTTP/1.1\r\ncontent-type: caf\u{e9}",
            "400",
            "content-type",
        ),
        ("PUT /publish/t.a HTTP/1.1", "405", "only POST"),
        (
            "POST /publish/t.a HTTP/1.1\r\nce-specversion: 0.3",
            "400",
            "1.0",
        ),
        (
            "POST /publish/t.a HTTP/1.1\r\nnitro-headers: x",
            "400",
            "name=value",
        ),
        ("POST /publish/t.a HTTP/3.7", "400", ""),
        ("nonsense", "400", ""),
        ("POST /publish/t.a HTTP/1.1\r\nbad header", "400", ""),
        (&many, "431", ""),
        (&long, "431", ""),
    ];
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (_node, mut from, to) = subscribed(&setting).await;
        for (head, status, expected) in wrong {
            let answer = ask(host, &to, head, "x").await;
            let shown = &head[..head.len().min(60)];
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{shown}: {answer}"
            );
            assert!(answer.contains(expected), "{shown}: {answer}");
        }
        let unknown = deliver.replace("subscription: g", "subscription: nobody\r\nce-id: 1");
        let answer = ask(host, &to, &unknown, "x").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        // It goes on.
        ask(host, &to, "POST /publish/t.a HTTP/1.1", "x").await;
        received(host, &mut from).await;
    });
}

#[test]
fn a_body_is_no_longer_and_takes_no_longer_than_it_may() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (_node, _from, to) = subscribed(&setting).await;
        let head = "POST /publish/t.a HTTP/1.1\r\nhost: x\r\n";
        let said = format!("{head}content-length: 104857600\r\n\r\n");
        let answer = exchange(host, &to, said.as_bytes(), 5 * SECOND).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let mut unsaid = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
        for _ in 0..10 {
            unsaid.extend_from_slice(b"10000\r\n");
            unsaid.extend_from_slice(&[b'x'; 0x10000]);
            unsaid.extend_from_slice(b"\r\n");
        }
        let answer = exchange(host, &to, &unsaid, 5 * SECOND).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        let slow = format!("{head}content-length: 5\r\n\r\nab");
        let started = host.clock.now();
        let answer = exchange(host, &to, slow.as_bytes(), 60 * SECOND).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        let waited = host.clock.now().since(started);
        assert!((10 * SECOND..12 * SECOND).contains(&waited), "{waited:?}");
    });
}

#[test]
fn a_peer_that_says_nothing_or_too_little_is_not_waited_for() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (_node, mut from, to) = subscribed(&setting).await;
        for said in ["", "P", "POST /publish/t.a HTTP/1.1\r\nhost: x\r\n"] {
            let started = host.clock.now();
            let answer = exchange(host, &to, said.as_bytes(), 120 * SECOND).await;
            let waited = host.clock.now().since(started);
            assert!(
                (29 * SECOND..32 * SECOND).contains(&waited),
                "{said:?}: {waited:?}"
            );
            assert!(!answer.contains("202"), "{answer}");
        }
        // One that says it byte by byte in time is heard.
        let request = "POST /publish/t.a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx";
        let mut stream = host.network.connect(&to).await.unwrap();
        for byte in request.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            host.clock.sleep(SECOND / 10).await;
        }
        let answer = read_all(host, &mut stream, SECOND).await;
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
        received(host, &mut from).await;
        // Two in one go are two, and the connection is kept for a third.
        let mut stream = host.network.connect(&to).await.unwrap();
        stream
            .write_all(request.repeat(2).as_bytes())
            .await
            .unwrap();
        host.clock.sleep(10 * SECOND).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answers = read_all(host, &mut stream, SECOND).await;
        assert_eq!(answers.matches("HTTP/1.1 202 ").count(), 3, "{answers}");
    });
}
