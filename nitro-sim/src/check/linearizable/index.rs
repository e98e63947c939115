//! The calls and returns of a history in the order they happened, as linked lists out of which an
//! operation can be lifted and put back.

use std::collections::BTreeMap;

use super::{Kept, Operation, OperationOf};
use crate::check::model::Model;

/// No entry.
const NONE: u32 = u32::MAX;

/// The entries of a history, in lanes: one lane for all, or one a process.
///
/// The operation in slot `s` has the entries `2s`, its call, and `2s + 1`, its return.
pub(super) struct Index {
    /// The operations by slot: their places in the history.
    pub(super) places: Vec<usize>,
    /// Whether a slot's return was not heard.
    pub(super) is_open: Vec<bool>,
    /// Each lane has a list of the operations that returned, and then one for each kind of those
    /// that did not.
    lists: Vec<List>,
    /// Where each entry stands in its lane.
    positions: Vec<u32>,
    /// The list of each slot.
    list_of: Vec<u32>,
}

/// Entries of a lane, in order.
struct List {
    /// The lane's list of those that returned.
    heard: u32,
    entries: Vec<u32>,
}

impl Index {
    /// The index of some operations of a history: one lane, or one a process.
    ///
    /// Of those whose return was not heard, the ones that change nothing are left out.
    pub(super) fn of<M: Model>(
        model: &M,
        history: &[OperationOf<M>],
        places: &[usize],
        kept: Kept,
    ) -> Self {
        let matters = |place: &&usize| {
            let operation = &history[**place];
            let is_pure = model.is_pure(&operation.input, operation.output.as_ref());
            operation.returned.is_some() || !is_pure
        };
        let places: Vec<usize> = places.iter().filter(matters).copied().collect();
        let mut lanes: BTreeMap<u64, Vec<(u64, u32)>> = BTreeMap::new();
        for (slot, place) in places.iter().enumerate() {
            let (operation, slot) = (&history[*place], slot as u32);
            let lane = match kept {
                Kept::Clock => 0,
                Kept::Processes => operation.process,
            };
            let lane = lanes.entry(lane).or_default();
            // What happens at one time is concurrent: calls come first.
            lane.push((operation.called << 1, 2 * slot));
            if let Some(returned) = operation.returned {
                lane.push((returned.max(operation.called) << 1 | 1, 2 * slot + 1));
            }
        }
        let is_open = places
            .iter()
            .map(|place| history[*place].returned.is_none());
        let mut index = Self {
            is_open: is_open.collect(),
            positions: vec![0; places.len() * 2],
            list_of: vec![0; places.len()],
            lists: Vec::new(),
            places,
        };
        for mut entries in lanes.into_values() {
            // They are nearly in order.
            entries.sort();
            index.add_lane(history, entries.into_iter().map(|(_, entry)| entry));
        }
        index
    }

    fn add_lane<I: PartialEq, O>(
        &mut self,
        history: &[Operation<I, O>],
        entries: impl Iterator<Item = u32>,
    ) {
        let heard = self.lists.len() as u32;
        let entries_of = |entries| List { heard, entries };
        self.lists.push(entries_of(Vec::new()));
        for (position, entry) in entries.enumerate() {
            let slot = entry as usize / 2;
            self.positions[entry as usize] = position as u32;
            let mut list = heard as usize;
            if self.is_open[slot] {
                // Equal ones can take each other's place, so only the first need be tried.
                let input = |entry: u32| &history[self.places[entry as usize / 2]].input;
                let kinds = self.lists[list + 1..].iter();
                let kind = kinds
                    .map(|kind| input(kind.entries[0]))
                    .position(|known| known == input(entry));
                list += 1 + kind.unwrap_or(self.lists.len() - list - 1);
                if list == self.lists.len() {
                    self.lists.push(entries_of(Vec::new()));
                }
            }
            self.list_of[slot] = list as u32;
            self.lists[list].entries.push(entry);
        }
    }
}

/// What is left of the entries while a search goes on.
pub(super) struct Left<'i> {
    index: &'i Index,
    next: Vec<u32>,
    previous: Vec<u32>,
    /// How many operations are left that returned.
    pub(super) heard: usize,
}

impl<'i> Left<'i> {
    /// All of them.
    pub(super) fn new(index: &'i Index) -> Self {
        let size = index.positions.len() + index.lists.len();
        let mut left = Self {
            index,
            next: vec![NONE; size],
            previous: vec![NONE; size],
            heard: index.is_open.iter().filter(|is_open| !**is_open).count(),
        };
        for (list, List { entries, .. }) in index.lists.iter().enumerate() {
            left.chain(left.head(list as u32), entries);
        }
        left
    }

    fn chain(&mut self, head: u32, entries: &[u32]) {
        let mut last = head;
        for entry in entries {
            self.next[last as usize] = *entry;
            self.previous[*entry as usize] = last;
            last = *entry;
        }
    }

    /// What stands before the first entry of a list.
    fn head(&self, list: u32) -> u32 {
        self.index.positions.len() as u32 + list
    }

    /// The first operation that may come next, by slot.
    pub(super) fn first(&self) -> Option<u32> {
        self.from(0, self.head(0))
    }

    /// The one after `slot` of those that may come next.
    pub(super) fn after(&self, slot: u32) -> Option<u32> {
        let list = self.index.list_of[slot as usize];
        if self.index.is_open[slot as usize] {
            return self.from(list + 1, self.head(list + 1));
        }
        self.from(list, 2 * slot)
    }

    /// An operation may come next if none is left that returned before its call. Those that
    /// returned are tried first: they must come at some time, the others need not.
    fn from(&self, mut list: u32, mut entry: u32) -> Option<u32> {
        while let Some(List { heard, .. }) = self.index.lists.get(list as usize) {
            let next = self.next[entry as usize];
            if next != NONE && self.may_come(list, *heard, next) {
                return Some(next / 2);
            }
            list += 1;
            entry = self.head(list);
        }
        None
    }

    fn may_come(&self, list: u32, heard: u32, entry: u32) -> bool {
        if list == heard {
            return entry.is_multiple_of(2);
        }
        let mut first_return = self.next[self.head(heard) as usize];
        while first_return != NONE && first_return.is_multiple_of(2) {
            first_return = self.next[first_return as usize];
        }
        let positions = &self.index.positions;
        match first_return {
            // Of its own lane none need follow it, but others may.
            NONE => self.heard > 0,
            _ => positions[entry as usize] < positions[first_return as usize],
        }
    }

    /// Those that may come next, as `slot` may, and that returned before it.
    pub(super) fn sooner(&self, slot: u32) -> impl Iterator<Item = u32> {
        let heard = self.index.lists[self.index.list_of[slot as usize] as usize].heard;
        let mut entry = self.head(heard);
        let candidates = std::iter::from_fn(move || {
            entry = self.next[entry as usize];
            (entry != NONE && entry.is_multiple_of(2)).then_some(entry / 2)
        });
        let returned = |slot: u32| self.index.positions[2 * slot as usize + 1];
        candidates.filter(move |other| returned(*other) < returned(slot))
    }

    /// Whether an operation that may come next is the only one.
    pub(super) fn is_alone(&self, slot: u32) -> bool {
        self.index.lists.len() == 1
            && self.previous[2 * slot as usize] == self.head(0)
            && self.next[2 * slot as usize] == 2 * slot + 1
    }

    /// Takes an operation out.
    pub(super) fn lift(&mut self, slot: u32) {
        self.unlink(2 * slot);
        if !self.index.is_open[slot as usize] {
            self.unlink(2 * slot + 1);
            self.heard -= 1;
        }
    }

    /// Puts the operation back that was taken out last.
    pub(super) fn put_back(&mut self, slot: u32) {
        if !self.index.is_open[slot as usize] {
            self.relink(2 * slot + 1);
            self.heard += 1;
        }
        self.relink(2 * slot);
    }

    fn unlink(&mut self, entry: u32) {
        let (before, after) = (self.previous[entry as usize], self.next[entry as usize]);
        self.next[before as usize] = after;
        if after != NONE {
            self.previous[after as usize] = before;
        }
    }

    fn relink(&mut self, entry: u32) {
        let (before, after) = (self.previous[entry as usize], self.next[entry as usize]);
        self.next[before as usize] = entry;
        if after != NONE {
            self.previous[after as usize] = entry;
        }
    }
}
