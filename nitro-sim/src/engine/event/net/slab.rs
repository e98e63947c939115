//! Things by number, where the number of one that is gone is never mistaken for another's.

/// A thing's place, and which of those that stood there it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    index: u32,
    generation: u32,
}

/// Things by id. Ids are given in one order, whatever the machine.
pub(super) struct Slab<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, thing: T) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).expect("sockets fit in memory")
        });
        let place = &mut self.places[index as usize];
        place.1 = Some(thing);
        let generation = place.0;
        Id { index, generation }
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let (generation, thing) = self.places.get(id.index as usize)?;
        thing.as_ref().filter(|_| *generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let (generation, thing) = self.places.get_mut(id.index as usize)?;
        thing.as_mut().filter(|_| *generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        let (generation, thing) = self.places.get_mut(id.index as usize)?;
        if *generation != id.generation {
            return None;
        }
        let removed = thing.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        Some(removed)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}
