//! Who subscribes, as the registry tells: a node for each member of each subscription, with its
//! terms as labels.
//!
//! | label | |
//! |---|---|
//! | `subscription` | the name: a group's, or an id that begins with `~` |
//! | `pattern` | the topics |
//! | `path` | where to post, `/deliver` unless it says so |
//! | `group` | `false` for one who receives alone |
//! | `visibility-ms`, `attempts-max`, `backlog-max` | numbers, as of [`Consumer`] |
//! | `dead-letter` | a topic |
//! | `slow` | `block`, `drop-oldest` or `refuse` |
//! | `start` | a number to start from |
//!
//! Only the first two are required: any server that takes POSTs can be a member.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::Address;
use crate::broker::{Consumer, Request, Slow, Start};
use crate::error::{Error, Result};
use crate::registry::Node;

/// Where events are posted to, unless a member says otherwise.
pub(super) const PATH: &str = "/deliver";

/// One who receives for a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// The id of its registration.
    pub(super) id: Arc<str>,
    pub(super) address: Address,
    pub(super) path: Arc<str>,
}

/// A subscription, and who receives for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) consumer: Consumer,
    pub(super) members: Vec<Member>,
}

/// The labels of a member.
pub(super) fn labels(subscription: &str, consumer: &Consumer) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(labels.insert(name.to_owned(), value));
    set("subscription", subscription.to_owned());
    set("pattern", consumer.pattern.clone());
    set("group", consumer.group.is_some().to_string());
    set("visibility-ms", consumer.visibility_ms.to_string());
    set("attempts-max", consumer.attempts_max.to_string());
    set("backlog-max", consumer.backlog_max.to_string());
    if let Some(topic) = &consumer.dead_letter {
        set("dead-letter", topic.clone());
    }
    let slow = match consumer.slow {
        Slow::Block => "block",
        Slow::DropOldest => "drop-oldest",
        Slow::Refuse => "refuse",
    };
    set("slow", slow.to_owned());
    if let Start::From(number) = consumer.start {
        set("start", number.to_string());
    }
    labels
}

/// The subscriptions among nodes. The terms of a group are those of its first member by id; one
/// that cannot be read is passed over, and a log line says why.
pub(super) fn listed(nodes: &[Node]) -> BTreeMap<String, Listed> {
    let mut all: BTreeMap<String, Listed> = BTreeMap::new();
    for node in nodes {
        let Some(subscription) = node.labels.get("subscription") else {
            continue;
        };
        let consumer = match read(subscription, &node.labels) {
            Ok(consumer) => consumer,
            Err(error) => {
                tracing::warn!(node = node.id, %error, "a subscriber cannot be understood");
                continue;
            }
        };
        let path = node.labels.get("path").map_or(PATH, String::as_str);
        let member = Member {
            id: node.id.as_str().into(),
            address: node.address.clone(),
            path: path.into(),
        };
        let listed = all.entry(subscription.clone()).or_insert_with(|| Listed {
            consumer,
            members: Vec::new(),
        });
        listed.members.push(member);
    }
    all
}

fn read(subscription: &str, labels: &BTreeMap<String, String>) -> Result<Consumer> {
    let pattern = labels.get("pattern").cloned().unwrap_or_default();
    let is_group = labels.get("group").is_none_or(|group| group != "false");
    let default = match is_group {
        true => Consumer::group(pattern, subscription),
        false => Consumer::alone(pattern),
    };
    let slow = match labels.get("slow").map(String::as_str) {
        None => default.slow,
        Some("block") => Slow::Block,
        Some("drop-oldest") => Slow::DropOldest,
        Some("refuse") => Slow::Refuse,
        Some(other) => return Err(Error::invalid_argument(format!("broker: slow {other:?}"))),
    };
    let start = match labels.contains_key("start") {
        true => Start::From(number(labels, "start", 0)?),
        false => Start::New,
    };
    let consumer = Consumer {
        start,
        visibility_ms: number(labels, "visibility-ms", default.visibility_ms)?,
        attempts_max: number(labels, "attempts-max", default.attempts_max)?,
        dead_letter: labels.get("dead-letter").cloned(),
        backlog_max: number(labels, "backlog-max", default.backlog_max)?,
        slow,
        ..default
    };
    let request = Request::Subscribe {
        subscription: subscription.to_owned(),
        consumer: consumer.clone(),
    };
    request.check().map(|()| consumer)
}

fn number<T: std::str::FromStr>(
    labels: &BTreeMap<String, String>,
    name: &str,
    default: T,
) -> Result<T> {
    let Some(text) = labels.get(name) else {
        return Ok(default);
    };
    text.parse()
        .map_err(|_| Error::invalid_argument(format!("broker: {name} {text:?}: a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_as_they_were_announced() {
        let alone = Consumer {
            start: Start::From(7),
            visibility_ms: 5,
            attempts_max: 9,
            dead_letter: Some("dead".to_owned()),
            backlog_max: 3,
            slow: Slow::Refuse,
            ..Consumer::alone("a.*")
        };
        let group = Consumer::group("a.>", "g 1");
        for (name, consumer) in [("~1", alone), ("g 1", group)] {
            let mut node = Node::new("events", "id", Address::tcp("a", 1));
            node.labels = labels(name, &consumer);
            let all = listed(&[node]);
            assert_eq!(all[name].consumer, consumer);
        }
    }

    #[test]
    fn a_member_needs_a_name_and_a_pattern_and_one_that_is_wrong_is_passed_over() {
        let node = |id: &str, labels: &[(&str, &str)]| {
            let mut node = Node::new("events", id, Address::tcp("a", 1));
            let labels = labels.iter();
            node.labels = labels
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            node
        };
        let named = ("subscription", "g");
        let all = listed(&[
            node("broker", &[]),
            node("no pattern", &[named]),
            node("slow", &[named, ("pattern", "t"), ("slow", "often")]),
            node("number", &[named, ("pattern", "t"), ("attempts-max", "-1")]),
            node("good", &[named, ("pattern", "t"), ("path", "/hook")]),
            node("other", &[named, ("pattern", "u")]),
        ]);
        let Listed { consumer, members } = &all["g"];
        assert_eq!(*consumer, Consumer::group("t", "g"));
        let ids: Vec<&str> = members.iter().map(|member| &*member.id).collect();
        assert_eq!(ids, ["good", "other"]);
        assert_eq!((&*members[0].path, &*members[1].path), ("/hook", PATH));
    }
}
