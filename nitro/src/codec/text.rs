//! Text, checked to be UTF-8.

use bytes::{Bytes, BytesMut};

use super::{Codec, ContentTypes, find};
use crate::error::{Error, Result};

/// Text as `text/plain`: UTF-8 whatever charset a parameter names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

const SPOKEN: [&str; 1] = ["text/plain"];

impl ContentTypes for Text {
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

impl Codec<String> for Text {
    fn encode(
        &self,
        _content_type: &'static str,
        value: &String,
        into: &mut BytesMut,
    ) -> Result<()> {
        into.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, content_type: &'static str, bytes: &Bytes) -> Result<String> {
        self.decode_slice(content_type, bytes)
    }

    fn decode_slice(&self, _content_type: &'static str, bytes: &[u8]) -> Result<String> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(Error::invalid_argument(format!(
                "text: not UTF-8 at byte {}",
                error.valid_up_to()
            ))
            .with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Kind;

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_place() {
        let error = Text
            .decode(SPOKEN[0], &Bytes::from_static(b"ab\xff"))
            .unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert_eq!(error.message(), "text: not UTF-8 at byte 2");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_as_it_went(value in any::<String>()) {
            let mut into = BytesMut::new();
            Text.encode(SPOKEN[0], &value, &mut into).unwrap();
            prop_assert_eq!(Text.decode(SPOKEN[0], &into.freeze()).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let decoded = Text.decode(SPOKEN[0], &Bytes::from(bytes.clone()));
            prop_assert_eq!(decoded.is_ok(), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
