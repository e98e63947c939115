//! The streams of a connection, each in the slot that its number names.

use crate::error::{Error, Result};
use crate::host::Task;

use super::flow::{Inbound, Outbound};

/// Which end of the connection this is: the one that calls, or the one that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Calling,
    Answering,
}

/// One call and its answer.
pub(super) struct Stream {
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    /// Where in all that is sent the CALL stands, by which it is known whether it left.
    pub(super) called_at: u64,
    /// The handler, on the answering side, if it waits.
    pub(super) task: Option<Task>,
}

struct Slot {
    generation: u16,
    is_open: bool,
    stream: Stream,
}

/// What a stream number stands for.
pub(super) enum Lookup<'a> {
    Open(&'a mut Stream),
    /// It was closed at this end before the frame arrived.
    Late,
}

pub(super) struct Streams {
    side: Side,
    /// What each stream may receive before it must be given credit.
    window: u32,
    slots: Vec<Slot>,
    /// The closed slots, on the calling side, which picks the number of a call.
    free: Vec<u16>,
    open: usize,
}

fn split(id: u32) -> (usize, u16) {
    let index = (id & 0xFFFF) as usize;
    let generation = u16::try_from(id >> 16).expect("16 bits remain of 32");
    (index, generation)
}

fn unknown_stream(id: u32) -> Error {
    Error::invalid_argument(format!(
        "a frame on stream {id:#010x}, which was never opened"
    ))
}

impl Streams {
    pub(super) fn new(side: Side, window: u32) -> Self {
        Self {
            side,
            window,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
        }
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// How many are open.
    pub(super) fn open_count(&self) -> usize {
        self.open
    }

    /// Those that are open.
    pub(super) fn each_open(&mut self) -> impl Iterator<Item = &mut Stream> {
        let open = self.slots.iter_mut().filter(|slot| slot.is_open);
        open.map(|slot| &mut slot.stream)
    }

    /// Opens a stream at the calling side; `None` when `most` are open.
    pub(super) fn open(&mut self, most: u32) -> Option<(u32, &mut Stream)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < most as usize => {
                self.push_slot();
                u16::try_from(self.slots.len() - 1).expect("the most fits 16 bits")
            }
            None => return None,
        };
        let slot = &mut self.slots[usize::from(index)];
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.is_open = true;
        self.open += 1;
        let id = u32::from(slot.generation) << 16 | u32::from(index);
        Some((id, &mut slot.stream))
    }

    /// Opens a stream at the answering side, under the number that the caller chose.
    pub(super) fn accept(&mut self, id: u32, most: u32) -> Result<&mut Stream> {
        let (index, generation) = split(id);
        if index >= most as usize || index > self.slots.len() || generation == 0 {
            let message = format!("a call on stream {id:#010x}, whose slot is not to be had");
            return Err(Error::invalid_argument(message));
        }
        if index == self.slots.len() {
            self.push_slot();
        }
        let slot = &mut self.slots[index];
        if slot.is_open || !is_newer(generation, slot.generation) {
            let message = format!("a call on stream {id:#010x}, which has been used");
            return Err(Error::invalid_argument(message));
        }
        slot.generation = generation;
        slot.is_open = true;
        self.open += 1;
        Ok(&mut slot.stream)
    }

    fn push_slot(&mut self) {
        self.slots.push(Slot {
            generation: 0,
            is_open: false,
            stream: Stream {
                inbound: Inbound::new(self.window),
                outbound: Outbound::default(),
                called_at: 0,
                task: None,
            },
        });
    }

    /// The stream of a number that a frame bears.
    pub(super) fn lookup(&mut self, id: u32) -> Result<Lookup<'_>> {
        let (index, generation) = split(id);
        let slot = self
            .slots
            .get_mut(index)
            .ok_or_else(|| unknown_stream(id))?;
        if slot.generation == generation && slot.is_open {
            return Ok(Lookup::Open(&mut slot.stream));
        }
        if generation == 0 || is_newer(generation, slot.generation) {
            return Err(unknown_stream(id));
        }
        Ok(Lookup::Late)
    }

    /// The stream of a number that this side holds, unless it has been closed.
    pub(super) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        match self.lookup(id) {
            Ok(Lookup::Open(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Closes a stream; answers what it held that nobody will take.
    pub(super) fn close(&mut self, id: u32) -> Option<u32> {
        let stream = self.get(id)?;
        let held = stream.inbound.held();
        stream.inbound.reset();
        stream.outbound.reset();
        stream.task = None;
        let (index, _) = split(id);
        self.slots[index].is_open = false;
        self.open -= 1;
        // The answering side is told the slot of each call: a list of the free ones would only
        // grow, by one entry a call.
        if self.side == Side::Calling {
            let index = u16::try_from(index).expect("a slot's index fits 16 bits");
            self.free.push(index);
        }
        Some(held)
    }
}

/// Whether one use of a slot comes after another, as 16-bit numbers that come round.
fn is_newer(generation: u16, than: u16) -> bool {
    let ahead = generation.wrapping_sub(than);
    ahead != 0 && ahead < 0x8000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_is_used_again_and_again_is_kept_once() {
        for side in [Side::Calling, Side::Answering] {
            let mut streams = Streams::new(side, 1 << 16);
            // More than the numbers of one slot: they come round.
            for turn in 0..200_000_u32 {
                let id = match side {
                    Side::Calling => streams.open(1).unwrap().0,
                    Side::Answering => {
                        let id = (turn % 0xFFFF + 1) << 16;
                        streams.accept(id, 1).unwrap();
                        id
                    }
                };
                assert_eq!(streams.open_count(), 1);
                assert!(streams.close(id).is_some());
                assert!(streams.close(id).is_none(), "it is closed already");
                assert!(matches!(streams.lookup(id), Ok(Lookup::Late)));
            }
            assert_eq!(streams.slots.len(), 1);
            assert!(streams.free.len() <= 1, "{side:?}: {}", streams.free.len());
        }
    }
}
