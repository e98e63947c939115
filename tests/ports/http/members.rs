//! Members that are servers like any other: what they get, and what becomes of a message when
//! they fail.

use std::time::Duration;

use nitro::Address;
use nitro::broker::{Broker, Consumer, DEAD_REASON, Message};
use nitro::host::Host;
use nitro::http::HttpBroker;
use nitro::registry::{Registration, Registry};

use super::stranger::{Does, GOOD, Stranger, header, register};
use super::{On, Setting, quick, run, start};

struct Place {
    host: Host,
    registry: Registry,
    node: HttpBroker,
    kept: Vec<Registration>,
}

impl Place {
    async fn new(setting: &Setting) -> Self {
        let host = setting.host.clone();
        let registry = Registry::memory(&host);
        Self {
            node: start(&host, &registry).await,
            host,
            registry,
            kept: Vec::new(),
        }
    }

    /// A stranger that is a member of the group `g`; they are asked in the order of their ids.
    async fn member(&mut self, id: &str, script: &[Does]) -> Stranger {
        let stranger = Stranger::start(&self.host, script).await;
        let address = stranger.address.clone();
        self.list(id, &address).await;
        stranger
    }

    async fn list(&mut self, id: &str, address: &Address) {
        let dead = [("dead-letter", "dead")];
        let kept = register(&self.host, &self.registry, id, address, &dead).await;
        self.kept.push(kept);
    }

    async fn publish(&self, body: &str) {
        self.node.knows("g").await;
        let broker = self.node.broker();
        broker
            .publish(&self.host, "t", body.to_owned())
            .await
            .unwrap();
    }

    async fn pass(&self, time: Duration) {
        self.host.clock.sleep(time).await;
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_member_gets_an_event_as_it_was_published() {
    for on in [On::Memory, On::Machine] {
        run(on, async |setting: Setting| {
            let mut place = Place::new(&setting).await;
            let member = place.member("a", &[GOOD]).await;
            place.node.knows("g").await;
            let mut message = Message::new(&place.host, "t", "hello there").key("k 1");
            message.id = "id/ü".to_owned();
            message.content_type = "text/plain; charset=utf-8".to_owned();
            let trace = ("trace".to_owned(), "a&b = c".to_owned());
            message.headers.insert(trace.0, trace.1);
            let broker = place.node.broker();
            let number = broker.publish_all(vec![message]).await.unwrap();
            place.pass(SECOND / 4).await;
            let seen = member.seen();
            assert_eq!(seen.len(), 1, "{seen:?}");
            let request = &*seen[0];
            assert!(
                request.starts_with("POST /deliver HTTP/1.1\r\n"),
                "{request}"
            );
            assert!(request.ends_with("\r\n\r\nhello there"), "{request}");
            for (name, value) in [
                ("host", &*member.address.to_string()),
                ("content-length", "11"),
                ("content-type", "text/plain; charset=utf-8"),
                ("ce-specversion", "1.0"),
                ("ce-id", "id/%C3%BC"),
                ("ce-type", "t"),
                ("ce-partitionkey", "k%201"),
                ("nitro-headers", "trace=a%26b%20%3D%20c"),
                ("nitro-subscription", "g"),
                ("nitro-number", &*number.to_string()),
                ("nitro-attempt", "1"),
            ] {
                assert_eq!(header(request, name), value, "{name} of {request}");
            }
        });
    }
}

#[test]
fn a_member_that_fails_costs_an_attempt_and_the_next_is_another_members() {
    let failing = [
        Does::Says("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        Does::Says("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n"),
        Does::Says("this is not HTTP\r\n\r\n"),
        // A body that never comes to its end, and an answer that never comes.
        Does::SaysAndStops("HTTP/1.1 500 Oh\r\ncontent-length: 100\r\n\r\nx"),
        Does::SaysAndStops(""),
        Does::HangsUp,
    ];
    for does in failing {
        run(On::Memory, async |setting: Setting| {
            let mut place = Place::new(&setting).await;
            let bad = place.member("a", std::slice::from_ref(&does)).await;
            let good = place.member("b", &[GOOD]).await;
            place.pass(SECOND).await;
            place.publish("x").await;
            place.pass(5 * SECOND).await;
            assert_eq!(bad.attempts(), ["1"], "{does:?}");
            assert_eq!(good.attempts(), ["2"], "{does:?}");
        });
    }
}

/// Whose turn it would be does not matter: here it is the turn of the one that failed.
#[test]
fn the_next_attempt_is_another_members_even_when_it_is_not_its_turn() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        let fails = Does::Says("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n");
        let bad = place.member("a", &[fails, GOOD]).await;
        let good = place.member("b", &[GOOD]).await;
        place.pass(SECOND).await;
        place.publish("x").await;
        place.publish("y").await;
        place.pass(5 * SECOND).await;
        assert_eq!(bad.attempts(), ["1"]);
        assert_eq!(good.attempts(), ["1", "2"]);
    });
}

#[test]
fn a_member_that_is_not_there_or_says_not_now_costs_no_attempt() {
    let later = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n";
    for does in [None, Some(Does::Says(later))] {
        run(On::Memory, async |setting: Setting| {
            let mut place = Place::new(&setting).await;
            match does.clone() {
                None => place.list("a", &Address::tcp("127.0.0.1", 9)).await,
                Some(does) => drop(place.member("a", &[does]).await),
            }
            let good = place.member("b", &[GOOD]).await;
            place.pass(SECOND).await;
            for _ in 0..10 {
                place.publish("x").await;
            }
            place.pass(SECOND).await;
            assert_eq!(good.attempts(), ["1"; 10], "{does:?}");
        });
    }
}

#[test]
fn not_now_is_heeded_for_as_long_as_it_says() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        let later = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 5\r\n\r\n";
        let member = place.member("a", &[Does::Says(later), GOOD]).await;
        place.pass(SECOND).await;
        place.publish("x").await;
        place.pass(4 * SECOND).await;
        assert_eq!(member.attempts(), ["1"]);
        place.pass(2 * SECOND).await;
        assert_eq!(member.attempts(), ["1", "1"]);
        place.pass(10 * SECOND).await;
        assert_eq!(member.seen().len(), 2);
    });
}

#[test]
fn what_nobody_can_handle_is_a_dead_letter_with_the_last_reason() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        let answer = "HTTP/1.1 422 Unprocessable\r\ncontent-length: 9\r\n\r\nno number";
        let member = place.member("a", &[Does::Says(answer)]).await;
        let broker = place.node.broker();
        let mut dead = broker
            .subscribe(&place.host, quick("dead", "d"))
            .await
            .unwrap();
        place.publish("x").await;
        let letter = dead.next().await.unwrap();
        assert_eq!(member.attempts(), ["1", "2", "3"]);
        let reason = &letter.message().headers[DEAD_REASON];
        assert!(
            reason.contains("422") && reason.contains("no number"),
            "{reason}"
        );
    });
}

#[test]
fn a_member_that_answers_without_end_is_not_listened_to() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        let member = place.member("a", &[Does::Floods]).await;
        place.pass(SECOND).await;
        place.publish("x").await;
        place.pass(10 * SECOND).await;
        // A success is one, however it goes on.
        assert_eq!(member.attempts(), ["1"]);
        let sent = *member.sent.lock().unwrap();
        assert!(sent < 2_000_000, "{sent} bytes were read");
    });
}

#[test]
fn a_member_that_the_registry_lists_no_more_gets_nothing_more() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        let gone = place.member("a", &[GOOD]).await;
        let good = place.member("b", &[GOOD]).await;
        place.pass(SECOND).await;
        // Its heartbeats stop, and it expires.
        drop(place.kept.remove(0));
        place.pass(20 * SECOND).await;
        for _ in 0..6 {
            place.publish("x").await;
        }
        place.pass(SECOND).await;
        assert_eq!((gone.seen().len(), good.seen().len()), (0, 6));
    });
}

#[test]
fn what_waits_for_a_group_is_kept_for_a_while_when_nobody_is_listed() {
    run(On::Memory, async |setting: Setting| {
        let mut place = Place::new(&setting).await;
        for (away, is_kept) in [(60 * SECOND, true), (180 * SECOND, false)] {
            let before = place.member("a", &[GOOD]).await;
            place.pass(SECOND).await;
            place.publish("before").await;
            place.pass(SECOND).await;
            assert_eq!(before.seen().len(), 1);
            place.kept.remove(0).deregister().await.unwrap();
            place.pass(SECOND).await;
            place.publish("meanwhile").await;
            place.pass(away).await;
            let after = place.member("b", &[GOOD]).await;
            place.pass(SECOND).await;
            assert_eq!(!after.seen().is_empty(), is_kept, "{away:?}");
            place.kept.remove(0).deregister().await.unwrap();
            place.pass(180 * SECOND).await;
        }
    });
}

#[test]
fn groups_share_over_nodes_and_who_has_acknowledged_is_not_asked_again() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let registry = Registry::memory(host);
        let mut nodes = Vec::new();
        for _ in 0..3 {
            nodes.push(start(host, &registry).await);
        }
        let mut members = Vec::new();
        for node in &nodes {
            let alone = node.broker().subscribe(host, Consumer::alone("t")).await;
            let shared = node.broker().subscribe(host, quick("t", "g")).await;
            members.push((alone.unwrap(), shared.unwrap()));
        }
        host.clock.sleep(SECOND).await;
        for (index, node) in nodes.iter().enumerate() {
            for n in 0..10 {
                let body = format!("{index}/{n}");
                node.broker().publish(host, "t", body).await.unwrap();
            }
        }
        let (mut shared, mut shares) = (Vec::new(), Vec::new());
        for (alone, member) in &mut members {
            let mut all = Vec::new();
            for _ in 0..30 {
                all.push(handle(host, alone).await.unwrap());
            }
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 30);
            assert_eq!(handle(host, alone).await, None);
            shares.push(0);
            while let Some(body) = handle(host, member).await {
                *shares.last_mut().unwrap() += 1;
                shared.push(body);
            }
        }
        // Who comes to it late has had none: the others were there.
        shared.sort();
        shared.dedup();
        assert_eq!(shared.len(), 30, "{shares:?}");
    });
}

async fn handle(host: &Host, from: &mut nitro::broker::Subscription) -> Option<String> {
    let next = host.clock.timeout(10 * SECOND, from.next()).await.ok()?;
    let delivery = next.unwrap();
    let body = String::from_utf8(delivery.message().body.to_vec()).unwrap();
    delivery.acknowledge().await.unwrap();
    Some(body)
}

#[test]
fn a_subscription_that_is_given_up_at_one_node_is_forgotten_at_the_others() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let registry = Registry::memory(host);
        let outbox = Broker::memory(host);
        let settings = nitro::http::Settings::at(Address::tcp("127.0.0.1", 0));
        let started = HttpBroker::start(host, &registry, &outbox, settings).await;
        let publisher = started.unwrap();
        let receiver = start(host, &registry).await;
        let subscribed = receiver.broker().subscribe(host, quick("t", "g")).await;
        let given_up = subscribed.unwrap();
        publisher.knows("g").await;
        publisher.broker().publish(host, "t", "x").await.unwrap();
        given_up.unsubscribe().await.unwrap();
        host.clock.sleep(SECOND).await;
        let request = nitro::broker::Request::Unsubscribe {
            subscription: "g".to_owned(),
        };
        let existed = outbox.ask(request).await.unwrap();
        assert_eq!(existed, nitro::broker::Reply::Unsubscribed(false));
    });
}
