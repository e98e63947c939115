//! Protocol buffers, for every message type of prost.

use std::any::type_name;

use bytes::{Bytes, BytesMut};
use prost::{DecodeError, Message};

use super::{Codec, ContentTypes, find};
use crate::error::{Error, Result};

/// Protocol buffers as `application/protobuf`, or `application/x-protobuf` when asked so.
///
/// Reading stops at 100 levels of nesting, skips fields it does not know, and lets fields of
/// type [`Bytes`] share the memory they were read from, in messages longer than 1 KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Protobuf;

/// The room that most messages fit; a longer one tells how much it needs.
const ROOM_BYTES_FIRST: usize = 256;

/// The longest message whose fields of type [`Bytes`] are copied out of it.
const COPIED_BYTES_MAX: usize = 1024;

const SPOKEN: [&str; 2] = ["application/protobuf", "application/x-protobuf"];

impl ContentTypes for Protobuf {
    fn content_types(&self) -> Vec<&'static str> {
        SPOKEN.to_vec()
    }

    fn matching(&self, essence: &str) -> Option<&'static str> {
        find(&SPOKEN, essence)
    }

    fn preferred(&self) -> &'static str {
        SPOKEN[0]
    }
}

impl<T: Message + Default> Codec<T> for Protobuf {
    fn encode(&self, _content_type: &'static str, value: &T, into: &mut BytesMut) -> Result<()> {
        let before = into.len();
        // Into room that is there: to ask for more before each byte would cost twice as much.
        let mut room = ROOM_BYTES_FIRST;
        loop {
            into.resize(before + room, 0);
            let mut free = &mut into[before..];
            match value.encode(&mut free) {
                Ok(()) => {
                    let unused = free.len();
                    into.truncate(before + room - unused);
                    return Ok(());
                }
                Err(error) if error.required_capacity() > room => room = error.required_capacity(),
                Err(error) => {
                    into.truncate(before);
                    let message = format!("protobuf: cannot write {}: {error}", type_name::<T>());
                    return Err(Error::internal(message).with_source(error));
                }
            }
        }
    }

    fn to_bytes(&self, _content_type: &'static str, value: &T) -> Result<Bytes> {
        Ok(value.encode_to_vec().into())
    }

    fn decode(&self, content_type: &'static str, bytes: &Bytes) -> Result<T> {
        match bytes.len() {
            // Counting who shares the memory would cost more than the copy.
            0..=COPIED_BYTES_MAX => self.decode_slice(content_type, bytes),
            _ => T::decode(bytes.clone()).map_err(unreadable::<T>),
        }
    }

    fn decode_slice(&self, _content_type: &'static str, bytes: &[u8]) -> Result<T> {
        T::decode(bytes).map_err(unreadable::<T>)
    }
}

fn unreadable<T>(error: DecodeError) -> Error {
    let message = format!("protobuf: cannot read {}: {error}", type_name::<T>());
    Error::invalid_argument(message).with_source(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Kind;

    #[derive(Clone, PartialEq, Message)]
    struct Hello {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(uint32, tag = "2")]
        times: u32,
        #[prost(message, optional, boxed, tag = "3")]
        nested: Option<Box<Hello>>,
    }

    fn decode(bytes: &[u8]) -> Result<Hello> {
        Protobuf.decode(SPOKEN[0], &Bytes::copy_from_slice(bytes))
    }

    fn encode(value: &Hello) -> Bytes {
        let mut into = BytesMut::new();
        Protobuf.encode(SPOKEN[0], value, &mut into).unwrap();
        into.freeze()
    }

    #[test]
    fn a_cut_message_is_refused_and_names_the_type() {
        let error = decode(&[0x0a, 5, b'a']).unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("Hello"), "{error}");
    }

    #[test]
    fn nesting_past_100_levels_is_refused() {
        let nested = |levels: usize| {
            let mut value = Hello::default();
            for _ in 0..levels {
                value = Hello {
                    nested: Some(Box::new(value)),
                    ..Hello::default()
                };
            }
            decode(&encode(&value))
        };
        assert!(nested(99).is_ok());
        assert!(nested(101).is_err());
    }

    #[test]
    fn either_synonym_is_agreed_on_as_it_was_asked() {
        let agreed = Protobuf.negotiate("application/X-Protobuf");
        assert_eq!(agreed.unwrap(), "application/x-protobuf");
        assert_eq!(Protobuf.negotiate("").unwrap(), "application/protobuf");
    }

    proptest! {
        #[test]
        fn any_value_comes_back_as_it_went(name in any::<String>(), times in any::<u32>(), inner in any::<String>()) {
            let nested = Some(Box::new(Hello { name: inner, times, nested: None }));
            let value = Hello { name, times, nested };
            prop_assert_eq!(decode(&encode(&value)).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }
}
