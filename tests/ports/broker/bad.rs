//! What no broker takes.

use nitro::Kind;
use nitro::broker::{BATCH_MAX, BODY_BYTES_MAX, Broker, Consumer, Message, Request};
use nitro::host::Host;

pub(super) async fn what_cannot_be_published_or_received_is_refused_with_what_is_right(
    broker: Broker,
    host: Host,
) {
    let long = "x".repeat(64 * 1024);
    let topic = |topic: &str| vec![Message::new(&host, topic, "x")];
    let with = |change: fn(&mut Message)| {
        let mut message = Message::new(&host, "t", "x");
        change(&mut message);
        vec![message]
    };
    let many = (0..=BATCH_MAX).map(|_| Message::new(&host, "t", "x"));
    let large = (0..3).map(|_| Message::new(&host, "t", vec![0; BODY_BYTES_MAX]));
    let wrong = [
        (vec![], "messages 0: expected 1 to 64"),
        (many.collect(), "messages 65"),
        (large.collect(), "1572864 bytes: at most 1048576"),
        (topic(""), "a topic of 0 bytes"),
        (topic(&long), "a topic of 65536 bytes: expected 1 to 255"),
        (
            topic("a..b"),
            "\"a..b\": expected words with one dot between",
        ),
        (topic(".a"), "expected words"),
        (topic("a b"), "expected words"),
        (topic("a.*"), "has a wildcard"),
        (topic(">"), "has a wildcard"),
        (with(|m| m.id.clear()), "a id of 0 bytes"),
        (with(|m| m.key = Some(String::new())), "a key of 0 bytes"),
        (
            with(|m| m.body = vec![0; BODY_BYTES_MAX + 1].into()),
            "a body of 524289 bytes: at most 524288",
        ),
        (
            with(|m| drop(m.headers.insert("h".to_owned(), "x".repeat(5_000)))),
            "headers of 5001 bytes",
        ),
    ];
    for (messages, expected) in wrong {
        let error = broker.publish_all(messages).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}: {expected}");
    }
    let terms = |change: fn(&mut Consumer)| {
        let mut consumer = Consumer::group("t", "g");
        change(&mut consumer);
        consumer
    };
    let wrong = [
        (
            terms(|c| c.pattern = "a.>.b".to_owned()),
            "'>' stands at the end",
        ),
        (
            terms(|c| c.group = Some("~x".to_owned())),
            "begins with '~'",
        ),
        (terms(|c| c.group = Some(String::new())), "0 bytes"),
        (
            terms(|c| c.visibility_ms = 0),
            "visibility 0: expected 1 to 3600000",
        ),
        (
            terms(|c| c.attempts_max = 0),
            "attempts 0: expected 1 to 1000",
        ),
        (
            terms(|c| c.backlog_max = 0),
            "backlog 0: expected 1 to 100000",
        ),
        (
            terms(|c| c.dead_letter = Some("t".to_owned())),
            "would be received again",
        ),
    ];
    for (consumer, expected) in wrong {
        let error = broker.subscribe(&host, consumer).await.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        assert!(error.message().contains(expected), "{error}: {expected}");
    }
    let pull = |limit| Request::Pull {
        subscription: "nobody".to_owned(),
        limit,
        wait_ms: 0,
    };
    let error = broker.ask(pull(0)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument);
    let error = broker.ask(pull(1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.message().contains("subscribe again"), "{error}");
}
