//! The search over operations whose effects are known in numbers: no state is ever computed.
//!
//! What is done is the first operation that is not, by its slot, and a bit for each of those after
//! it, so where a search has been is told exactly and a no needs no second opinion. Most of what
//! might be tried is not, as another order has the same end:
//!
//! - What changes nothing is done as soon as it can be.
//! - A write that nobody will ever see is done just before the next one, whichever that is.
//! - Of two that do the same, the one that must be done sooner comes first.
//! - One whose return was not heard is done only where something needs what it leaves.
//!
//! And a state that is still needed is not left where nothing is left that leads back to it.

use std::cmp::Reverse;

use super::Budget;
use super::effects::{Effects, Need, SAME, Slot};
use super::search::Found;
use super::visited::{Place, Visited};

/// How many operations after the first that is not done may be done: the bits of a mask.
const WINDOW: u32 = u128::BITS;
/// How many operations may be open: the bits of a word.
const OPEN_MAX: usize = 64;
/// An attempt: this and the slot of one that is open.
const OPEN: u32 = 1 << 31;
/// An attempt: all writes that nobody will see, and nothing else.
const UNSEEN: u32 = u32::MAX;

/// Searches for an order; none where so much is concurrent that this search does not hold it.
pub(super) fn swift(effects: &Effects, budget: Budget) -> Option<Found> {
    if effects.open.len() > OPEN_MAX || effects.heard.len() >= OPEN as usize {
        return None;
    }
    let mut search = Search::new(effects);
    if search.lacks_a_state() {
        return Some(Found::Nothing);
    }
    search.run(budget)
}

/// How far a search is.
#[derive(Clone, Copy)]
struct Point {
    /// The first slot that is not done.
    first: u32,
    state: u32,
    /// Which slots from there on are done.
    done: u128,
    /// Which open ones are done.
    opened: u64,
}

/// Where something else may be tried.
struct Fork {
    point: Point,
    /// How many had been done, and what is to be tried from where in the list of attempts.
    trail: usize,
    attempts: usize,
}

/// Of a state: how many operations that are not done need it, lead to it, and tell it from others.
#[derive(Clone, Copy, Default)]
struct Demand {
    needed: u32,
    supplied: u32,
    watched: u32,
}

struct Search<'e> {
    effects: &'e Effects,
    point: Point,
    demands: Vec<Demand>,
    /// Whether a write that nobody sees may be done with the next one.
    can_absorb: bool,
    /// What is done, in order.
    trail: Vec<u32>,
    forks: Vec<Fork>,
    attempts: Vec<u32>,
    /// What may come next and is not done at once, while it is looked at.
    candidates: Vec<u32>,
    visited: Visited,
    is_too_wide: bool,
}

impl<'e> Search<'e> {
    fn new(effects: &'e Effects) -> Self {
        let mut search = Self {
            effects,
            point: Point {
                first: 0,
                state: 0,
                done: 0,
                opened: 0,
            },
            demands: vec![Demand::default(); effects.states],
            can_absorb: true,
            trail: Vec::with_capacity(effects.heard.len()),
            forks: Vec::new(),
            attempts: Vec::new(),
            candidates: Vec::new(),
            visited: Visited::default(),
            is_too_wide: false,
        };
        for slot in &effects.heard {
            search.count(slot, false, 1);
            search.can_absorb &= !matches!(slot.need, Need::IsNot(_));
        }
        for slot in &effects.open {
            search.count(slot, true, 1);
        }
        search
    }

    /// Counts what an operation asks of the others, or no longer asks.
    fn count(&mut self, slot: &Slot, is_open: bool, by: i32) {
        let change = |number: &mut u32| *number = number.wrapping_add_signed(by);
        if let Need::Is(state) | Need::IsNot(state) = slot.need {
            change(&mut self.demands[state as usize].watched);
        }
        // What is open need not be done, so it needs nothing.
        if let (Need::Is(state), false) = (slot.need, is_open) {
            change(&mut self.demands[state as usize].needed);
        }
        if slot.leaves != SAME {
            change(&mut self.demands[slot.leaves as usize].supplied);
        }
    }

    /// Whether a state is needed that nothing leads to.
    fn lacks_a_state(&self) -> bool {
        let others = self.demands.iter().skip(1);
        others
            .filter(|demand| demand.needed > 0)
            .any(|demand| demand.supplied == 0)
    }

    fn run(&mut self, budget: Budget) -> Option<Found> {
        let mut steps = 0;
        // Whether there was a fork since it was last asked whether this place is new.
        let mut has_strayed = false;
        self.settle();
        loop {
            if self.is_too_wide {
                return None;
            }
            if self.point.first as usize == self.effects.heard.len() {
                return Some(Found::Order);
            }
            steps += 1;
            let is_asked = has_strayed && self.point.done == 0;
            let mut goes_on = false;
            match self.only_one() {
                Some(only) if !is_asked => {
                    goes_on = self.put(only);
                    has_strayed |= !goes_on;
                }
                _ => has_strayed = self.fork(has_strayed),
            }
            while !goes_on {
                let Some(next) = self.go_back() else {
                    return Some(Found::Nothing);
                };
                steps += 1;
                if steps > budget.steps_max {
                    return Some(Found::Spent);
                }
                goes_on = self.attempt(next);
                has_strayed |= !goes_on;
            }
        }
    }

    /// Lists what may be tried here, unless that was done before: whether there was a fork since
    /// that was last asked.
    fn fork(&mut self, has_strayed: bool) -> bool {
        let from = self.attempts.len();
        self.propose();
        let count = self.attempts.len() - from;
        let is_asked = count > 1 || (count == 1 && has_strayed && self.point.done == 0);
        if is_asked && !self.is_new() {
            self.attempts.truncate(from);
        } else if count > 0 {
            self.forks.push(Fork {
                point: self.point,
                trail: self.trail.len(),
                attempts: from,
            });
        }
        count != 1 || (has_strayed && !is_asked)
    }

    /// What comes next where nothing else can, whatever might be said of it.
    fn only_one(&self) -> Option<u32> {
        let [only] = self.candidates[..] else {
            return None;
        };
        let slot = self.heard(only);
        let is_alone = self.effects.open.is_empty() && slot.leaves != SAME;
        (is_alone && slot.can(self.point.state)).then_some(only)
    }

    /// Goes to the last fork where something is left to try: what that is.
    fn go_back(&mut self) -> Option<u32> {
        let fork = self.forks.last()?;
        let (point, trail, attempts) = (fork.point, fork.trail, fork.attempts);
        while self.trail.len() > trail {
            let done = self.trail.pop().expect("it is longer");
            self.count_again(done);
        }
        self.point = point;
        let next = self.attempts.pop();
        if self.attempts.len() == attempts {
            self.forks.pop();
        }
        next
    }

    fn count_again(&mut self, done: u32) {
        let effects = self.effects;
        match done & OPEN {
            0 => self.count(&effects.heard[done as usize], false, 1),
            _ => self.count(&effects.open[(done ^ OPEN) as usize], true, 1),
        }
    }

    /// Does one that is not open.
    fn take(&mut self, slot: u32) {
        let effects = self.effects;
        self.count(&effects.heard[slot as usize], false, -1);
        self.trail.push(slot);
        let place = slot - self.point.first;
        if place < WINDOW {
            self.point.done |= 1 << place;
        } else {
            self.is_too_wide = true;
        }
    }

    /// Goes past what is done at the front.
    fn advance(&mut self) {
        let done = self.point.done.trailing_ones();
        self.point.first += done;
        self.point.done = self.point.done.checked_shr(done).unwrap_or(0);
    }

    /// The first slot from `slot` on that is not done, if it was called by `until`.
    fn undone(&self, mut slot: u32, until: u64) -> Option<u32> {
        let place = slot - self.point.first;
        if place < WINDOW {
            slot += (self.point.done >> place).trailing_ones();
        }
        let next = self.effects.heard.get(slot as usize)?;
        (next.called <= until).then_some(slot)
    }

    /// Does all that changes nothing, and lists what else may come next: what no other, still to
    /// be done, has returned before.
    fn settle(&mut self) {
        self.candidates.clear();
        let (mut slot, mut until) = (self.point.first, u64::MAX);
        while let Some(next) = self.undone(slot, until) {
            let operation = &self.effects.heard[next as usize];
            if operation.leaves == SAME && operation.can(self.point.state) {
                self.take(next);
            } else {
                until = until.min(operation.returned);
                self.candidates.push(next);
            }
            slot = next + 1;
        }
        self.advance();
    }

    fn heard(&self, slot: u32) -> &'e Slot {
        &self.effects.heard[slot as usize]
    }

    /// Whether nobody will see what a write leaves.
    fn is_unseen(&self, slot: &Slot) -> bool {
        self.can_absorb && slot.is_blind() && self.demands[slot.leaves as usize].watched == 0
    }

    /// Lists what is to be tried here, the most promising last.
    fn propose(&mut self) {
        let candidates = std::mem::take(&mut self.candidates);
        let mut attempts = std::mem::take(&mut self.attempts);
        let from = attempts.len();
        let soonest = candidates.iter().map(|slot| self.heard(*slot));
        if let Some(last) = soonest.min_by_key(|slot| slot.returned)
            && !self.is_out_of_reach(last, &candidates)
        {
            let heard = candidates.iter().copied();
            attempts.extend(heard.filter(|slot| self.is_worth_trying(*slot, &candidates)));
            if self.is_unseen(last) {
                attempts.push(UNSEEN);
            }
            self.propose_open(last.returned, &candidates, &mut attempts);
        }
        if attempts.len() - from > 1 {
            attempts[from..].sort_by_key(|attempt| Reverse(self.rank(*attempt, &candidates)));
        }
        self.candidates = candidates;
        self.attempts = attempts;
    }

    /// Whether the operation that must be done soonest needs what nothing can lead to before.
    fn is_out_of_reach(&self, last: &Slot, candidates: &[u32]) -> bool {
        let Need::Is(needed) = last.need else {
            return false;
        };
        let open = self.effects.open.iter();
        let mut open = open.take_while(|slot| slot.called <= last.returned);
        needed != self.point.state
            && !candidates.iter().any(|c| self.heard(*c).leaves == needed)
            && !open.any(|slot| slot.leaves == needed)
    }

    fn is_worth_trying(&self, slot: u32, candidates: &[u32]) -> bool {
        let operation = self.heard(slot);
        // Of two that do the same, the one that must be done sooner comes first.
        let comes_before = |other: &u32| {
            let first = self.heard(*other);
            (first.returned, *other) < (operation.returned, slot) && first.is_like(operation)
        };
        operation.leaves != SAME
            && operation.can(self.point.state)
            && !self.is_unseen(operation)
            && !candidates.iter().any(comes_before)
    }

    /// Those that are open: the first of each kind, where something needs what it leaves.
    fn propose_open(&self, until: u64, candidates: &[u32], attempts: &mut Vec<u32>) {
        let open = &self.effects.open;
        let is_left = |place: usize| self.point.opened & 1 << place == 0;
        for (place, slot) in open.iter().enumerate() {
            if slot.called > until {
                break;
            }
            if !is_left(place) || !slot.can(self.point.state) || slot.leaves == self.point.state {
                continue;
            }
            let is_needed = |other: &Slot| match other.need {
                Need::Nothing => false,
                Need::Is(state) => state == slot.leaves,
                Need::IsNot(state) => state == self.point.state,
            };
            let others = open.iter().enumerate();
            let mut others = others.take_while(|(_, other)| other.called <= until);
            let is_of_use = candidates.iter().any(|c| is_needed(self.heard(*c)))
                || others.any(|(other, slot)| is_left(other) && is_needed(slot));
            let is_first = !(0..place).any(|other| is_left(other) && open[other].is_like(slot));
            if is_of_use && is_first {
                attempts.push(OPEN | place as u32);
            }
        }
    }

    /// What is tried first has the lowest: what leads to a state that is needed soonest.
    fn rank(&self, attempt: u32, candidates: &[u32]) -> (bool, u64) {
        let slots = || candidates.iter().map(|slot| self.heard(*slot));
        let own = match attempt {
            UNSEEN => return (true, 0),
            open if open & OPEN != 0 => &self.effects.open[(open ^ OPEN) as usize],
            slot => self.heard(slot),
        };
        let needing = slots().filter(|slot| slot.need == Need::Is(own.leaves));
        let soonest = needing.map(|slot| slot.returned).min();
        (soonest.is_none(), soonest.unwrap_or(own.returned))
    }

    /// Whether it was never here before.
    fn is_new(&mut self) -> bool {
        let Point {
            first,
            state,
            done,
            opened,
        } = self.point;
        // States that nothing tells from one another are one.
        let is_watched = self.demands[state as usize].watched > 0;
        let state = if is_watched { state } else { SAME };
        let place: Place = [
            u64::from(first + 1) << 32 | u64::from(state),
            done as u64,
            (done >> 64) as u64,
            opened,
        ];
        self.visited.insert(place)
    }

    /// Does what is tried, and what then need not be tried: whether it may lead to an end.
    fn attempt(&mut self, attempt: u32) -> bool {
        let before = self.point.state;
        if attempt == UNSEEN {
            let last = self.absorb();
            self.point.state = last.expect("it is tried where there is one");
        } else if attempt & OPEN != 0 {
            let effects = self.effects;
            let slot = &effects.open[(attempt ^ OPEN) as usize];
            if slot.is_blind() {
                self.absorb();
            }
            self.count(slot, true, -1);
            self.trail.push(attempt);
            self.point.opened |= 1 << (attempt ^ OPEN);
            self.point.state = slot.leaves;
        } else {
            let slot = self.heard(attempt);
            if slot.is_blind() {
                self.absorb();
            }
            return self.put_after(before, attempt);
        }
        self.goes_on_from(before)
    }

    fn put(&mut self, slot: u32) -> bool {
        self.put_after(self.point.state, slot)
    }

    fn put_after(&mut self, before: u32, slot: u32) -> bool {
        self.take(slot);
        self.point.state = self.heard(slot).leaves;
        self.goes_on_from(before)
    }

    /// Whether the state that was left may be left; if so, does what then changes nothing.
    fn goes_on_from(&mut self, before: u32) -> bool {
        let left = self.demands[before as usize];
        if before != self.point.state && left.needed > 0 && left.supplied == 0 {
            return false;
        }
        self.advance();
        self.settle();
        true
    }

    /// Does all writes that may come next and that nobody will see: what the last of them leaves.
    fn absorb(&mut self) -> Option<u32> {
        let mut last = None;
        if !self.can_absorb {
            return last;
        }
        let (mut slot, mut until) = (self.point.first, u64::MAX);
        let mut unseen = 0_u128;
        while let Some(next) = self.undone(slot, until) {
            let operation = self.heard(next);
            until = until.min(operation.returned);
            if self.is_unseen(operation) && next - self.point.first < WINDOW {
                unseen |= 1 << (next - self.point.first);
            }
            slot = next + 1;
        }
        while unseen != 0 {
            let next = self.point.first + unseen.trailing_zeros();
            last = Some(self.heard(next).leaves);
            self.take(next);
            unseen &= unseen - 1;
        }
        last
    }
}
