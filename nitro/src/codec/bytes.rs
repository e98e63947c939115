//! Bytes as they are.

use bytes::{Bytes, BytesMut};

use super::{Codec, ContentTypes, find};
use crate::error::Result;

/// The longest message that is copied: shorter ones may share room with others, which whoever keeps
/// one would keep as well.
const COPIED_BYTES_MAX: usize = 1024;

/// Bytes, unchanged, as `application/octet-stream`. Decoding shares the memory it reads, in messages
/// longer than 1 KiB.
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
        Ok(match bytes.len() {
            0..=COPIED_BYTES_MAX => Bytes::copy_from_slice(bytes),
            _ => bytes.clone(),
        })
    }

    fn decode_slice(&self, _content_type: &'static str, bytes: &[u8]) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_message_shares_no_memory_and_a_long_one_does() {
        for (length, is_shared) in [(1, false), (1024, false), (1025, true)] {
            let memory = Bytes::from(vec![7; 4096]).slice(100..100 + length);
            let value = Raw.decode(SPOKEN[0], &memory).unwrap();
            assert_eq!(value, memory);
            assert_eq!(value.as_ptr() == memory.as_ptr(), is_shared, "{length}");
        }
    }

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
