//! JSON, for every type that serde can write and read.

use std::any::type_name;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, ContentTypes, find};
use crate::error::{Error, Result};

/// JSON as `application/json`.
///
/// Reading stops at 128 levels of nesting and refuses anything after the value. A float that is
/// not a number is written as `null`, which JSON has in its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

const SPOKEN: [&str; 1] = ["application/json"];

impl ContentTypes for Json {
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

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn encode(&self, _content_type: &'static str, value: &T, into: &mut BytesMut) -> Result<()> {
        let before = into.len();
        serde_json::to_writer((&mut *into).writer(), value).map_err(|error| {
            into.truncate(before);
            let message = format!("json: cannot write {}: {error}", type_name::<T>());
            Error::internal(message).with_source(error)
        })
    }

    fn decode(&self, content_type: &'static str, bytes: &Bytes) -> Result<T> {
        self.decode_slice(content_type, bytes)
    }

    fn decode_slice(&self, _content_type: &'static str, bytes: &[u8]) -> Result<T> {
        // The message of serde_json ends with "at line L column C".
        serde_json::from_slice(bytes).map_err(|error| {
            let message = format!("json: cannot read {}: {error}", type_name::<T>());
            Error::invalid_argument(message).with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::error::Kind;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Hello {
        name: String,
        times: u32,
        tags: Vec<String>,
        nested: Option<Box<Hello>>,
    }

    fn decode(bytes: &[u8]) -> Result<Hello> {
        Json.decode(SPOKEN[0], &Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn a_refusal_names_the_type_the_line_and_the_column() {
        let error = decode(b"{\n  \"name\": 7}").unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("Hello"), "{error}");
        assert!(error.message().contains("line 2 column 11"), "{error}");
    }

    #[test]
    fn nesting_past_128_levels_is_refused() {
        let nested = |levels: usize| {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            let read: Result<serde_json::Value> = Json.decode(SPOKEN[0], &Bytes::from(text));
            read
        };
        assert!(nested(127).is_ok());
        let error = nested(100_000).unwrap_err();
        assert!(error.message().contains("recursion limit"), "{error}");
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        let bytes = Bytes::from_static(b"1 2");
        let read: Result<u32> = Json.decode(SPOKEN[0], &bytes);
        assert!(read.unwrap_err().message().contains("trailing"));
    }

    #[test]
    fn a_value_that_cannot_be_written_is_internal_and_leaves_the_buffer_alone() {
        let mut into = BytesMut::from(&b"head"[..]);
        let pairs = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
        let error = Json.encode(SPOKEN[0], &pairs, &mut into).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(&into[..], b"head");
    }

    fn hello() -> impl Strategy<Value = Hello> {
        let flat = (any::<String>(), any::<u32>(), any::<Vec<String>>());
        let flat = flat.prop_map(|(name, times, tags)| Hello {
            name,
            times,
            tags,
            nested: None,
        });
        flat.prop_recursive(4, 8, 1, |inner| {
            (any::<String>(), inner).prop_map(|(name, inner)| Hello {
                name,
                times: 0,
                tags: Vec::new(),
                nested: Some(Box::new(inner)),
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_value_comes_back_as_it_went(value in hello()) {
            let mut into = BytesMut::new();
            Json.encode(SPOKEN[0], &value, &mut into).unwrap();
            prop_assert_eq!(decode(&into).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
            let _: Result<serde_json::Value> = Json.decode(SPOKEN[0], &Bytes::from(bytes));
        }
    }
}
