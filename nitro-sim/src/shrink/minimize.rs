//! Delta debugging: of many things, the few without any one of which a test no longer holds.
//!
//! Source: Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", IEEE TSE
//! 28(2), 2002: `ddmin`. It differs in two places, both to spare tests: after a part could be left
//! out it goes on with the next one rather than with the first, and parts alone are tried only
//! while they are large.

/// Parts are tried alone up to this many: smaller ones hardly ever hold all that is needed.
const ALONE_MOST: usize = 4;

/// The few of `items` for which `holds`, and without any one of which it does not, if it holds for
/// all of them. It is asked with what would be left, in its order.
pub(super) fn minimize<T: Clone>(items: Vec<T>, mut holds: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if items.is_empty() || holds(&[]) {
        return Vec::new();
    }
    let mut left = items;
    let mut parts = 2.min(left.len());
    while left.len() > 1 {
        if parts <= ALONE_MOST
            && let Some(part) = alone(&left, parts, &mut holds)
        {
            left = part;
            parts = 2.min(left.len());
            continue;
        }
        // Of two parts, one without the other has just been tried.
        if parts > 2 {
            leave_out(&mut left, &mut parts, &mut holds);
        }
        if parts >= left.len() {
            break;
        }
        parts = (parts * 2).min(left.len());
    }
    left
}

fn alone<T: Clone>(
    left: &[T],
    parts: usize,
    holds: &mut impl FnMut(&[T]) -> bool,
) -> Option<Vec<T>> {
    let mut ranges = (0..parts).map(|part| range(left.len(), parts, part));
    let found = ranges.find(|range| holds(&left[range.clone()]))?;
    Some(left[found].to_vec())
}

/// Leaves out one part after the other, until none of those that are left can be.
fn leave_out<T: Clone>(left: &mut Vec<T>, parts: &mut usize, holds: &mut impl FnMut(&[T]) -> bool) {
    let (mut part, mut refused) = (0, 0);
    while refused < *parts && *parts > 1 {
        let range = range(left.len(), *parts, part % *parts);
        let without = [&left[..range.start], &left[range.end..]].concat();
        if holds(&without) {
            *left = without;
            *parts -= 1;
            refused = 0;
            // The next part now stands where this one stood.
            part %= *parts + 1;
        } else {
            refused += 1;
            part += 1;
        }
    }
}

/// Where one of so many nearly equal parts of a list lies.
fn range(length: usize, parts: usize, part: usize) -> std::ops::Range<usize> {
    length * part / parts..length * (part + 1) / parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is left of 0..`all` when the test holds for lists with all of `needed`, and how many
    /// tests it took.
    fn needles(all: u32, needed: &[u32]) -> (Vec<u32>, u32) {
        let mut tests = 0;
        let left = minimize((0..all).collect(), |left| {
            tests += 1;
            needed.iter().all(|needle| left.contains(needle))
        });
        (left, tests)
    }

    #[test]
    fn what_is_not_needed_at_all_goes_in_one_test() {
        assert_eq!(needles(1000, &[]), (vec![], 1));
        assert_eq!(needles(0, &[]), (vec![], 0));
        assert_eq!(needles(1, &[0]).0, [0]);
    }

    #[test]
    fn a_few_of_many_are_found_in_few_tests() {
        let (left, tests) = needles(512, &[17, 300, 301]);
        assert_eq!(left, [17, 300, 301]);
        assert!(tests < 100, "{tests}");
        let (left, tests) = needles(4000, &[3999]);
        assert_eq!(left, [3999]);
        assert!(tests < 40, "{tests}");
    }

    #[test]
    fn all_of_them_are_kept_where_all_are_needed() {
        let all: Vec<u32> = (0..32).collect();
        let (left, tests) = needles(32, &all);
        assert_eq!(left, all);
        assert!(tests < 80, "{tests}");
    }

    proptest! {
        /// Whatever the test, even one that a smaller list passes and a larger one does not.
        #[test]
        fn what_is_left_holds_and_without_any_one_of_it_does_not(
            count in 1usize..24, salt: u64, share in 1u64..8,
        ) {
            let all: Vec<usize> = (0..count).collect();
            let holds = |left: &[usize]| {
                let whole = left.len() == count;
                let bits = left.iter().fold(salt, |bits, item| {
                    (bits ^ *item as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
                });
                whole || bits % 8 < share
            };
            let left = minimize(all, holds);
            prop_assert!(holds(&left));
            for one in 0..left.len() {
                let without = [&left[..one], &left[one + 1..]].concat();
                prop_assert!(!holds(&without), "{:?} without its {}th", left, one);
            }
        }
    }
}
