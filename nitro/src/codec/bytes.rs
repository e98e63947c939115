//! Bytes as they are.

use bytes::{Bytes, BytesMut};

use super::{Codec, ContentTypes, find};
use crate::error::Result;

/// Bytes, unchanged, as `application/octet-stream`. Decoding shares the memory it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

const SPOKEN: [&str; 1] = ["application/octet-stream"];

impl ContentTypes for Raw {
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

impl Codec<Bytes> for Raw {
    fn encode(
        &self,
        _content_type: &'static str,
        value: &Bytes,
        into: &mut BytesMut,
    ) -> Result<()> {
        into.extend_from_slice(value);
        Ok(())
    }

    fn as_bytes<'a>(&self, _content_type: &'static str, value: &'a Bytes) -> Option<&'a Bytes> {
        Some(value)
    }

    fn decode(&self, _content_type: &'static str, bytes: &Bytes) -> Result<Bytes> {
        Ok(bytes.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_went(value in proptest::collection::vec(any::<u8>(), 0..300)) {
            let value = Bytes::from(value);
            let mut into = BytesMut::new();
            Raw.encode(SPOKEN[0], &value, &mut into).unwrap();
            prop_assert_eq!(Raw.decode(SPOKEN[0], &into.freeze()).unwrap(), value);
        }
    }
}
