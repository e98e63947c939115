//! What goes into headers comes out of them, and what does not belong there is refused.

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn any_text(least: usize) -> impl Strategy<Value = String> {
    let sign = prop_oneof![3 => proptest::char::range(' ', '~'), 1 => any::<char>()];
    proptest::collection::vec(sign, least..20)
        .prop_map(|signs| signs.into_iter().filter(|sign| *sign != '\0').collect())
        .prop_filter("empty", move |text: &String| text.len() >= least)
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(
        id in any_text(1),
        key in proptest::option::of(any_text(1)),
        content_type in any_text(0),
        headers in proptest::collection::btree_map(any_text(0), any_text(0), 0..4),
        subscription in any_text(1),
        number in any::<u64>(),
    ) {
        let topic = "a.b".to_owned();
        let body = Default::default();
        let message = Message { id, topic, key, content_type, headers, body };
        let about = About {
            subscription,
            source: "node/1 ü".to_owned(),
            number,
            attempt: 3,
            dropped: 1,
            dead: 2,
        };
        prop_assert_eq!(read(&head(&message, &about)).unwrap(), (message, about));
    }
}

fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut head = HeaderMap::new();
    for (name, value) in pairs {
        head.insert(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    head
}

#[test]
fn what_is_wrong_with_a_request_is_said_by_the_name_of_the_header() {
    let good = [
        ("ce-id", "1"),
        ("ce-type", "t"),
        ("nitro-subscription", "g"),
    ];
    read(&with(&good)).unwrap();
    let wrong: [(&[(&'static str, &str)], &str); 9] = [
        (&[("ce-id", "")], "a id of 0 bytes"),
        (&[("ce-type", "a..b")], "words with one dot between"),
        (&[("ce-type", "a.*")], "has a wildcard"),
        (&[("ce-id", "50%")], "ce-id: \"50%\": expected text"),
        (&[("ce-id", "%+1")], "ce-id: \"%+1\": expected text"),
        (&[("ce-id", "%ff")], "ce-id: \"%ff\": expected text"),
        (&[("ce-specversion", "0.3")], "expected \"1.0\""),
        (
            &[("nitro-number", "-1")],
            "nitro-number: \"-1\": expected a number",
        ),
        (&[("nitro-headers", "a=1&b")], "\"b\": expected name=value"),
    ];
    for (change, expected) in wrong {
        let error = read(&with(&[&good[..], change].concat())).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    }
    for missing in 0..3 {
        let mut some = good.to_vec();
        let (name, _) = some.remove(missing);
        let error = read(&with(&some)).unwrap_err();
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn a_stranger_publishes_with_a_topic_alone_and_ids_are_its_sources() {
    let fresh = || "fresh".to_owned();
    let bare = read_published(&HeaderMap::new(), Some("t"), fresh).unwrap();
    assert_eq!((&*bare.id, &*bare.topic), ("fresh", "t"));
    assert_eq!(bare.content_type, "application/octet-stream");
    let event = with(&[("ce-id", "7"), ("ce-source", "/shop"), ("ce-type", "t")]);
    let message = read_published(&event, None, fresh).unwrap();
    assert_eq!((&*message.id, &*message.topic), ("/shop#7", "t"));
    let error = read_published(&event, Some("u"), fresh).unwrap_err();
    assert!(
        error.message().contains("\"u\" and ce-type \"t\""),
        "{error}"
    );
    let error = read_published(&HeaderMap::new(), None, fresh).unwrap_err();
    assert!(error.message().contains("/publish/<topic>"), "{error}");
}
