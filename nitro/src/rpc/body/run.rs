//! Messages that travel together: what many share is done once for all of them.

use std::collections::VecDeque;

use ::bytes::{Bytes, BytesMut};

use crate::error::Result;
use crate::transport::{HEADER_BYTES, Header};

/// The longest message that is copied next to others; a longer one is handed over as it is.
pub(crate) const SHORT_BYTES_MAX: usize = 1024;
/// A buffer that grew past this is given back once it is empty.
const BUFFER_BYTES_KEPT: usize = 128 * 1024;
/// For so many long messages the room is kept, each no longer than that: messages of 64 KiB fill a
/// pipe by four.
const SPARE_MAX: usize = 4;
/// A buffer that grew past this is given back when there is a wait for more: thousands of streams
/// may have been busy once.
const BUFFER_BYTES_IDLE: usize = 1024;
/// What stands for the length of a message that is not in the buffer.
const LONG: u32 = u32::MAX;
/// The room ahead of a message, which begins with its length as the header of a frame does.
const HEAD_BYTES: usize = HEADER_BYTES;

/// Messages in order. Short ones stand one after another in a buffer that is used again, so that
/// a message costs no allocation and no counting of who holds it. They stand there as the frames
/// that they travel in, so that many are sent, or taken in, by one copy.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// For each message a head that begins with a `u32`: its length, and then its bytes, or [`LONG`].
    buffer: BytesMut,
    /// Where the last message ends: what stands behind it is of one that could not be encoded.
    end: usize,
    /// Whether the last message that was encoded here was long.
    was_long: bool,
    /// How much of the buffer has been taken.
    at: usize,
    long: VecDeque<Bytes>,
    /// Room of long messages that are gone, for those to come: to ask for it anew may cost as much
    /// as to fill it.
    spare: Vec<BytesMut>,
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
    /// An empty one with room for so many bytes, the head of each message included.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(bytes),
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
        let buffer = self.whole();
        buffer.reserve(HEAD_BYTES + message.len());
        buffer.extend_from_slice(&head(message.len() as u32));
        buffer.extend_from_slice(message);
        self.count(1, message.len());
    }

    /// Adds a message that is encoded where it will stand, or answered where it is bytes already;
    /// one that turns out to be long is taken out again.
    pub(crate) fn push_encoded(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<Option<Bytes>>,
    ) -> Result<()> {
        // After a long one comes another, mostly: that has room of its own from the start.
        if self.was_long {
            let mut room = self.spare.pop().unwrap_or_default();
            let shared = encode(&mut room)?;
            let message = shared.unwrap_or_else(|| room.freeze());
            self.was_long = message.len() > SHORT_BYTES_MAX;
            self.push(message);
            return Ok(());
        }
        let buffer = self.whole();
        buffer.extend_from_slice(&head(LONG));
        let start = buffer.len();
        if let Some(message) = encode(buffer)? {
            self.push(message);
            return Ok(());
        }
        let bytes = self.buffer.len() - start;
        self.was_long = bytes > SHORT_BYTES_MAX;
        match self.was_long {
            true => self.long.push_back(self.buffer.split_off(start).freeze()),
            false => self.buffer[self.end..start].copy_from_slice(&head(bytes as u32)),
        }
        self.count(1, bytes);
        Ok(())
    }

    /// Adds short messages that stand one after another as frames.
    pub(crate) fn push_frames(&mut self, frames: &[u8], messages: usize) {
        self.whole().extend_from_slice(frames);
        self.count(messages, frames.len() - messages * HEAD_BYTES);
    }

    /// Adds a message, handed over.
    pub(crate) fn push_long(&mut self, message: Bytes) {
        self.whole().extend_from_slice(&head(LONG));
        self.count(1, message.len());
        self.long.push_back(message);
    }

    /// Adds a message, copied if it is short.
    pub(crate) fn push(&mut self, message: Bytes) {
        match message.len() {
            0..=SHORT_BYTES_MAX => self.push_short(&message),
            _ => self.push_long(message),
        }
    }

    /// The buffer without what could not be encoded.
    fn whole(&mut self) -> &mut BytesMut {
        self.buffer.truncate(self.end);
        &mut self.buffer
    }

    fn count(&mut self, messages: usize, bytes: usize) {
        self.end = self.buffer.len();
        self.messages += messages;
        self.bytes += bytes;
    }

    /// The first message. What is split off a long one is not counted off before it is popped.
    pub(crate) fn front(&mut self) -> Option<Message<'_>> {
        let (head, rest) = self.buffer[self.at..self.end].split_first_chunk()?;
        match length(head) {
            LONG => self.long.front_mut().map(Message::Long),
            length => Some(Message::Short(&rest[..length as usize])),
        }
    }

    /// Takes the first message out: [`Run::front`] has shown it.
    pub(crate) fn pop(&mut self) {
        let Some(head) = self.buffer[self.at..self.end].first_chunk() else {
            return;
        };
        self.at += HEAD_BYTES;
        match length(head) {
            LONG => self.keep_room(),
            length => self.at += length as usize,
        }
        self.count_out(1);
    }

    /// Takes out the short messages that come next, as long as they are wanted by their length,
    /// and hands them over as frames of a header.
    pub(crate) fn take_frames(
        &mut self,
        header: Header,
        mut is_wanted: impl FnMut(usize) -> bool,
        put: impl FnOnce(&[u8]),
    ) {
        let (start, mut messages) = (self.at, 0);
        while let Some(head) = self.buffer[self.at..self.end].first_chunk_mut() {
            let length = length(head);
            if length == LONG || !is_wanted(length as usize) {
                break;
            }
            *head = header.encode(length as usize);
            self.at += HEAD_BYTES + length as usize;
            messages += 1;
        }
        put(&self.buffer[start..self.at]);
        self.count_out(messages);
    }

    /// Takes the first long message out, and keeps its room if nobody else has it.
    fn keep_room(&mut self) {
        let message = self.long.pop_front().unwrap_or_default();
        if self.spare.len() < SPARE_MAX
            && let Ok(mut room) = message.try_into_mut()
        {
            room.clear();
            // What has been sent of it was cut off in front, and counts as room again.
            if !room.try_reclaim(BUFFER_BYTES_KEPT + 1) && room.try_reclaim(1) {
                self.spare.push(room);
            }
        }
    }

    fn count_out(&mut self, messages: usize) {
        self.messages -= messages;
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
            self.buffer = BytesMut::new();
        }
        self.spare = Vec::new();
        if self.is_empty() && self.long.capacity() * size_of::<Bytes>() > BUFFER_BYTES_IDLE {
            self.long = VecDeque::new();
        }
    }

    /// Throws all messages away.
    pub(crate) fn clear(&mut self) {
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = BytesMut::new();
        }
        self.buffer.clear();
        self.long.clear();
        (self.at, self.end, self.messages, self.bytes) = (0, 0, 0, 0);
    }
}

#[inline]
fn head(length: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head
}

#[inline]
fn length(head: &[u8; HEAD_BYTES]) -> u32 {
    u32::from_be_bytes([head[0], head[1], head[2], head[3]])
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_room_of_a_very_long_message_is_not_kept_when_all_of_it_is_sent() {
        use ::bytes::Buf;
        let mut run = Run::default();
        for (length, room, kept) in [(1_000_000, 1 << 20, 0), (100_000, 1 << 17, 1)] {
            let mut message = Vec::with_capacity(room);
            message.resize(length, 1);
            run.push(Bytes::from(message));
            run.long[0].advance(length);
            run.keep_room();
            assert_eq!(run.spare.len(), kept, "{length}");
        }
    }

    #[test]
    fn the_room_of_a_long_message_is_used_again_unless_somebody_else_has_it() {
        let mut run = Run::default();
        let put = |run: &mut Run| {
            let long = |room: &mut BytesMut| {
                room.extend([1; 5_000]);
                Ok(None)
            };
            run.push_encoded(long).unwrap();
            match run.front() {
                Some(Message::Long(bytes)) => bytes.clone(),
                other => panic!("{other:?}"),
            }
        };
        put(&mut run);
        run.pop();
        assert_eq!(run.spare.len(), 0, "it shares the room of the short ones");
        let held = put(&mut run);
        run.pop();
        assert_eq!(run.spare.len(), 0, "it was used, and is held elsewhere");
        put(&mut run);
        run.pop();
        assert_eq!(run.spare.len(), 1);
        assert_eq!(held.len(), 5_000);
        run.clear();
        run.rest();
        assert!(run.spare.is_empty(), "a stream that rests keeps no room");
    }

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

        #[test]
        fn short_messages_are_handed_over_as_frames_up_to_a_long_or_an_unwanted_one(
            lengths in vec(prop_oneof![9 => 0_usize..40, 1 => Just(20_000)], 1..40),
            popped in 0_usize..3,
            wanted in 0_usize..40,
        ) {
            let message = |number: usize| Bytes::from(vec![number as u8; lengths[number]]);
            let (mut run, mut handed) = (Run::default(), Run::default());
            (0..lengths.len()).for_each(|number| run.push(message(number)));
            let first = popped.min(lengths.len());
            (0..first).for_each(|_| run.pop());
            let short = lengths[first..].iter().take_while(|length| **length <= SHORT_BYTES_MAX);
            let expected = short.count().min(wanted);
            let header = Header { kind: 4, flags: 2, stream: 0x0001_0002 };
            let mut asked = 0;
            let is_wanted = |_: usize| {
                asked += 1;
                asked <= wanted
            };
            run.take_frames(header, is_wanted, |frames| {
                if let Some(head) = frames.first_chunk() {
                    assert_eq!(*head, header.encode(lengths[first]));
                }
                handed.push_frames(frames, expected);
            });
            prop_assert_eq!(run.len(), lengths.len() - first - expected);
            for number in first..first + expected {
                prop_assert_eq!(handed.pop_bytes(), Some(message(number)));
            }
            for number in first + expected..lengths.len() {
                prop_assert_eq!(run.pop_bytes(), Some(message(number)));
            }
            prop_assert!(handed.is_empty() && run.is_empty());
        }
    }
}
