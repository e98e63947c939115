//! What a request to a broker must be like, the same for every backend; and which topics match.

use super::{
    BATCH_BYTES_MAX, BATCH_MAX, BODY_BYTES_MAX, Consumer, DEAD_GROUP, DEAD_REASON, DEAD_TOPIC,
    HEADERS_BYTES_MAX, Message, NAME_BYTES_MAX, Request, Verdict,
};
use crate::error::{Error, Result};

/// The longest time for an acknowledgement: an hour.
const VISIBILITY_MS_MAX: u64 = 60 * 60 * 1000;

/// The most attempts.
const ATTEMPTS_MAX: u32 = 1_000;

/// The most messages that wait in one group.
const BACKLOG_MAX: usize = 100_000;

/// Whether a topic is among those of a pattern.
pub fn matches(pattern: &str, topic: &str) -> bool {
    let mut words = topic.split('.');
    for part in pattern.split('.') {
        match (part, words.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (part, Some(word)) if part == word => {}
            (_, Some(_)) => return false,
        }
    }
    words.next().is_none()
}

impl Request {
    /// Checks it against the limits of the port; backends do so before anything else.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument), saying what is wrong and what is right.
    pub fn check(&self) -> Result<()> {
        match self {
            Request::Publish { messages, .. } => {
                check_count(messages.len())?;
                messages.iter().try_for_each(Message::check)?;
                let bytes: usize = messages.iter().map(|message| message.body.len()).sum();
                if bytes > BATCH_BYTES_MAX {
                    return Err(wrong(format!("{bytes} bytes: at most {BATCH_BYTES_MAX}")));
                }
                Ok(())
            }
            Request::Subscribe {
                subscription,
                consumer,
            } => {
                check_name("subscription", subscription)?;
                consumer.check()
            }
            Request::Pull {
                subscription,
                limit,
                ..
            } => {
                check_name("subscription", subscription)?;
                check_count(*limit)
            }
            Request::Settle {
                subscription,
                verdict,
                ..
            } => {
                match verdict {
                    Verdict::Done => {}
                    Verdict::Failed { reason, delay_ms } => {
                        check_length("reason", reason, 0)?;
                        check_range("delay", *delay_ms, 0, VISIBILITY_MS_MAX)?;
                    }
                    Verdict::Returned { delay_ms } => {
                        check_range("delay", *delay_ms, 0, VISIBILITY_MS_MAX)?;
                    }
                }
                check_name("subscription", subscription)
            }
            Request::Unsubscribe { subscription } => check_name("subscription", subscription),
        }
    }
}

impl Message {
    fn check(&self) -> Result<()> {
        check_name("id", &self.id)?;
        check_topic(&self.topic)?;
        if self.topic.split('.').any(|word| word == "*" || word == ">") {
            let topic = self.topic.escape_debug();
            let message = format!("the topic \"{topic}\" has a wildcard: only subscriptions do");
            return Err(wrong(message));
        }
        if let Some(key) = &self.key {
            check_name("key", key)?;
        }
        check_length("content type", &self.content_type, 0)?;
        let headers = self.headers.iter();
        let bytes: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        if bytes > HEADERS_BYTES_MAX {
            let message = format!("headers of {bytes} bytes: at most {HEADERS_BYTES_MAX}");
            return Err(wrong(message));
        }
        if self.body.len() > BODY_BYTES_MAX {
            let length = self.body.len();
            let message = format!("a body of {length} bytes: at most {BODY_BYTES_MAX}");
            return Err(wrong(message));
        }
        Ok(())
    }

    /// The letter that is sent when a message is dead.
    pub(crate) fn dead(&self, topic: &str, group: &str, reason: &str) -> Message {
        let mut letter = self.clone();
        let about = [
            (DEAD_REASON, reason),
            (DEAD_TOPIC, &self.topic),
            (DEAD_GROUP, group),
        ];
        for (name, value) in about {
            letter.headers.insert(name.to_owned(), value.to_owned());
        }
        letter.topic = topic.to_owned();
        letter
    }
}

impl Consumer {
    fn check(&self) -> Result<()> {
        check_topic(&self.pattern)?;
        let mut rest = self.pattern.split('.').skip_while(|word| *word != ">");
        if rest.next().is_some() && rest.next().is_some() {
            let pattern = self.pattern.escape_debug();
            let message = format!("the pattern \"{pattern}\": '>' stands at the end or nowhere");
            return Err(wrong(message));
        }
        if let Some(group) = &self.group {
            check_name("group", group)?;
            if group.starts_with('~') {
                return Err(wrong(
                    "a group whose name begins with '~': that is for no group",
                ));
            }
        }
        if let Some(topic) = &self.dead_letter {
            check_topic(topic)?;
            if matches(&self.pattern, topic) {
                let message = format!("dead letters to {topic:?} would be received again");
                return Err(wrong(message));
            }
        }
        check_range("visibility", self.visibility_ms, 1, VISIBILITY_MS_MAX)?;
        check_range("attempts", self.attempts_max.into(), 1, ATTEMPTS_MAX.into())?;
        check_range("backlog", self.backlog_max as u64, 1, BACKLOG_MAX as u64)
    }
}

fn check_count(count: usize) -> Result<()> {
    check_range("messages", count as u64, 1, BATCH_MAX as u64)
}

fn check_range(what: &str, found: u64, least: u64, most: u64) -> Result<()> {
    if !(least..=most).contains(&found) {
        let message = format!("{what} {found}: expected {least} to {most}");
        return Err(wrong(message));
    }
    Ok(())
}

fn check_topic(topic: &str) -> Result<()> {
    check_name("topic", topic)?;
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    let shown = topic.escape_debug();
    if topic.split('.').any(str::is_empty) || topic.contains(is_odd) {
        let message = format!("the topic \"{shown}\": expected words with one dot between");
        return Err(wrong(message));
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<()> {
    check_length(what, name, 1)?;
    if name.contains('\0') {
        let shown = name.escape_debug();
        return Err(wrong(format!("the {what} \"{shown}\" has a NUL")));
    }
    Ok(())
}

fn check_length(what: &str, text: &str, least: usize) -> Result<()> {
    let length = text.len();
    if !(least..=NAME_BYTES_MAX).contains(&length) {
        let expected = format!("expected {least} to {NAME_BYTES_MAX}");
        return Err(wrong(format!("a {what} of {length} bytes: {expected}")));
    }
    Ok(())
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("broker: {what}"))
}

/// The error of a subscription that nobody has made, or that has ended.
pub(crate) fn unknown_subscription(subscription: &str) -> Error {
    let name = subscription.escape_debug();
    Error::not_found(format!(
        "broker: no subscription \"{name}\": subscribe again"
    ))
}

/// The error of an acknowledgement that comes twice, or too late, or for nothing.
pub(crate) fn not_out(number: u64, is_there: bool) -> Error {
    match is_there {
        true => Error::failed_precondition(format!(
            "broker: message {number} is no longer this delivery's: it took too long"
        )),
        false => Error::not_found(format!(
            "broker: message {number} is not there: it is done with, dead or was never delivered"
        )),
    }
}

/// Why a message died that nobody acknowledged.
pub(crate) fn silence(consumer: &Consumer) -> String {
    let ms = consumer.visibility_ms;
    format!("not acknowledged within {ms} ms")
}

/// The error of a publisher when a group is full.
pub(crate) fn full(group: &str, consumer: &Consumer) -> Error {
    let most = consumer.backlog_max;
    Error::resource_exhausted(format!(
        "broker: {most} messages wait for the group {group:?}, the most it takes"
    ))
}

/// Whether a member may join a group that exists: on its terms only.
pub(crate) fn same_terms(group: &str, terms: &Consumer, asked: &Consumer) -> Result<()> {
    let start = terms.start;
    let asked = Consumer {
        start,
        ..asked.clone()
    };
    match *terms == asked {
        true => Ok(()),
        false => Err(Error::failed_precondition(format!(
            "broker: the group {group:?} exists on other terms: {terms:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_word_by_word() {
        let yes = [
            ("a", "a"),
            ("a.b", "a.b"),
            ("*", "a"),
            ("a.*", "a.b"),
            ("*.b", "a.b"),
            ("a.*.c", "a.b.c"),
            ("a.>", "a.b"),
            ("a.>", "a.b.c.d"),
            (">", "a.b"),
        ];
        let no = [
            ("a", "b"),
            ("a", "a.b"),
            ("a.b", "a"),
            ("*", "a.b"),
            ("a.*", "a"),
            ("a.*", "a.b.c"),
            ("a.>", "a"),
            ("a.>", "b.c"),
            ("a", "ab"),
            ("a.b", "a.bc"),
        ];
        for (pattern, topic) in yes {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in no {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
    }
}
