//! Who is to be woken when: nodes, or a node's timers. The earliest first, and each once.

/// When somebody is to be woken, what parts it from others of that time, and its number.
type Entry = (u64, u64, usize);

/// A heap that knows where each stands in it, so that one whose time changes, as that of a node
/// does with nearly every turn, is moved.
#[derive(Debug, Default)]
pub(super) struct Ready {
    heap: Vec<Entry>,
    /// Where each stands in the heap; none where it waits for something other than a time.
    places: Vec<Option<usize>>,
}

impl Ready {
    /// The time and number of who comes first.
    pub(super) fn first(&self) -> Option<(u64, usize)> {
        self.heap.first().map(|(at, _, number)| (*at, *number))
    }

    /// When somebody is to be woken.
    pub(super) fn at(&self, number: usize) -> Option<u64> {
        let place = self.places.get(number).copied().flatten();
        place.map(|place| self.heap[place].0)
    }

    /// Has somebody woken at a time, and not before. `tie` parts it from others of that time.
    pub(super) fn set(&mut self, number: usize, at: u64, tie: u64) {
        if number >= self.places.len() {
            self.places.resize(number + 1, None);
        }
        let entry = (at, tie, number);
        let place = match self.places[number] {
            Some(place) => {
                self.heap[place] = entry;
                place
            }
            None => {
                self.heap.push(entry);
                self.heap.len() - 1
            }
        };
        self.settle(place);
    }

    /// Has somebody not woken any more.
    pub(super) fn remove(&mut self, number: usize) {
        if let Some(place) = self.places.get_mut(number).and_then(Option::take) {
            self.heap.swap_remove(place);
            if place < self.heap.len() {
                self.settle(place);
            }
        }
    }

    /// Moves what stands at a place to where it belongs.
    fn settle(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 && entry < self.heap[(place - 1) / 2] {
            self.put((place - 1) / 2, place);
            place = (place - 1) / 2;
        }
        loop {
            let child = 2 * place + 1;
            let beside = child + 1;
            let is_other = beside < self.heap.len() && self.heap[beside] < self.heap[child];
            let child = if is_other { beside } else { child };
            if child >= self.heap.len() || entry < self.heap[child] {
                break;
            }
            self.put(child, place);
            place = child;
        }
        self.heap[place] = entry;
        self.places[entry.2] = Some(place);
    }

    /// Moves what stands at one place to another.
    fn put(&mut self, from: usize, to: usize) {
        let entry = self.heap[from];
        self.heap[to] = entry;
        self.places[entry.2] = Some(to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::draw::Draw;

    #[test]
    fn what_comes_first_is_what_a_sorted_set_says() {
        let mut draw = Draw::new(1, "ready");
        let mut ready = Ready::default();
        let mut set: BTreeSet<Entry> = BTreeSet::new();
        for _ in 0..10_000 {
            let number = draw.whole(0, 19) as usize;
            set.retain(|(_, _, found)| *found != number);
            if draw.chance(0.7) {
                let (at, tie) = (draw.whole(0, 50), draw.whole(0, 2));
                set.insert((at, tie, number));
                ready.set(number, at, tie);
            } else {
                ready.remove(number);
            }
            let first = set.first().map(|(at, _, number)| (*at, *number));
            assert_eq!(ready.first(), first);
            let at = set.iter().find(|(_, _, found)| *found == number);
            assert_eq!(ready.at(number), at.map(|(at, _, _)| *at));
        }
    }
}
