//! Operations whose effect can be told without a state, in numbers: what each needs and leaves.

use std::hash::{Hash, Hasher};

use super::OperationOf;
use crate::check::model::{Effect, Model, When};

/// No state: it leaves what it found.
pub(super) const SAME: u32 = u32::MAX;

/// When an operation can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Is(u32),
    IsNot(u32),
}

/// What an operation does, its states as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) called: u64,
    /// The end of time where it was not heard.
    pub(super) returned: u64,
    pub(super) need: Need,
    /// The state it leaves, or [`SAME`].
    pub(super) leaves: u32,
}

impl Slot {
    /// Whether it can be done in a state.
    pub(super) fn can(&self, state: u32) -> bool {
        match self.need {
            Need::Nothing => true,
            Need::Is(needed) => needed == state,
            Need::IsNot(barred) => barred != state,
        }
    }

    /// Whether it leaves one state, whatever it found.
    pub(super) fn is_blind(&self) -> bool {
        self.leaves != SAME && self.need == Need::Nothing
    }

    /// Whether another does the same.
    pub(super) fn is_like(&self, other: &Slot) -> bool {
        self.need == other.need && self.leaves == other.leaves
    }
}

/// The operations of a key, in the order of their calls.
pub(super) struct Effects {
    /// Those that returned.
    pub(super) heard: Vec<Slot>,
    /// Those whose return was not heard and that may change something.
    pub(super) open: Vec<Slot>,
    /// How many states there are; the initial one is the first.
    pub(super) states: usize,
}

impl Effects {
    /// The effects of some operations of a history; none where that of one cannot be told.
    pub(super) fn of<M: Model>(
        model: &M,
        history: &[OperationOf<M>],
        places: &[usize],
    ) -> Option<Self> {
        let mut numbers = Numbers::new(model.initial(), places.len());
        let mut heard = Vec::with_capacity(places.len());
        let mut open = Vec::new();
        for place in places {
            let operation = &history[*place];
            let effect = model.effect(&operation.input, operation.output.as_ref())?;
            let Effect { when, leaves } = effect;
            let is_sure = when == When::Always || operation.output.is_some();
            let need = match when {
                When::Always => Need::Nothing,
                When::Is(state) => Need::Is(numbers.of(state)),
                When::IsNot(state) => Need::IsNot(numbers.of(state)),
            };
            let leaves = leaves.map_or(SAME, |state| numbers.of(state));
            let called = operation.called;
            let slot = |returned| Slot {
                called,
                returned,
                need,
                leaves,
            };
            match operation.returned {
                // It may have done something or not, and must be done.
                Some(_) if !is_sure => return None,
                Some(returned) => heard.push(slot(returned.max(called))),
                None if leaves == SAME => {}
                None => open.push(slot(u64::MAX)),
            }
        }
        in_order_of_calls(&mut heard);
        in_order_of_calls(&mut open);
        Some(Self {
            heard,
            open,
            states: numbers.states.len(),
        })
    }
}

/// Histories are nearly in the order of their calls.
fn in_order_of_calls(slots: &mut [Slot]) {
    let mut moves = slots.len() * 16;
    for place in 1..slots.len() {
        let slot = slots[place];
        let mut to = place;
        while to > 0 && slots[to - 1].called > slot.called {
            slots[to] = slots[to - 1];
            to -= 1;
        }
        slots[to] = slot;
        moves = moves.saturating_sub(place - to);
        if moves == 0 {
            slots.sort_by_key(|slot| slot.called);
            return;
        }
    }
}

/// States, each by its number.
struct Numbers<S> {
    states: Vec<S>,
    /// Numbers, by the hash of their state; as many places as a power of two.
    places: Vec<u32>,
}

impl<S: Eq + Hash> Numbers<S> {
    /// Room for so many operations' states, and the first one.
    fn new(first: S, operations: usize) -> Self {
        // No operation has more than two, and half of the places stay free.
        let places = (operations * 4 + 2).next_power_of_two();
        let mut numbers = Self {
            states: Vec::with_capacity(operations / 2 + 1),
            places: vec![SAME; places],
        };
        numbers.of(first);
        numbers
    }

    fn of(&mut self, state: S) -> u32 {
        let mut hash = Mix(0);
        state.hash(&mut hash);
        let mask = self.places.len() - 1;
        let mut place = (hash.finish() >> 32) as usize & mask;
        loop {
            match self.places[place] {
                SAME => {
                    self.places[place] = self.states.len() as u32;
                    self.states.push(state);
                    return self.places[place];
                }
                number if self.states[number as usize] == state => return number,
                _ => place = (place + 1) & mask,
            }
        }
    }
}

/// A quick hash, the same in every process, of what is compared anyway.
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}
