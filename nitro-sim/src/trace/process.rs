//! A trace on its way from one process of this program to another.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Trace;

impl Trace {
    /// It and what is told beside it as bytes for another process of this program, which is much
    /// quicker than as a file.
    pub(crate) fn into_bytes(self, beside: &impl Serialize) -> Vec<u8> {
        // What is long stands first, so that on neither side it is moved.
        let mut bytes = self.bytes;
        let length = bytes.len();
        let end = (&self.header, self.count, beside);
        serde_json::to_writer(&mut bytes, &end).expect("a list takes what is written to it");
        let end = (bytes.len() - length) as u64;
        bytes.extend(end.to_le_bytes());
        bytes
    }

    /// Reads what [`Trace::into_bytes`] made; none when it is cut short.
    pub(crate) fn from_bytes<T: DeserializeOwned>(mut bytes: Vec<u8>) -> Option<(Self, T)> {
        let (before, end) = bytes.split_last_chunk()?;
        let end = usize::try_from(u64::from_le_bytes(*end)).ok()?;
        let length = before.len().checked_sub(end)?;
        let (header, count, beside) = serde_json::from_slice(&before[length..]).ok()?;
        bytes.truncate(length);
        let trace = Self {
            bytes,
            count,
            ..Self::of(header)
        };
        Some((trace, beside))
    }
}
