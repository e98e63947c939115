//! Where short payloads are kept.

use std::cell::RefCell;

use ::bytes::{Bytes, BytesMut};

/// How much room there is at a time: what one short payload can keep from being given back.
const ROOM_BYTES: usize = 4 * 1024;
/// The longest payload that shares it; one of its own costs less than the room it would leave.
const SHORT_BYTES_MAX: usize = ROOM_BYTES / 8;

/// Room that short payloads are copied into one after another, each to be kept by whoever takes it:
/// an allocation of its own would cost more than the rest of its way. When all of them are gone the
/// room is used again; as long as one is kept, so is its room.
#[derive(Debug, Default)]
pub struct Room(RefCell<BytesMut>);

impl Room {
    /// The same bytes, to be kept.
    pub fn keep(&self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if bytes.len() > SHORT_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        let mut room = self.0.borrow_mut();
        if room.capacity() < bytes.len() {
            room.reserve(ROOM_BYTES);
        }
        room.extend_from_slice(bytes);
        room.split().freeze()
    }

    /// Gives it back, or leaves it to those who still hold a part of it.
    pub fn rest(&mut self) {
        *self.0.get_mut() = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_as_it_was_and_room_is_used_again() {
        let room = Room::default();
        let kept: Vec<Bytes> = (0..200).map(|byte| room.keep(&[byte; 100])).collect();
        for (byte, kept) in (0..200).zip(&kept) {
            assert_eq!(kept[..], [byte; 100]);
        }
        drop(kept);
        let at = |_| room.keep(&[1; 8]).as_ptr() as usize;
        let places: Vec<usize> = (0..ROOM_BYTES).map(at).collect();
        let (first, last) = (places.iter().min().unwrap(), places.iter().max().unwrap());
        assert!(last - first < ROOM_BYTES, "it was not used again");
        let long = [7; SHORT_BYTES_MAX + 1];
        assert_eq!(room.keep(&long)[..], long);
    }
}
