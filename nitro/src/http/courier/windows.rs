//! How many messages may be on their way to each member: a few at first, twice as many each time
//! that it acknowledges one, half as many when it does not take one. So a member that is slow or
//! away has little, and what it does not take the others have. Those that it must have taken,
//! because it would have said by now that it has not, do not count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::Receipt;
use crate::http::inbox::TAKE_WAIT;
use crate::http::members::Member;
use crate::time::Instant;

/// Messages on their way to a member that has not acknowledged any.
const WINDOW_FIRST: usize = 2;

/// Messages on their way to one member or taken by it, at most.
const WINDOW_MAX: usize = 32;

/// When a message counts as taken of which nothing was heard.
const TAKEN_AFTER: Duration = TAKE_WAIT.saturating_add(Duration::from_millis(500));

struct Window {
    member: Member,
    size: usize,
    /// What is out, and since when.
    out: BTreeMap<Receipt, Instant>,
    not_before: Instant,
    failures: u32,
}

#[derive(Default)]
pub(super) struct Windows {
    windows: Vec<Window>,
    next: usize,
}

impl Windows {
    /// Takes over who is there now.
    pub(super) fn follow(&mut self, members: &[Member]) {
        self.windows
            .retain(|window| members.contains(&window.member));
        for member in members {
            if !self.windows.iter().any(|window| window.member == *member) {
                self.windows.push(Window {
                    member: member.clone(),
                    size: WINDOW_FIRST,
                    out: BTreeMap::new(),
                    not_before: Instant::ORIGIN,
                    failures: 0,
                });
            }
        }
    }

    /// How many messages can be sent on their way now.
    pub(super) fn room(&self, now: Instant) -> usize {
        self.windows.iter().map(|window| window.room(now)).sum()
    }

    /// When there may be more room by itself.
    pub(super) fn next_change(&self, now: Instant) -> Option<Instant> {
        let waiting = self.windows.iter().map(|one| one.not_before);
        let out = self.windows.iter().flat_map(|one| one.out.values());
        let taken = out.map(|since| *since + TAKEN_AFTER);
        waiting.chain(taken).filter(|at| *at > now).min()
    }

    /// The next member with room for a message, another than `avoid` if there is one.
    pub(super) fn choose(
        &mut self,
        receipt: Receipt,
        now: Instant,
        avoid: Option<&Arc<str>>,
    ) -> Option<Member> {
        let count = self.windows.len();
        let order = (0..count).map(|step| (self.next + step) % count);
        let is_ready = |at: &usize| self.windows[*at].room(now) > 0;
        let mut ready = order.filter(is_ready).peekable();
        let first = ready.peek().copied()?;
        let other = ready.find(|at| Some(&self.windows[*at].member.id) != avoid);
        let chosen = other.unwrap_or(first);
        self.next = (chosen + 1) % count;
        self.windows[chosen].out.insert(receipt, now);
        Some(self.windows[chosen].member.clone())
    }

    /// The window of a member that has a message no more.
    fn ended_at(&mut self, member: &str, receipt: Receipt) -> Option<&mut Window> {
        let mut windows = self.windows.iter_mut();
        let window = windows.find(|window| &*window.member.id == member)?;
        window.out.remove(&receipt);
        Some(window)
    }

    /// A member has acknowledged a message.
    pub(super) fn went_well(&mut self, member: &str, receipt: Receipt) {
        if let Some(window) = self.ended_at(member, receipt) {
            window.size = (window.size * 2).min(WINDOW_MAX);
            window.failures = 0;
        }
    }

    /// A member has had a message, and it did not go well.
    pub(super) fn ended(&mut self, member: &str, receipt: Receipt) {
        if let Some(window) = self.ended_at(member, receipt) {
            window.failures = 0;
        }
    }

    /// A member takes nothing now: it is left alone for a while.
    pub(super) fn not_taken(
        &mut self,
        (member, receipt): (&str, Receipt),
        now: Instant,
        delay: Option<Duration>,
        backoff: impl Fn(u32) -> Duration,
    ) {
        if let Some(window) = self.ended_at(member, receipt) {
            window.size = (window.size / 2).max(1);
            // Several that were on their way at once say the same thing once.
            if window.not_before <= now {
                window.failures += 1;
                window.not_before = now + delay.unwrap_or_else(|| backoff(window.failures));
            }
        }
    }
}

impl Window {
    fn room(&self, now: Instant) -> usize {
        if self.not_before > now {
            return 0;
        }
        let is_on_its_way = |since: &&Instant| **since + TAKEN_AFTER > now;
        let on_their_way = self.out.values().filter(is_on_its_way).count();
        let room = self.size.saturating_sub(on_their_way);
        room.min(WINDOW_MAX.saturating_sub(self.out.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn members(names: &[&str]) -> Vec<Member> {
        let member = |name: &&str| Member {
            id: (*name).into(),
            address: Address::tcp(*name, 1),
            path: "/".into(),
        };
        names.iter().map(member).collect()
    }

    fn receipt(number: u64) -> Receipt {
        Receipt { number, claim: 1 }
    }

    fn chosen(windows: &mut Windows, number: u64, avoid: Option<&str>) -> Option<String> {
        let avoid = avoid.map(Arc::from);
        let member = windows.choose(receipt(number), Instant::ORIGIN, avoid.as_ref());
        member.map(|member| member.id.to_string())
    }

    #[test]
    fn members_take_turns_and_one_that_failed_is_passed_over_while_there_are_others() {
        let mut windows = Windows::default();
        windows.follow(&members(&["a", "b"]));
        for (number, expected) in [(1, "b"), (2, "b"), (3, "a"), (4, "a")] {
            assert_eq!(chosen(&mut windows, number, Some("a")).unwrap(), expected);
        }
        assert_eq!(chosen(&mut windows, 5, None), None);
        windows.went_well("b", receipt(1));
        assert_eq!(windows.room(Instant::ORIGIN), 3);
        windows.follow(&members(&["a"]));
        assert_eq!(windows.room(Instant::ORIGIN), 0);
    }

    #[test]
    fn who_takes_nothing_is_left_alone_for_a_while_that_grows() {
        let mut windows = Windows::default();
        windows.follow(&members(&["a"]));
        let backoff = |failures: u32| Duration::from_secs(failures.into());
        let mut now = Instant::ORIGIN;
        for failures in 1..4 {
            assert!(windows.choose(receipt(1), now, None).is_some());
            windows.not_taken(("a", receipt(1)), now, None, backoff);
            assert_eq!(windows.room(now), 0);
            let at = windows.next_change(now).unwrap();
            assert_eq!(at, now + Duration::from_secs(failures));
            now = at;
            assert_eq!(windows.room(now), 1);
        }
        windows.choose(receipt(1), now, None);
        let delay = Some(Duration::from_secs(9));
        windows.not_taken(("a", receipt(1)), now, delay, backoff);
        let at = windows.next_change(now).unwrap();
        assert_eq!(at, now + Duration::from_secs(9));
    }

    #[test]
    fn what_must_have_been_taken_makes_room_for_more_up_to_a_bound() {
        let mut windows = Windows::default();
        windows.follow(&members(&["a"]));
        let mut now = Instant::ORIGIN;
        for number in 0..WINDOW_MAX as u64 {
            if windows.room(now) == 0 {
                now = windows.next_change(now).unwrap();
            }
            windows.choose(receipt(number), now, None).unwrap();
        }
        assert!(now >= Instant::ORIGIN + TAKEN_AFTER * (WINDOW_MAX / WINDOW_FIRST - 1) as u32);
        now += TAKEN_AFTER * 2;
        assert_eq!(windows.room(now), 0);
    }
}
