//! Messages that travel together: what many share is done once for all of them.

use std::collections::VecDeque;

use ::bytes::{BufMut, Bytes};

/// The longest message that is copied next to others; a longer one is handed over as it is.
pub(crate) const SHORT_BYTES_MAX: usize = 1024;
/// A buffer that grew past this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 32 * 1024;
/// A buffer that grew past this is given back when there is a wait for more: thousands of streams
/// may have been busy once.
const BUFFER_BYTES_IDLE: usize = 1024;
/// What stands for the length of a message that is not in the buffer.
const LONG: u32 = u32::MAX;

/// Messages in order. Short ones stand one after another in a buffer that is used again, so that
/// a message costs no allocation and no counting of who holds it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// For each message a `u32`: its length, and then its bytes, or [`LONG`].
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    at: usize,
    long: VecDeque<Bytes>,
    messages: usize,
    bytes: usize,
}

/// One message of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Short(&'a [u8]),
    Long(&'a mut Bytes),
}

impl Message<'_> {
    /// The same in memory of its own: taken, where it is long.
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Message::Short(bytes) => Bytes::copy_from_slice(bytes),
            Message::Long(bytes) => std::mem::take(bytes),
        }
    }
}

impl Run {
    /// An empty one with room for so many bytes, the length of each message included.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// How many messages there are.
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// The length of all messages, as they were put in.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a message, copied; it is at most [`SHORT_BYTES_MAX`] long.
    pub(crate) fn push_short(&mut self, message: &[u8]) {
        debug_assert!(message.len() <= SHORT_BYTES_MAX, "a long message is copied");
        self.buffer.reserve(4 + message.len());
        self.buffer.put_u32(message.len() as u32);
        self.buffer.extend_from_slice(message);
        self.count(message.len());
    }

    /// Adds a message, handed over.
    pub(crate) fn push_long(&mut self, message: Bytes) {
        self.buffer.put_u32(LONG);
        self.count(message.len());
        self.long.push_back(message);
    }

    /// Adds a message, copied if it is short.
    pub(crate) fn push(&mut self, message: Bytes) {
        match message.len() {
            0..=SHORT_BYTES_MAX => self.push_short(&message),
            _ => self.push_long(message),
        }
    }

    fn count(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// The first message. What is split off a long one is not counted off before it is popped.
    pub(crate) fn front(&mut self) -> Option<Message<'_>> {
        let (length, rest) = self.buffer[self.at..].split_first_chunk::<4>()?;
        match u32::from_be_bytes(*length) {
            LONG => self.long.front_mut().map(Message::Long),
            length => Some(Message::Short(&rest[..length as usize])),
        }
    }

    /// Takes the first message out: [`Run::front`] has shown it.
    pub(crate) fn pop(&mut self) {
        let Some(length) = self.buffer[self.at..].first_chunk::<4>() else {
            return;
        };
        self.at += 4;
        match u32::from_be_bytes(*length) {
            LONG => drop(self.long.pop_front()),
            length => self.at += length as usize,
        }
        self.messages -= 1;
        if self.messages == 0 {
            self.clear();
        }
    }

    /// The first message, taken out, in memory of its own.
    pub(crate) fn pop_bytes(&mut self) -> Option<Bytes> {
        let message = self.front()?.into_bytes();
        self.pop();
        Some(message)
    }

    /// Gives back room that more took than waits now, if nothing does.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && self.buffer.capacity() > BUFFER_BYTES_IDLE {
            self.buffer = Vec::new();
        }
        if self.is_empty() && self.long.capacity() * size_of::<Bytes>() > BUFFER_BYTES_IDLE {
            self.long = VecDeque::new();
        }
    }

    /// Throws all messages away.
    pub(crate) fn clear(&mut self) {
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        self.buffer.clear();
        self.long.clear();
        (self.at, self.messages, self.bytes) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_of_any_length_come_out_in_order_however_they_are_taken(
            lengths in vec(prop_oneof![0_usize..40, 1_000_usize..1_050, Just(20_000)], 0..40),
            pops in vec(any::<bool>(), 40),
        ) {
            let message = |number: usize, length: usize| Bytes::from(vec![number as u8; length]);
            let (mut run, mut expected) = (Run::default(), VecDeque::new());
            let check = |run: &mut Run, expected: &mut VecDeque<Bytes>| {
                let (shown, length) = (expected.front().cloned(), expected.len());
                assert_eq!(run.len(), length);
                match run.front() {
                    Some(Message::Short(bytes)) => assert_eq!(Some(bytes), shown.as_deref()),
                    Some(Message::Long(bytes)) => assert_eq!(Some(bytes.clone()), shown),
                    None => assert_eq!(shown, None),
                }
                assert_eq!(run.pop_bytes(), expected.pop_front());
            };
            for (number, length) in lengths.into_iter().enumerate() {
                run.push(message(number, length));
                expected.push_back(message(number, length));
                if pops[number] {
                    check(&mut run, &mut expected);
                }
            }
            while !expected.is_empty() {
                check(&mut run, &mut expected);
            }
            prop_assert!(run.is_empty() && run.buffer.is_empty() && run.bytes() == 0);
        }
    }
}
