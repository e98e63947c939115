//! Which trace a call is part of, as the `traceparent` of W3C Trace Context.

use std::fmt;

use crate::host::Entropy;

/// The length of a `traceparent` of version 00.
const TEXT_BYTES: usize = 55;

/// The flag that says the caller records its spans.
const SAMPLED: u8 = 1;

/// A place in a trace: the trace, the span, and whether it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span within it; never 0.
    pub span_id: u64,
    /// Bit 0: recorded.
    pub flags: u8,
}

impl TraceContext {
    /// The first span of a new trace.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let high = u128::from(entropy.next_u64()) << 64;
        Self {
            trace_id: (high | u128::from(entropy.next_u64())).max(1),
            span_id: entropy.next_u64().max(1),
            flags: SAMPLED,
        }
    }

    /// A new span of the same trace.
    pub fn child(self, entropy: &dyn Entropy) -> Self {
        let span_id = entropy.next_u64().max(1);
        Self { span_id, ..self }
    }

    /// Reads a `traceparent`; `None` for one that the standard says to ignore. Versions later
    /// than 00 may have more parts after the known ones.
    pub fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.as_bytes().split_at_checked(TEXT_BYTES)?;
        let are_apart = [2, 35, 52].iter().all(|place| known[*place] == b'-');
        let version = hex(&known[..2])?;
        let trace_id = hex(&known[3..35])?;
        let span_id = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = u8::try_from(hex(&known[53..])?).ok()?;
        let ends_well = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        let valid = are_apart && ends_well && trace_id != 0 && span_id != 0;
        valid.then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// The trace's id, as text.
    pub fn trace_hex(&self) -> impl fmt::Display + use<> {
        Hex::<32>(self.trace_id)
    }

    /// The span's id, as text.
    pub fn span_hex(&self) -> impl fmt::Display + use<> {
        Hex::<16>(u128::from(self.span_id))
    }
}

/// A number of lower-case hexadecimal digits, at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// A number as so many hexadecimal digits. Every call writes three of them on either side, for
/// which the standard library's own way takes as long as the rest of the layer.
struct Hex<const DIGITS: usize>(u128);

impl<const DIGITS: usize> Hex<DIGITS> {
    fn bytes(&self) -> [u8; DIGITS] {
        let digit = |place| self.0 >> (4 * (DIGITS - 1 - place)) & 0xf;
        std::array::from_fn(|place| b"0123456789abcdef"[digit(place) as usize])
    }
}

impl<const DIGITS: usize> fmt::Display for Hex<DIGITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ascii(&self.bytes()))
    }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("digits are ASCII")
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"00-................................-................-..";
        text[3..35].copy_from_slice(&Hex::<32>(self.trace_id).bytes());
        text[36..52].copy_from_slice(&Hex::<16>(u128::from(self.span_id)).bytes());
        text[53..].copy_from_slice(&Hex::<2>(u128::from(self.flags)).bytes());
        f.write_str(ascii(&text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::host::entropy::Sequence;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_reads_and_writes() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(context.span_id, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(context.flags, SAMPLED);
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn a_later_version_may_say_more_and_a_wrong_one_is_ignored() {
        let later = format!("01{}-more", &EXAMPLE[2..]);
        assert!(TraceContext::parse(&later).is_some());
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = format!("{}{}-01", &EXAMPLE[..36], "0".repeat(16));
        let wrong = [
            String::new(),
            EXAMPLE.to_uppercase(),
            EXAMPLE[..54].to_owned(),
            format!("{EXAMPLE}-more"),
            format!("01{}more", &EXAMPLE[2..]),
            format!("ff{}", &EXAMPLE[2..]),
            EXAMPLE.replace('-', "_"),
            zero_trace,
            zero_span,
        ];
        for text in wrong {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_ignored(text in any::<String>()) {
            let _ = TraceContext::parse(&text);
        }

        #[test]
        fn what_is_generated_reads_back(seed in any::<u64>()) {
            let entropy: Arc<dyn Entropy> = Arc::new(Sequence::from_seed(seed));
            let parent = TraceContext::generate(&*entropy);
            let child = parent.child(&*entropy);
            prop_assert_eq!(child.trace_id, parent.trace_id);
            prop_assert_ne!(child.span_id, parent.span_id);
            prop_assert_eq!(TraceContext::parse(&child.to_string()), Some(child));
        }
    }
}
