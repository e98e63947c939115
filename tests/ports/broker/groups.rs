//! What every broker promises of groups: who gets what, and what happens when they are slow.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::{join, select};
use nitro::Kind;
use nitro::broker::{Broker, Consumer, Message, PRIVATE_TTL, Slow, Start, Subscription};
use nitro::host::Host;

use super::cases::{SOON, next, quick, silent, text};

fn relaxed(pattern: &str, group: &str) -> Consumer {
    Consumer {
        visibility_ms: 60_000,
        ..quick(pattern, group)
    }
}

pub(super) async fn each_group_gets_all_and_each_member_its_share(broker: Broker, host: Host) {
    let mut mails = [
        broker
            .subscribe(&host, relaxed("t", "mails"))
            .await
            .unwrap(),
        broker
            .subscribe(&host, relaxed("t", "mails"))
            .await
            .unwrap(),
    ];
    let mut audit = broker
        .subscribe(&host, relaxed("t", "audit"))
        .await
        .unwrap();
    for n in 0..40 {
        broker.publish(&host, "t", n.to_string()).await.unwrap();
    }
    // Both receive all the while: what is on its way to one that stops asking comes to nobody
    // until its time is over.
    let had = Mutex::new((Vec::new(), [0, 0]));
    let receive = async |member: usize, mails: &mut Subscription| loop {
        let delivery = next(&host, mails).await;
        let number = text(&delivery).parse::<u32>().unwrap();
        delivery.acknowledge().await.unwrap();
        {
            let (got, shares) = &mut *had.lock().unwrap();
            got.push(number);
            shares[member] += 1;
            if got.len() == 40 {
                return;
            }
        }
        tokio::task::yield_now().await;
    };
    {
        let [one, other] = &mut mails;
        let (one, other) = (pin!(receive(0, one)), pin!(receive(1, other)));
        select(one, other).await;
    }
    for member in &mut mails {
        silent(&host, member, SOON).await;
    }
    let (mut got, shares) = had.into_inner().unwrap();
    got.sort();
    let all: Vec<u32> = (0..40).collect();
    assert_eq!(got, all);
    assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    let mut got = Vec::new();
    for _ in 0..40 {
        let delivery = next(&host, &mut audit).await;
        got.push(text(&delivery).parse::<u32>().unwrap());
        delivery.acknowledge().await.unwrap();
    }
    // Without keys they come as they come.
    got.sort();
    assert_eq!(got, all);
}

pub(super) async fn who_receives_alone_gets_all(broker: Broker, host: Host) {
    let mut alone = [
        broker.subscribe(&host, Consumer::alone("t")).await.unwrap(),
        broker.subscribe(&host, Consumer::alone("t")).await.unwrap(),
    ];
    broker.publish(&host, "t", "x").await.unwrap();
    for one in &mut alone {
        next(&host, one).await.acknowledge().await.unwrap();
    }
    let [one, mut other] = alone;
    one.unsubscribe().await.unwrap();
    broker.publish(&host, "t", "y").await.unwrap();
    assert_eq!(text(&next(&host, &mut other).await), "y");
}

pub(super) async fn who_receives_alone_stays(broker: Broker, host: Host) {
    let mut alone = broker.subscribe(&host, Consumer::alone("t")).await.unwrap();
    broker.publish(&host, "t", "early").await.unwrap();
    let early = next(&host, &mut alone).await;
    early.give_back(PRIVATE_TTL * 3).await.unwrap();
    // It asks all the while, and nothing comes.
    silent(&host, &mut alone, PRIVATE_TTL * 2).await;
    broker.publish(&host, "t", "late").await.unwrap();
    for expected in ["late", "early"] {
        let next = host.clock.timeout(PRIVATE_TTL * 2, alone.next()).await;
        let delivery = next.expect("a message comes").unwrap();
        assert_eq!(text(&delivery), expected);
        delivery.acknowledge().await.unwrap();
    }
    // Who asks no more is forgotten with what waits.
    broker.publish(&host, "t", "missed").await.unwrap();
    host.clock.sleep(PRIVATE_TTL + SOON).await;
    silent(&host, &mut alone, SOON).await;
}

pub(super) async fn a_group_keeps_what_comes_while_nobody_is_there(broker: Broker, host: Host) {
    drop(broker.subscribe(&host, relaxed("t", "g")).await.unwrap());
    broker.publish(&host, "t", "x").await.unwrap();
    let mut back = broker.subscribe(&host, relaxed("t", "g")).await.unwrap();
    next(&host, &mut back).await.acknowledge().await.unwrap();
    broker.publish(&host, "t", "y").await.unwrap();
    // Until it is unsubscribed: then it is as if it had never been.
    back.unsubscribe().await.unwrap();
    let mut anew = broker.subscribe(&host, relaxed("t", "g")).await.unwrap();
    silent(&host, &mut anew, SOON).await;
}

pub(super) async fn joining_a_group_on_other_terms_is_refused(broker: Broker, host: Host) {
    let terms = relaxed("t", "g");
    broker.subscribe(&host, terms.clone()).await.unwrap();
    let later = Consumer {
        start: Start::From(1),
        ..terms.clone()
    };
    broker.subscribe(&host, later).await.unwrap();
    let others = [
        Consumer {
            pattern: "u".to_owned(),
            ..terms.clone()
        },
        Consumer {
            attempts_max: 9,
            ..terms.clone()
        },
    ];
    for other in others {
        let error = broker.subscribe(&host, other).await.unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert!(error.message().contains("other terms"), "{error}");
    }
}

fn small(slow: Slow) -> Consumer {
    Consumer {
        backlog_max: 3,
        slow,
        ..relaxed("t", "small")
    }
}

pub(super) async fn a_full_group_that_refuses_gives_the_publisher_an_error(
    broker: Broker,
    host: Host,
) {
    let mut slow = broker.subscribe(&host, small(Slow::Refuse)).await.unwrap();
    let mut other = broker
        .subscribe(&host, relaxed("t", "other"))
        .await
        .unwrap();
    for n in 0..3 {
        broker.publish(&host, "t", n.to_string()).await.unwrap();
    }
    let error = broker.publish(&host, "t", "3").await.unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted);
    assert!(error.message().contains("\"small\""), "{error}");
    next(&host, &mut slow).await.acknowledge().await.unwrap();
    broker.publish(&host, "t", "4").await.unwrap();
    // What was refused came to nobody. Without a key, no order is promised.
    let mut came = Vec::new();
    for _ in 0..4 {
        let delivery = next(&host, &mut other).await;
        came.push(text(&delivery).to_owned());
        delivery.acknowledge().await.unwrap();
    }
    came.sort();
    assert_eq!(came, ["0", "1", "2", "4"]);
}

pub(super) async fn a_full_group_that_drops_loses_the_oldest_and_counts_them(
    broker: Broker,
    host: Host,
) {
    let mut slow = broker
        .subscribe(&host, small(Slow::DropOldest))
        .await
        .unwrap();
    for n in 0..10 {
        broker.publish(&host, "t", n.to_string()).await.unwrap();
    }
    for expected in ["7", "8", "9"] {
        let delivery = next(&host, &mut slow).await;
        assert_eq!(text(&delivery), expected);
        delivery.acknowledge().await.unwrap();
    }
    assert_eq!((slow.dropped(), slow.dead()), (7, 0));
}

/// As [`a_full_group_that_drops_loses_the_oldest_and_counts_them`], where some messages may be on
/// their way to a member that does not ask.
pub(super) async fn a_full_group_that_drops_keeps_the_latest_and_counts_what_it_loses(
    broker: Broker,
    host: Host,
) {
    let mut slow = broker
        .subscribe(&host, small(Slow::DropOldest))
        .await
        .unwrap();
    for n in 0..10 {
        broker.publish(&host, "t", n.to_string()).await.unwrap();
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        let delivery = next(&host, &mut slow).await;
        got.push(text(&delivery));
        delivery.acknowledge().await.unwrap();
    }
    assert!(got.contains(&"9".to_owned()), "{got:?}");
    silent(&host, &mut slow, SOON).await;
    assert_eq!((slow.dropped(), slow.dead()), (7, 0));
}

pub(super) async fn a_full_group_that_blocks_makes_the_publisher_wait(broker: Broker, host: Host) {
    use nitro::broker::Request;
    let mut slow = broker.subscribe(&host, small(Slow::Block)).await.unwrap();
    for n in 0..3 {
        broker.publish(&host, "t", n.to_string()).await.unwrap();
    }
    let request = Request::Publish {
        messages: vec![Message::new(&host, "t", "late")],
        wait_ms: SOON.as_millis() as u64,
    };
    let started = host.clock.now();
    let error = broker.ask(request).await.unwrap_err();
    assert_eq!(error.kind(), Kind::ResourceExhausted);
    assert!(host.clock.now().since(started) >= SOON);
    let publishing = async {
        broker.publish(&host, "t", "3").await.unwrap();
        host.clock.now()
    };
    let receiving = async {
        host.clock.sleep(SOON).await;
        let made_room = host.clock.now();
        next(&host, &mut slow).await.acknowledge().await.unwrap();
        made_room
    };
    let (published, made_room) = join(publishing, receiving).await;
    assert!(published >= made_room);
    assert_eq!(slow.dropped(), 0);
}

pub(super) async fn what_was_published_before_can_be_had_from_a_number_on(
    broker: Broker,
    host: Host,
) {
    let mut numbers = Vec::new();
    for n in 0..6 {
        // Of one key, so that they come in order.
        let message = Message::new(&host, ["t", "u"][n % 2], n.to_string()).key("k");
        numbers.push(broker.publish_all(vec![message]).await.unwrap());
    }
    let from = |number, group: &str| Consumer {
        start: Start::From(number),
        ..relaxed("t", group)
    };
    for (group, number, expected) in [
        ("all", 0, vec!["0", "2", "4"]),
        ("some", numbers[1], vec!["2", "4"]),
        ("same", numbers[2], vec!["2", "4"]),
        ("last", numbers[4], vec!["4"]),
        ("none", numbers[5] + 1, vec![]),
    ] {
        let mut replay = broker.subscribe(&host, from(number, group)).await.unwrap();
        for body in expected {
            let delivery = next(&host, &mut replay).await;
            assert_eq!(text(&delivery), body);
            delivery.acknowledge().await.unwrap();
        }
        silent(&host, &mut replay, SOON).await;
    }
    let mut new = broker.subscribe(&host, relaxed("t", "new")).await.unwrap();
    silent(&host, &mut new, SOON).await;
    broker.publish(&host, "t", "6").await.unwrap();
    assert_eq!(text(&next(&host, &mut new).await), "6");
}

pub(super) async fn nobody_loses_or_doubles_a_message_among_many(broker: Broker, host: Host) {
    const MESSAGES: usize = 60;
    let seen: Mutex<BTreeMap<String, u32>> = Mutex::default();
    let publish = async |publisher: usize| {
        for n in 0..MESSAGES / 2 {
            let key = format!("{publisher}/{}", n % 3);
            let body = format!("{publisher}/{n}");
            let message = Message::new(&host, "t", body).key(key);
            broker.publish_all(vec![message]).await.unwrap();
        }
    };
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(broker.subscribe(&host, relaxed("t", "g")).await.unwrap());
    }
    let receive = async |mut member: nitro::broker::Subscription| {
        while seen.lock().unwrap().len() < MESSAGES {
            let wait = Duration::from_millis(200);
            let Ok(delivery) = host.clock.timeout(wait, member.next()).await else {
                continue;
            };
            let delivery = delivery.unwrap();
            *seen.lock().unwrap().entry(text(&delivery)).or_default() += 1;
            delivery.acknowledge().await.unwrap();
        }
    };
    let receiving = futures_util::future::join_all(members.into_iter().map(receive));
    let publishing = join(publish(0), publish(1));
    let all = join(receiving, publishing);
    let all = host.clock.timeout(Duration::from_secs(120), all).await;
    all.expect("all comes");
    assert!(seen.lock().unwrap().values().all(|times| *times == 1));
}
