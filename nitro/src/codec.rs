//! Messages as bytes and back: what turns a value into one of its content types.
//!
//! A codec is a pure function with a name. [`Json`], [`Protobuf`], [`Raw`] and [`Text`] speak one
//! content type each (or its synonyms); a tuple such as `(Json, Protobuf)` speaks all of its
//! parts' and chooses by the one that was agreed on. Sizes are bounded here, in both directions,
//! by [`encode_within`] and [`decode_within`]; nesting is bounded by each codec, on decoding.

mod bytes;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "protobuf")]
mod protobuf;
mod text;
mod tuple;

use ::bytes::{Bytes, BytesMut};

pub use self::bytes::Raw;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "protobuf")]
pub use self::protobuf::Protobuf;
pub use self::text::Text;
use crate::error::{Error, Result};

/// The most bytes of one message unless a caller says otherwise: 4 MiB, as gRPC has it.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Room for a value whose size is not known, before it is written.
const ENCODED_BYTES_FIRST: usize = 256;

/// Which content types a codec speaks.
pub trait ContentTypes: Clone + Send + Sync + 'static {
    /// All of them, the preferred first; never empty.
    fn content_types(&self) -> Vec<&'static str>;

    /// The one that is equal to `essence` (a content type without parameters) in any case.
    ///
    /// It runs on every call, so it allocates nothing.
    fn matching(&self, essence: &str) -> Option<&'static str>;

    /// The one to use when nobody asks.
    fn preferred(&self) -> &'static str;

    /// The spoken content type that was asked for: in any case, whatever parameters follow a
    /// `;`, and the preferred one when nothing was asked.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument), naming those that are served.
    fn negotiate(&self, asked: &str) -> Result<&'static str> {
        let preferred = self.preferred();
        // Nearly every call asks in the very words.
        if asked == preferred {
            return Ok(preferred);
        }
        let essence = asked.split(';').next().unwrap_or_default().trim();
        if essence.is_empty() {
            return Ok(preferred);
        }
        self.matching(essence)
            .ok_or_else(|| not_served(essence, &self.content_types()))
    }
}

/// Values of `T` as bytes of one of these content types.
pub trait Codec<T>: ContentTypes {
    /// Appends a value; on an error `into` is as it was before.
    ///
    /// `content_type` is one that [`negotiate`](ContentTypes::negotiate) returned.
    ///
    /// # Errors
    ///
    /// [`Internal`](crate::error::Kind::Internal) when the value cannot be written: the value is
    /// this program's own.
    fn encode(&self, content_type: &'static str, value: &T, into: &mut BytesMut) -> Result<()>;

    /// A value as bytes of their own, in one allocation where the codec knows its size, or in none
    /// where it is bytes already.
    ///
    /// # Errors
    ///
    /// As [`Codec::encode`].
    fn to_bytes(&self, content_type: &'static str, value: &T) -> Result<Bytes> {
        if let Some(bytes) = self.as_bytes(content_type, value) {
            return Ok(bytes.clone());
        }
        let mut into = BytesMut::with_capacity(ENCODED_BYTES_FIRST);
        self.encode(content_type, value, &mut into)?;
        Ok(into.freeze())
    }

    /// The value, where it is the very bytes that encoding it would copy.
    fn as_bytes<'a>(&self, _content_type: &'static str, _value: &'a T) -> Option<&'a Bytes> {
        None
    }

    /// Reads a value that fills all of `bytes`. Long ones may be shared; short ones may stand in
    /// memory with other messages, all of which a part that is kept would keep.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::error::Kind::InvalidArgument) when the bytes are not such a
    /// value: the bytes are somebody else's.
    fn decode(&self, content_type: &'static str, bytes: &Bytes) -> Result<T>;

    /// Reads a value out of bytes that are somebody else's a moment later.
    ///
    /// # Errors
    ///
    /// As [`Codec::decode`].
    fn decode_slice(&self, content_type: &'static str, bytes: &[u8]) -> Result<T> {
        self.decode(content_type, &Bytes::copy_from_slice(bytes))
    }
}

/// Checks the length of one message against a limit.
///
/// # Errors
///
/// [`ResourceExhausted`](crate::error::Kind::ResourceExhausted) past the limit.
pub fn check_size(length: usize, bytes_max: usize) -> Result<()> {
    if length <= bytes_max {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!(
        "message of {length} bytes: at most {bytes_max}"
    )))
}

/// Appends a value of at most `bytes_max` bytes; on an error `into` is as it was before.
///
/// # Errors
///
/// As [`check_size`] and [`Codec::encode`].
pub fn encode_within<T, C: Codec<T>>(
    codec: &C,
    content_type: &'static str,
    value: &T,
    into: &mut BytesMut,
    bytes_max: usize,
) -> Result<()> {
    let before = into.len();
    codec.encode(content_type, value, into)?;
    check_size(into.len() - before, bytes_max).inspect_err(|_| into.truncate(before))
}

/// Reads a value of at most `bytes_max` bytes; longer ones are refused unread.
///
/// # Errors
///
/// As [`check_size`] and [`Codec::decode`].
pub fn decode_within<T, C: Codec<T>>(
    codec: &C,
    content_type: &'static str,
    bytes: &Bytes,
    bytes_max: usize,
) -> Result<T> {
    check_size(bytes.len(), bytes_max)?;
    codec.decode(content_type, bytes)
}

/// The first of `spoken` that is equal to `essence` in any case.
fn find(spoken: &[&'static str], essence: &str) -> Option<&'static str> {
    let mut spoken = spoken.iter().copied();
    spoken.find(|content_type| content_type.eq_ignore_ascii_case(essence))
}

fn not_served(essence: &str, served: &[&str]) -> Error {
    Error::invalid_argument(format!(
        "content type {essence:?} is not served: expected {}",
        served.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn negotiation_ignores_case_and_parameters_and_prefers_when_nothing_is_asked() {
        for asked in [
            "text/plain",
            "Text/PLAIN",
            " text/plain ; charset=utf-8",
            "",
            " ;q=1",
        ] {
            assert_eq!(Text.negotiate(asked).unwrap(), "text/plain", "{asked:?}");
        }
    }

    #[test]
    fn an_unknown_content_type_is_refused_by_naming_those_served() {
        let error = (Text, Raw).negotiate("image/png; q=1").unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        let expected = "content type \"image/png\" is not served: expected text/plain or application/octet-stream";
        assert_eq!(error.message(), expected);
    }

    #[test]
    fn a_message_past_the_limit_is_refused_both_ways_and_leaves_the_buffer_alone() {
        let mut into = BytesMut::from(&b"head"[..]);
        let text = "four".to_owned();
        encode_within(&Text, "text/plain", &text, &mut into, 4).unwrap();
        let error = encode_within(&Text, "text/plain", &text, &mut into, 3).unwrap_err();
        assert_eq!(error.kind(), Kind::ResourceExhausted);
        assert_eq!(error.message(), "message of 4 bytes: at most 3");
        assert_eq!(&into[..], b"headfour");

        let bytes = Bytes::from_static(b"four");
        let whole: String = decode_within(&Text, "text/plain", &bytes, 4).unwrap();
        assert_eq!(whole, text);
        let error = decode_within::<String, _>(&Text, "text/plain", &bytes, 3).unwrap_err();
        assert_eq!(error.kind(), Kind::ResourceExhausted);
    }
}
