//! What every broker promises of a message.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::select;
use nitro::broker::{
    Broker, Consumer, DEAD_GROUP, DEAD_REASON, DEAD_TOPIC, Delivery, Message, Subscription,
};
use nitro::host::Host;
use nitro::{Error, Kind};

pub(super) const VISIBLE: Duration = Duration::from_millis(200);
pub(super) const SOON: Duration = Duration::from_millis(40);

/// A member of a group whose messages come back soon.
pub(super) fn quick(pattern: &str, group: &str) -> Consumer {
    Consumer {
        visibility_ms: VISIBLE.as_millis() as u64,
        attempts_max: 3,
        ..Consumer::group(pattern, group)
    }
}

/// The next message, which must come soon.
pub(super) async fn next(host: &Host, from: &mut Subscription) -> Delivery {
    let next = host.clock.timeout(Duration::from_secs(20), from.next());
    next.await.expect("a message comes").unwrap()
}

/// Nothing must come for a while.
pub(super) async fn silent(host: &Host, from: &mut Subscription, time: Duration) {
    let next = host.clock.timeout(time, from.next()).await;
    assert!(next.is_err(), "a message came: {next:?}");
}

pub(super) fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message().body.to_vec()).unwrap()
}

pub(super) async fn a_message_comes_as_it_was_published(broker: Broker, host: Host) {
    let mut all = broker.subscribe(&host, quick(">", "all")).await.unwrap();
    let message = Message {
        content_type: "text/plain".to_owned(),
        headers: BTreeMap::from([("trace".to_owned(), "1 2".to_owned())]),
        ..Message::new(&host, "orders.paid", vec![0, 255, 10]).key("k/1")
    };
    let number = broker.publish_all(vec![message.clone()]).await.unwrap();
    let delivery = next(&host, &mut all).await;
    assert_eq!(*delivery.message(), message);
    assert_eq!(delivery.attempt(), 1);
    assert_eq!(delivery.receipt().number, number);
    delivery.acknowledge().await.unwrap();
    let later = broker.publish(&host, "orders.paid", "x").await.unwrap();
    assert!(later > number);
}

pub(super) async fn a_topic_without_subscribers_is_no_error(broker: Broker, host: Host) {
    broker.publish(&host, "nobody.listens", "x").await.unwrap();
}

pub(super) async fn patterns_say_which_topics_come(broker: Broker, host: Host) {
    let patterns = ["a.b", "a.*", "*.b", "a.>", ">"];
    let mut subscriptions = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        let group = format!("group-{index}");
        subscriptions.push(
            broker
                .subscribe(&host, quick(pattern, &group))
                .await
                .unwrap(),
        );
    }
    let topics = ["a.b", "a.c", "c.b", "a.b.c", "a", "end.end"];
    for topic in topics {
        // Of one key, so that they come in order.
        let message = Message::new(&host, topic, topic).key("k");
        broker.publish_all(vec![message]).await.unwrap();
    }
    let expected = [
        vec!["a.b"],
        vec!["a.b", "a.c"],
        vec!["a.b", "c.b"],
        vec!["a.b", "a.c", "a.b.c"],
        topics.to_vec(),
    ];
    for (subscription, expected) in subscriptions.iter_mut().zip(expected) {
        for topic in expected {
            let delivery = next(&host, subscription).await;
            assert_eq!(text(&delivery), topic);
            delivery.acknowledge().await.unwrap();
        }
        silent(&host, subscription, SOON).await;
    }
}

pub(super) async fn a_message_that_is_not_acknowledged_comes_again(broker: Broker, host: Host) {
    let mut all = broker.subscribe(&host, quick("t", "g")).await.unwrap();
    broker.publish(&host, "t", "x").await.unwrap();
    let asked = host.clock.now();
    let first = next(&host, &mut all).await;
    let id = first.message().id.clone();
    let second = next(&host, &mut all).await;
    let waited = host.clock.now().since(asked);
    assert!(waited >= VISIBLE, "{waited:?}");
    assert_eq!((second.attempt(), &second.message().id), (2, &id));
    second.acknowledge().await.unwrap();
    silent(&host, &mut all, VISIBLE * 2).await;
}

pub(super) async fn a_message_that_failed_comes_again_after_its_delay(broker: Broker, host: Host) {
    let mut all = broker.subscribe(&host, quick("t", "g")).await.unwrap();
    broker.publish(&host, "t", "x").await.unwrap();
    let first = next(&host, &mut all).await;
    first.fail("no", Duration::ZERO).await.unwrap();
    let second = next(&host, &mut all).await;
    assert_eq!(second.attempt(), 2);
    let failed = host.clock.now();
    second.fail("not yet", VISIBLE / 2).await.unwrap();
    let third = next(&host, &mut all).await;
    assert_eq!(third.attempt(), 3);
    assert!(host.clock.now().since(failed) >= VISIBLE / 2);
    third.acknowledge().await.unwrap();
}

pub(super) async fn a_message_that_is_given_back_comes_again_and_counts_for_nothing(
    broker: Broker,
    host: Host,
) {
    let mut all = broker.subscribe(&host, quick("t", "g")).await.unwrap();
    for body in ["x", "y"] {
        let message = Message::new(&host, "t", body).key("k");
        broker.publish_all(vec![message]).await.unwrap();
    }
    // More often than a message may be tried.
    for _ in 0..5 {
        let delivery = next(&host, &mut all).await;
        assert_eq!((&*text(&delivery), delivery.attempt()), ("x", 1));
        delivery.give_back(Duration::ZERO).await.unwrap();
    }
    let given_back = host.clock.now();
    let delivery = next(&host, &mut all).await;
    delivery.give_back(VISIBLE / 2).await.unwrap();
    let delivery = next(&host, &mut all).await;
    assert_eq!((&*text(&delivery), delivery.attempt()), ("x", 1));
    assert!(host.clock.now().since(given_back) >= VISIBLE / 2);
    // What fails counts, also after what did not.
    delivery.fail("no", Duration::ZERO).await.unwrap();
    let delivery = next(&host, &mut all).await;
    assert_eq!((&*text(&delivery), delivery.attempt()), ("x", 2));
    delivery.acknowledge().await.unwrap();
    let delivery = next(&host, &mut all).await;
    assert_eq!((&*text(&delivery), delivery.attempt()), ("y", 1));
    delivery.acknowledge().await.unwrap();
    assert_eq!(all.dead(), 0);
}

pub(super) async fn a_message_that_fails_too_often_is_a_dead_letter_with_the_reason(
    broker: Broker,
    host: Host,
) {
    let terms = Consumer {
        dead_letter: Some("dead.work".to_owned()),
        ..quick("work", "workers")
    };
    let mut work = broker.subscribe(&host, terms).await.unwrap();
    let mut dead = broker
        .subscribe(&host, quick("dead.*", "undertakers"))
        .await
        .unwrap();
    broker.publish(&host, "work", "bad").await.unwrap();
    for attempt in 1..=3 {
        let delivery = next(&host, &mut work).await;
        assert_eq!(delivery.attempt(), attempt);
        delivery
            .fail("cannot read it", Duration::ZERO)
            .await
            .unwrap();
    }
    let letter = next(&host, &mut dead).await;
    assert_eq!(text(&letter), "bad");
    let header = |name: &str| letter.message().headers[name].clone();
    assert_eq!(header(DEAD_REASON), "cannot read it");
    assert_eq!(header(DEAD_TOPIC), "work");
    assert_eq!(header(DEAD_GROUP), "workers");
    letter.acknowledge().await.unwrap();

    // Silence kills as well.
    broker.publish(&host, "work", "ignored").await.unwrap();
    for _ in 1..=3 {
        drop(next(&host, &mut work).await);
    }
    silent(&host, &mut work, VISIBLE * 2).await;
    let letter = next(&host, &mut dead).await;
    assert_eq!(text(&letter), "ignored");
    let reason = &letter.message().headers[DEAD_REASON];
    assert!(
        reason.contains("not acknowledged within 200 ms"),
        "{reason}"
    );
    letter.acknowledge().await.unwrap();
    broker.publish(&host, "work", "good").await.unwrap();
    next(&host, &mut work).await.acknowledge().await.unwrap();
    assert_eq!((work.dead(), work.dropped()), (2, 0));
}

pub(super) async fn acknowledging_twice_late_or_for_nothing_is_an_error_each(
    broker: Broker,
    host: Host,
) {
    use nitro::broker::{Receipt, Request, Verdict};
    let mut all = broker.subscribe(&host, quick("t", "g")).await.unwrap();
    broker.publish(&host, "t", "x").await.unwrap();
    let settle = async |receipt, subscription: &str| {
        let request = Request::Settle {
            subscription: subscription.to_owned(),
            receipt,
            verdict: Verdict::Done,
        };
        broker.ask(request).await.map_err(|error| error.kind())
    };
    let late = next(&host, &mut all).await;
    let again = next(&host, &mut all).await;
    let (old, receipt) = (late.receipt(), again.receipt());
    assert_ne!(old, receipt);
    let late = late.acknowledge().await.unwrap_err();
    assert_eq!(late.kind(), Kind::FailedPrecondition, "{late}");
    again.acknowledge().await.unwrap();
    assert_eq!(settle(receipt, "g").await, Err(Kind::NotFound));
    assert_eq!(settle(old, "g").await, Err(Kind::NotFound));
    let never = Receipt {
        number: 999,
        claim: 1,
    };
    assert_eq!(settle(never, "g").await, Err(Kind::NotFound));
    assert_eq!(settle(receipt, "nobody").await, Err(Kind::NotFound));
    // What has expired and is nobody's is late as well.
    broker.publish(&host, "t", "y").await.unwrap();
    let late = next(&host, &mut all).await;
    host.clock.sleep(VISIBLE + SOON).await;
    let late = late.acknowledge().await.unwrap_err();
    assert_eq!(late.kind(), Kind::FailedPrecondition, "{late}");
}

pub(super) async fn a_message_published_twice_comes_once(broker: Broker, host: Host) {
    let mut all = broker.subscribe(&host, quick("t", "g")).await.unwrap();
    let message = Message::new(&host, "t", "x");
    broker.publish_all(vec![message.clone()]).await.unwrap();
    let other = Message::new(&host, "t", "y");
    // After an error that leaves it open, all of it is published again.
    broker
        .publish_all(vec![message.clone(), other])
        .await
        .unwrap();
    broker.publish_all(vec![message]).await.unwrap();
    for expected in ["x", "y"] {
        let delivery = next(&host, &mut all).await;
        assert_eq!(text(&delivery), expected);
        delivery.acknowledge().await.unwrap();
    }
    silent(&host, &mut all, SOON).await;
}

pub(super) async fn messages_of_one_key_come_one_after_another(broker: Broker, host: Host) {
    let patient = Consumer {
        visibility_ms: 5_000,
        ..quick("t", "g")
    };
    let mut one = broker.subscribe(&host, patient.clone()).await.unwrap();
    let mut other = broker.subscribe(&host, patient).await.unwrap();
    for n in 1..=3 {
        let a = Message::new(&host, "t", format!("a{n}")).key("a");
        broker.publish_all(vec![a]).await.unwrap();
    }
    let b = Message::new(&host, "t", "b1").key("b");
    broker.publish_all(vec![b]).await.unwrap();
    let first = next(&host, &mut one).await;
    assert_eq!(text(&first), "a1");
    // While the first of a key is out, only other keys come.
    let b1 = {
        let (one, other) = (pin!(next(&host, &mut one)), pin!(next(&host, &mut other)));
        select(one, other).await.factor_first().0
    };
    assert_eq!(text(&b1), "b1");
    b1.acknowledge().await.unwrap();
    silent(&host, &mut other, SOON).await;
    first.fail("again", Duration::ZERO).await.unwrap();
    for expected in ["a1", "a2", "a3"] {
        let delivery = next(&host, &mut other).await;
        assert_eq!(text(&delivery), expected);
        delivery.acknowledge().await.unwrap();
    }
}

pub(super) async fn a_handler_that_fails_or_panics_does_not_end_the_others(
    broker: Broker,
    host: Host,
) {
    let terms = Consumer {
        dead_letter: Some("dead".to_owned()),
        visibility_ms: 5_000,
        ..quick("t", "g")
    };
    let work = broker.subscribe(&host, terms).await.unwrap();
    let mut dead = broker.subscribe(&host, quick("dead", "d")).await.unwrap();
    for body in ["good", "fails", "panics", "good too"] {
        broker.publish(&host, "t", body.to_owned()).await.unwrap();
    }
    let handled = Arc::new(Mutex::new(Vec::new()));
    let handling = Arc::clone(&handled);
    let running = work.run(move |message: &Message| {
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        let handling = Arc::clone(&handling);
        async move {
            match &*body {
                "fails" => Err(Error::unavailable("no database")),
                "panics" => panic!("planned panic"),
                _ => {
                    handling.lock().unwrap().push(body);
                    Ok(())
                }
            }
        }
    });
    let burying = async {
        let mut reasons = Vec::new();
        for _ in 0..2 {
            let letter = next(&host, &mut dead).await;
            reasons.push(letter.message().headers[DEAD_REASON].clone());
            letter.acknowledge().await.unwrap();
        }
        reasons.sort();
        reasons
    };
    let mut running = std::pin::pin!(running);
    let reasons = tokio::select! {
        biased;
        () = &mut running => unreachable!("it runs until it is dropped"),
        reasons = burying => reasons,
    };
    assert_eq!(*handled.lock().unwrap(), ["good", "good too"]);
    assert!(reasons[0].contains("planned panic"), "{reasons:?}");
    assert!(reasons[1].contains("no database"), "{reasons:?}");
}
