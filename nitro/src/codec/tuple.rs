//! Several codecs as one, chosen by content type.

use bytes::{Bytes, BytesMut};

use super::{Codec, ContentTypes};
use crate::error::{Error, Result};

/// A tuple of codecs is a codec: the first part is preferred, and the first part that speaks the
/// content type is used.
macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: ContentTypes),+> ContentTypes for ($($part,)+) {
            fn content_types(&self) -> Vec<&'static str> {
                [$(self.$index.content_types()),+].concat()
            }

            fn matching(&self, essence: &str) -> Option<&'static str> {
                None$(.or_else(|| self.$index.matching(essence)))+
            }

            fn preferred(&self) -> &'static str {
                self.0.preferred()
            }
        }

        impl<T, $($part: Codec<T>),+> Codec<T> for ($($part,)+) {
            fn encode(
                &self,
                content_type: &'static str,
                value: &T,
                into: &mut BytesMut,
            ) -> Result<()> {
                $(
                    if self.$index.matching(content_type).is_some() {
                        return self.$index.encode(content_type, value, into);
                    }
                )+
                Err(not_agreed(content_type))
            }

            fn to_bytes(&self, content_type: &'static str, value: &T) -> Result<Bytes> {
                $(
                    if self.$index.matching(content_type).is_some() {
                        return self.$index.to_bytes(content_type, value);
                    }
                )+
                Err(not_agreed(content_type))
            }

            fn as_bytes<'a>(&self, content_type: &'static str, value: &'a T) -> Option<&'a Bytes> {
                $(
                    if self.$index.matching(content_type).is_some() {
                        return self.$index.as_bytes(content_type, value);
                    }
                )+
                None
            }

            fn decode(&self, content_type: &'static str, bytes: &Bytes) -> Result<T> {
                $(
                    if self.$index.matching(content_type).is_some() {
                        return self.$index.decode(content_type, bytes);
                    }
                )+
                Err(not_agreed(content_type))
            }

            fn decode_slice(&self, content_type: &'static str, bytes: &[u8]) -> Result<T> {
                $(
                    if self.$index.matching(content_type).is_some() {
                        return self.$index.decode_slice(content_type, bytes);
                    }
                )+
                Err(not_agreed(content_type))
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);

/// Only a caller that made the content type up itself, instead of negotiating, comes here.
fn not_agreed(content_type: &str) -> Error {
    Error::internal(format!(
        "content type {content_type:?} was used but never agreed on"
    ))
}

#[cfg(test)]
#[cfg(feature = "json")]
mod tests {
    use super::*;
    use crate::codec::{Json, Text};
    use crate::error::Kind;

    fn encode(codec: &impl Codec<String>, asked: &str) -> Bytes {
        let content_type = codec.negotiate(asked).unwrap();
        let mut into = BytesMut::new();
        codec
            .encode(content_type, &"hi".to_owned(), &mut into)
            .unwrap();
        let bytes = into.freeze();
        assert_eq!(codec.decode(content_type, &bytes).unwrap(), "hi");
        bytes
    }

    #[test]
    fn the_content_type_chooses_the_part() {
        let both = (Json, Text);
        assert_eq!(both.content_types(), ["application/json", "text/plain"]);
        assert_eq!(encode(&both, ""), "\"hi\"");
        assert_eq!(encode(&both, "application/json"), "\"hi\"");
        assert_eq!(encode(&both, "text/plain"), "hi");
        assert_eq!(encode(&(Text, Json), ""), "hi");
    }

    #[test]
    fn tuples_nest_and_take_three() {
        assert_eq!(encode(&((Text, Text), Json), "application/json"), "\"hi\"");
        assert_eq!(encode(&(Text, Text, Json), "application/json"), "\"hi\"");
    }

    #[test]
    fn a_content_type_that_was_not_negotiated_is_a_bug_and_says_so() {
        let error = (Json, Text)
            .encode("image/png", &String::new(), &mut BytesMut::new())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
    }
}
