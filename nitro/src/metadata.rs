//! Key-value pairs that travel with a call, kept as the one block that goes on the wire.
//!
//! Keys are case-insensitive ASCII, values are bytes. Nothing is parsed until it is asked for:
//! a call that nobody asks about its metadata costs one copy of the block.
//!
//! # The block
//!
//! Entries one after another, each: key length (`u8`, 1 to 255), key (lower-case ASCII letters,
//! digits, `-`, `_`, `.`), value length (`u16`, big-endian), value. A key stands once.
//! Keys that begin with `x-md-global-` are passed on to the next hop by
//! [`Metadata::propagated`]; all others are for one hop.

use std::fmt;

use triomphe::ThinArc;

use crate::error::{Error, Result};

/// The most bytes that a block may hold, so that a stranger cannot fill memory with it.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;

/// The prefix of keys that every hop passes on.
pub const PROPAGATED_PREFIX: &str = "x-md-global-";

/// The keys of [W3C Trace Context](https://www.w3.org/TR/trace-context/), passed on as well.
pub const TRACE_KEYS: [&str; 2] = ["traceparent", "tracestate"];

/// Key-value pairs of a call or a reply; at most [`METADATA_BYTES_MAX`] bytes in all.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// None where there are no pairs. One word, as every call moves it about.
    block: Option<ThinArc<(), u8>>,
}

impl Metadata {
    /// No pairs; allocates nothing.
    pub const fn new() -> Self {
        Self { block: None }
    }

    /// Takes a block from the wire, checking it once.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument) when the block is malformed, too
    /// long, or holds a key twice.
    pub fn from_block(block: &[u8]) -> Result<Self> {
        // Most calls have none.
        if block.is_empty() {
            return Ok(Self::new());
        }
        check(block)?;
        Ok(Self::of(block))
    }

    fn of(block: &[u8]) -> Self {
        let is_some = !block.is_empty();
        let block = is_some.then(|| ThinArc::from_header_and_slice((), block));
        Self { block }
    }

    /// The pairs as they go on the wire.
    pub fn as_block(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |block| &block.slice)
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.block.is_none()
    }

    /// The value of a key, whatever the case it is asked in.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let mut entries = self.iter();
        let (_, value) = entries.find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(value)
    }

    /// The value of a key, if it is text.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(self.get(key)?).ok()
    }

    /// Sets a key, replacing what it had.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument) for a key that is empty, longer
    /// than 255 bytes or not of ASCII letters, digits, `-`, `_`, `.`;
    /// [`ResourceExhausted`](crate::error::Kind::ResourceExhausted) past the limit. On an error
    /// nothing is changed.
    pub fn insert(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<()> {
        let value = value.as_ref();
        if !is_key(key.as_bytes()) {
            return Err(Error::invalid_argument(format!(
                "metadata key {key:?}: expected 1 to 255 of ASCII letters, digits, '-', '_', '.'"
            )));
        }
        let (kept, kept_after) = self.around(key).unwrap_or((self.as_block(), &[]));
        let after = kept.len() + kept_after.len() + 3 + key.len() + value.len();
        if after > METADATA_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "metadata of {after} bytes with key {key:?}: at most {METADATA_BYTES_MAX}"
            )));
        }
        let key_length = u8::try_from(key.len()).expect("checked to be at most 255");
        let value_length = u16::try_from(value.len()).expect("checked against the limit");
        let mut block = Vec::with_capacity(after);
        block.extend_from_slice(kept);
        block.extend_from_slice(kept_after);
        block.push(key_length);
        block.extend(key.bytes().map(|byte| byte.to_ascii_lowercase()));
        block.extend_from_slice(&value_length.to_be_bytes());
        block.extend_from_slice(value);
        *self = Self::of(&block);
        Ok(())
    }

    /// Removes a key; returns whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some((kept, kept_after)) = self.around(key) else {
            return false;
        };
        *self = Self::of(&[kept, kept_after].concat());
        true
    }

    /// The pairs in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        Entries(self.as_block())
    }

    /// The pairs that a service passes on when it calls further.
    pub fn propagated(&self) -> Metadata {
        let mut onward = Metadata::new();
        let passes = |key: &str| key.starts_with(PROPAGATED_PREFIX) || TRACE_KEYS.contains(&key);
        for (key, value) in self.iter().filter(|(key, _)| passes(key)) {
            onward
                .insert(key, value)
                .expect("a part of a valid block is valid");
        }
        onward
    }

    /// What stands before the entry of a key, and after it, if there is one.
    fn around(&self, key: &str) -> Option<(&[u8], &[u8])> {
        let mut at = 0;
        for (name, value) in self.iter() {
            let length = 3 + name.len() + value.len();
            if name.eq_ignore_ascii_case(key) {
                let (before, rest) = self.as_block().split_at(at);
                return Some((before, &rest[length..]));
            }
            at += length;
        }
        None
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self
            .iter()
            .map(|(key, value)| (key, String::from_utf8_lossy(value)));
        f.debug_map().entries(pairs).finish()
    }
}

fn is_key(key: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=255).contains(&key.len()) && key.iter().all(allowed)
}

fn check(block: &[u8]) -> Result<()> {
    if block.len() > METADATA_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "metadata block of {} bytes: at most {METADATA_BYTES_MAX}",
            block.len()
        )));
    }
    let mut rest = block;
    let mut keys = std::collections::BTreeSet::new();
    while !rest.is_empty() {
        let at = block.len() - rest.len();
        let (key, _, after) = split(rest).ok_or_else(|| {
            Error::invalid_argument(format!("metadata block: entry at byte {at} is cut short"))
        })?;
        if !is_key(key) || key.iter().any(u8::is_ascii_uppercase) {
            return Err(Error::invalid_argument(format!(
                "metadata block: the key at byte {at} is not lower-case ASCII"
            )));
        }
        if !keys.insert(key) {
            return Err(Error::invalid_argument(format!(
                "metadata block: the key at byte {at} stands twice"
            )));
        }
        rest = after;
    }
    Ok(())
}

/// Splits an entry off a block: its key, its value, the rest.
fn split(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&key_length, rest) = block.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(key_length))?;
    let (value_length, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*value_length)))?;
    Some((key, value, rest))
}

struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value, rest) = split(self.0)?;
        self.0 = rest;
        let key = std::str::from_utf8(key).expect("keys are checked to be ASCII");
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_match_in_any_case_and_stand_once() {
        let mut metadata = Metadata::new();
        metadata.insert("Request-Id", "1").unwrap();
        metadata.insert("request-ID", "2").unwrap();
        assert_eq!(metadata.get_str("REQUEST-ID"), Some("2"));
        assert_eq!(metadata.iter().count(), 1);
        assert!(metadata.remove("request-id"));
        assert!(!metadata.remove("request-id"));
        assert!(metadata.is_empty());
    }

    #[test]
    fn a_refused_insert_changes_nothing() {
        let mut metadata = Metadata::new();
        metadata.insert("a", "1").unwrap();
        let before = metadata.clone();
        assert!(metadata.insert("", "x").is_err());
        assert!(metadata.insert("a b", "x").is_err());
        assert!(metadata.insert("a", vec![0; METADATA_BYTES_MAX]).is_err());
        assert_eq!(metadata, before);
    }

    #[test]
    fn only_global_and_trace_keys_travel_on() {
        let mut metadata = Metadata::new();
        for key in ["x-md-global-tenant", "authorization", "traceparent"] {
            metadata.insert(key, "v").unwrap();
        }
        let onward = metadata.propagated();
        let keys: Vec<_> = onward.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["x-md-global-tenant", "traceparent"]);
    }

    proptest! {
        #[test]
        fn any_block_is_refused_or_read_back_whole(block in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(metadata) = Metadata::from_block(&block) {
                let mut copy = Metadata::new();
                for (key, value) in metadata.iter() {
                    copy.insert(key, value).unwrap();
                }
                prop_assert_eq!(copy.as_block(), &block[..]);
            }
        }

        #[test]
        fn what_is_inserted_is_found_after_the_wire(
            pairs in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..40), 0..12)
        ) {
            let mut metadata = Metadata::new();
            for (key, value) in &pairs {
                metadata.insert(key, value).unwrap();
            }
            let back = Metadata::from_block(metadata.as_block()).unwrap();
            for (key, value) in &pairs {
                prop_assert_eq!(back.get(key), Some(&value[..]));
            }
        }
    }
}
