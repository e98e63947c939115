//! A message as an HTTP request: an event of CloudEvents 1.0 in binary mode, so that whoever
//! speaks HTTP reads and writes it. The body is the message's, as it is.
//!
//! | header | |
//! |---|---|
//! | `ce-specversion` | `1.0` |
//! | `ce-id` | the message's id, the same at every attempt |
//! | `ce-type` | the topic |
//! | `ce-source` | who says so |
//! | `ce-partitionkey` | the key, if there is one |
//! | `content-type` | what the body is |
//! | `nitro-headers` | the message's headers, as a form: `name=value&name=value` |
//! | `nitro-subscription` | whom it is for |
//! | `nitro-number`, `nitro-attempt` | its number at its publisher, how often it was delivered |
//! | `nitro-dropped`, `nitro-dead` | what the subscription has lost at its publisher in all |
//!
//! Values are escaped as CloudEvents asks for: `%` and two digits for each byte that is no
//! printable ASCII, and for the space, `"` and `%`.

use std::collections::BTreeMap;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::broker::{Message, Request};
use crate::error::{Error, Result};

const VERSION: &str = "1.0";

/// The names of headers.
pub(super) mod names {
    pub(in crate::http) const SUBSCRIPTION: &str = "nitro-subscription";
    pub(in crate::http) const MEMBER: &str = "nitro-member";
    pub(in crate::http) const REASON: &str = "nitro-reason";
    pub(in crate::http) const RETRY_MS: &str = "nitro-retry-ms";
    pub(super) const SPECVERSION: &str = "ce-specversion";
    pub(super) const ID: &str = "ce-id";
    pub(super) const TYPE: &str = "ce-type";
    pub(super) const SOURCE: &str = "ce-source";
    pub(super) const KEY: &str = "ce-partitionkey";
    pub(super) const HEADERS: &str = "nitro-headers";
    pub(super) const KIND: &str = "nitro-content-type";
    pub(super) const NUMBER: &str = "nitro-number";
    pub(super) const ATTEMPT: &str = "nitro-attempt";
    pub(super) const DROPPED: &str = "nitro-dropped";
    pub(super) const DEAD: &str = "nitro-dead";
}

/// What a subscriber is told beside the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    pub(super) subscription: String,
    /// The node that has it in its outbox.
    pub(super) source: String,
    pub(super) number: u64,
    pub(super) attempt: u32,
    pub(super) dropped: u64,
    pub(super) dead: u64,
}

/// The headers of a delivery.
pub(super) fn head(message: &Message, about: &About) -> HeaderMap {
    let mut head = HeaderMap::new();
    set(&mut head, names::SPECVERSION, VERSION);
    set(&mut head, names::ID, &message.id);
    set(&mut head, names::TYPE, &message.topic);
    set(&mut head, names::SOURCE, &about.source);
    if let Some(key) = &message.key {
        set(&mut head, names::KEY, key);
    }
    // One that is no header as it stands is told beside, so that it arrives as it was.
    let plain = escape(&message.content_type, "") == message.content_type.replace(' ', "%20");
    match HeaderValue::from_str(&message.content_type) {
        Ok(value) if plain && message.content_type.trim() == message.content_type => {
            head.insert(CONTENT_TYPE, value);
        }
        _ => set(&mut head, names::KIND, &message.content_type),
    }
    if is_structured(&head) {
        head.remove(CONTENT_TYPE);
        set(&mut head, names::KIND, &message.content_type);
    }
    if !message.headers.is_empty() {
        let pair = |(name, value): (&String, &String)| {
            format!("{}={}", escape(name, "&="), escape(value, "&="))
        };
        let pairs: Vec<String> = message.headers.iter().map(pair).collect();
        insert(&mut head, names::HEADERS, &pairs.join("&"));
    }
    set(&mut head, names::SUBSCRIPTION, &about.subscription);
    for (name, number) in [
        (names::NUMBER, about.number),
        (names::ATTEMPT, about.attempt.into()),
        (names::DROPPED, about.dropped),
        (names::DEAD, about.dead),
    ] {
        insert(&mut head, name, &number.to_string());
    }
    head
}

/// Whether it is an event, or several, with all about them in the body: the structured and the
/// batched mode of CloudEvents, which to read as something else would be wrong.
pub(super) fn is_structured(head: &HeaderMap) -> bool {
    let kind = head.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let structured = b"application/cloudevents";
    kind.and_then(|kind| kind.get(..structured.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(structured))
}

/// Reads the headers of a delivery; the body is for the caller to put in.
///
/// # Errors
///
/// [`InvalidArgument`](crate::Kind::InvalidArgument), naming the header.
pub(super) fn read(head: &HeaderMap) -> Result<(Message, About)> {
    let message = Message {
        id: required(head, names::ID)?,
        topic: required(head, names::TYPE)?,
        ..rest(head, "")?
    };
    check(&message)?;
    let about = About {
        subscription: required(head, names::SUBSCRIPTION)?,
        source: text(head, names::SOURCE)?.unwrap_or_default(),
        number: number(head, names::NUMBER, 0)?,
        attempt: u32::try_from(number(head, names::ATTEMPT, 1)?).unwrap_or(u32::MAX),
        dropped: number(head, names::DROPPED, 0)?,
        dead: number(head, names::DEAD, 0)?,
    };
    Ok((message, about))
}

/// Reads the headers of what somebody wants to publish. The topic may stand in the path, and an
/// id may be missing: then it is a new message each time. An id is unique for its source.
///
/// # Errors
///
/// As [`read`].
pub(super) fn read_published(
    head: &HeaderMap,
    topic: Option<&str>,
    fresh_id: impl FnOnce() -> String,
) -> Result<Message> {
    let named = text(head, names::TYPE)?;
    let topic = match (topic, named) {
        (Some(path), Some(named)) if path != named => {
            return Err(wrong(format!(
                "the path names the topic {path:?} and ce-type {named:?}"
            )));
        }
        (Some(path), _) => path.to_owned(),
        (None, Some(named)) => named,
        (None, None) => {
            let message = "no topic: POST to /publish/<topic>, or set the header ce-type";
            return Err(wrong(message.to_owned()));
        }
    };
    let id = match (text(head, names::SOURCE)?, text(head, names::ID)?) {
        (Some(source), Some(id)) => format!("{source}#{id}"),
        (None, Some(id)) => id,
        (_, None) => fresh_id(),
    };
    let message = Message {
        id,
        topic,
        ..rest(head, "application/octet-stream")?
    };
    check(&message)?;
    Ok(message)
}

/// A topic as it stands in a path.
///
/// # Errors
///
/// [`InvalidArgument`](crate::Kind::InvalidArgument) for one that is not escaped as it should be.
pub(super) fn topic_of_path(path: &str) -> Result<String> {
    unescape(path).ok_or_else(|| wrong(format!("the path {path:?}: expected %xx after each %")))
}

/// What both kinds of request have beside id and topic.
fn rest(head: &HeaderMap, content_type: &str) -> Result<Message> {
    if let Some(version) = text(head, names::SPECVERSION)?
        && version != VERSION
    {
        return Err(wrong(format!(
            "ce-specversion {version:?}: expected {VERSION:?}"
        )));
    }
    let plain = match head.get(CONTENT_TYPE) {
        Some(value) => value
            .to_str()
            .map_err(|_| wrong("content-type is not ASCII".to_owned()))?,
        None => content_type,
    };
    let told = text(head, names::KIND)?;
    Ok(Message {
        id: String::new(),
        topic: String::new(),
        key: text(head, names::KEY)?,
        content_type: told.unwrap_or_else(|| plain.to_owned()),
        headers: pairs(head)?,
        body: Default::default(),
    })
}

fn pairs(head: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let Some(form) = ascii(head, names::HEADERS)? else {
        return Ok(pairs);
    };
    for pair in form.split('&') {
        let read = pair
            .split_once('=')
            .and_then(|(name, value)| Some((unescape(name)?, unescape(value)?)));
        let Some((name, value)) = read else {
            let message = format!("{}: {pair:?}: expected name=value", names::HEADERS);
            return Err(wrong(message));
        };
        pairs.insert(name, value);
    }
    Ok(pairs)
}

fn check(message: &Message) -> Result<()> {
    let request = Request::Publish {
        messages: vec![message.clone()],
        wait_ms: 0,
    };
    request.check()
}

fn insert(head: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("escaped text is printable ASCII");
    head.insert(HeaderName::from_static(name), value);
}

/// Sets a header to any text.
pub(super) fn set(head: &mut HeaderMap, name: &'static str, text: &str) {
    insert(head, name, &escape(text, ""));
}

/// The text of a header, if there is one.
///
/// # Errors
///
/// [`InvalidArgument`](crate::Kind::InvalidArgument) for one that is not escaped as it should be.
pub(super) fn text(head: &HeaderMap, name: &str) -> Result<Option<String>> {
    let Some(value) = ascii(head, name)? else {
        return Ok(None);
    };
    match unescape(value) {
        Some(text) => Ok(Some(text)),
        None => Err(wrong(format!(
            "{name}: {value:?}: expected text with %xx for what is no printable ASCII"
        ))),
    }
}

fn ascii<'a>(head: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let value = head.get(name).map(HeaderValue::to_str).transpose();
    value.map_err(|_| wrong(format!("{name} is not ASCII")))
}

pub(super) fn required(head: &HeaderMap, name: &str) -> Result<String> {
    text(head, name)?.ok_or_else(|| wrong(format!("the header {name} is missing")))
}

fn number(head: &HeaderMap, name: &str, default: u64) -> Result<u64> {
    let Some(value) = ascii(head, name)? else {
        return Ok(default);
    };
    let number = value.parse();
    number.map_err(|_| wrong(format!("{name}: {value:?}: expected a number")))
}

fn wrong(what: String) -> Error {
    Error::invalid_argument(format!("broker: {what}"))
}

/// Escapes what is no printable ASCII, and some signs more.
fn escape(text: &str, also: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let sign = char::from(byte);
        match byte {
            0x21..=0x7e if !"\"%".contains(sign) && !also.contains(sign) => escaped.push(sign),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // A sign would be taken for a part of the number.
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
