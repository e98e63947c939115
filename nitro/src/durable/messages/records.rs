//! Where each thing is in the store, and how a message is written there.
//!
//! | key | record |
//! |---|---|
//! | `group/<name>` | the group's terms; those of one who receives alone go when nobody pulls |
//! | `number` | the number of the last message |
//! | `kept/<number>` | a message, for a day |
//! | `id/<id>` | that it was published, for five minutes |
//! | `of/<length>/<name>/m/<number>` | a message that a group is not done with, with its attempts |
//! | `of/<length>/<name>/c/<number>` | that it is out or put off, for as long as that lasts |
//! | `of/<length>/<name>/n` | how many the group has lost and how many have died |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{Codec, ContentTypes, Json};
use crate::error::Result;
use crate::store::{Action, Record};

pub(super) const NUMBER: &str = "number";
pub(super) const GROUPS: &str = "group/";
pub(super) const KEPT: &str = "kept/";
pub(super) const ID: &str = "id/";
pub(super) const OF: &str = "of/";

/// The metadata of a message that a group is not done with.
pub(super) const ATTEMPTS: &str = "attempts";
pub(super) const REASON: &str = "reason";
/// The metadata of a claim that only puts a message off.
pub(super) const DELAY: &str = "delay";

pub(super) fn group(name: &str) -> String {
    format!("{GROUPS}{name}")
}

pub(super) fn kept(number: u64) -> String {
    format!("{KEPT}{number:020}")
}

pub(super) fn id(id: &str) -> String {
    format!("{ID}{id}")
}

/// What all keys of a group begin with; the length keeps names apart of which one begins another.
pub(super) fn of(name: &str) -> String {
    format!("{OF}{}/{name}/", name.len())
}

pub(super) fn messages(name: &str) -> String {
    format!("{}m/", of(name))
}

pub(super) fn claims(name: &str) -> String {
    format!("{}c/", of(name))
}

pub(super) fn message(name: &str, number: u64) -> String {
    format!("{}{number:020}", messages(name))
}

pub(super) fn claim(name: &str, number: u64) -> String {
    format!("{}{number:020}", claims(name))
}

pub(super) fn counts(name: &str) -> String {
    format!("{}n", of(name))
}

/// The number at the end of a key.
pub(super) fn number_of(record: &Record) -> u64 {
    let digits = record.key.rsplit('/').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// A number in a record's metadata; 0 if there is none.
pub(super) fn noted(record: &Record, name: &str) -> u64 {
    let text = record.metadata.get(name);
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn encode<T: Serialize + DeserializeOwned>(value: &T) -> Result<Bytes> {
    let mut bytes = bytes::BytesMut::new();
    Json.encode(Json.preferred(), value, &mut bytes)?;
    Ok(bytes.freeze())
}

pub(super) fn decode<T: Serialize + DeserializeOwned>(record: &Record) -> Result<T> {
    Json.decode(Json.preferred(), &record.value)
}

/// A record with a value, something noted, and a time.
pub(super) fn put(value: Bytes, noted: &[(&str, String)], ttl_ms: Option<u64>) -> Action {
    let pairs = noted.iter();
    let metadata: BTreeMap<String, String> = pairs
        .map(|(name, text)| ((*name).to_owned(), text.clone()))
        .collect();
    Action::Put {
        value,
        metadata,
        ttl_ms,
    }
}
