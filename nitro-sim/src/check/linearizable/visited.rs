//! Where a search has been: places that are each told by a few numbers, exactly.

/// A place: what is done and the state, in four words, the first of them never zero.
pub(super) type Place = [u64; 4];

/// A set of places.
#[derive(Default)]
pub(super) struct Visited {
    /// Zeros where one is free; as many as a power of two, or none.
    places: Vec<Place>,
    count: usize,
}

impl Visited {
    /// Adds one: whether it is new.
    pub(super) fn insert(&mut self, place: Place) -> bool {
        if self.count * 4 >= self.places.len() * 3 {
            self.grow();
        }
        let at = self.at(&place);
        let is_new = self.places[at][0] == 0;
        self.places[at] = place;
        self.count += usize::from(is_new);
        is_new
    }

    /// Where it is, or would be.
    fn at(&self, place: &Place) -> usize {
        let mask = self.places.len() - 1;
        let mut hash = 0_u64;
        for word in place {
            hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        let mut at = (hash >> 24) as usize & mask;
        while self.places[at][0] != 0 && self.places[at] != *place {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let double = vec![[0; 4]; (self.places.len() * 2).max(64)];
        for place in std::mem::replace(&mut self.places, double) {
            if place[0] != 0 {
                let at = self.at(&place);
                self.places[at] = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_new_once() {
        let mut visited = Visited::default();
        let places = || (0..5_000).flat_map(|n| [[1, n, 0, 0], [1, 0, n + 1, 7], [n + 2, 0, 0, 0]]);
        assert!(places().all(|place| visited.insert(place)));
        assert!(places().all(|place| !visited.insert(place)));
    }
}
