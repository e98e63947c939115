//! What makes two failures one: the same checks found the same, whatever the seed, the nodes, the
//! keys and the times. Exploration counts by it, and shrinking keeps to it.

use std::collections::BTreeSet;
use std::fmt;

use super::{Reason, Verdict};

/// Checks that find many kinds of failure: here the words tell them apart.
const BY_WORDS: [&str; 4] = ["finished", "leaked", "node stopped", "task panicked"];

/// The most characters of one part: the words of a panic may be anybody's.
const PART_CHARS_MAX: usize = 160;

/// What a failed run has in common with others of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature(String);

impl Signature {
    /// The signature of a failure; none of a verdict that is none.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let Verdict::Fail(reasons) = verdict else {
            return None;
        };
        let parts: BTreeSet<String> = reasons.iter().map(part).collect();
        Some(Self(parts.into_iter().collect::<Vec<_>>().join("; ")))
    }

    /// The signature that was written as text.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether a check is among those that failed.
    pub fn is_of(&self, check: &str) -> bool {
        self.0.split("; ").any(|part| part == check)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn part(reason: &Reason) -> String {
    let Reason { check, what, .. } = reason;
    match BY_WORDS.contains(&check.as_str()) && !what.starts_with("and ") {
        true => format!("{check}: {}", without_numbers(what)),
        false => check.clone(),
    }
}

/// A text with `#` in place of what begins with a digit, fractions and hexadecimal digits with it.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        if next.is_ascii_digit() {
            out.push('#');
            while rest.next_if(|c| c.is_alphanumeric() || *c == '.').is_some() {}
        } else {
            out.push(next);
        }
    }
    out.chars().take(PART_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(reasons: &[(&str, &str)]) -> Signature {
        let reason = |(check, what): &(&str, &str)| Reason::new(*check, *what);
        Signature::of(&Verdict::Fail(reasons.iter().map(reason).collect())).unwrap()
    }

    #[test]
    fn nodes_times_and_order_do_not_tell_failures_apart_but_panics_do() {
        let one = failure(&[
            ("no addition is lost", "counter-1: versions 4 and 7"),
            (
                "task panicked",
                "server-1 at 3.204 s, task echo: index 4 of 3",
            ),
        ]);
        let other = failure(&[
            (
                "task panicked",
                "server-2 at 11.9 s, task echo: index 9 of 8",
            ),
            ("no addition is lost", "counter-2: versions 5 and 6"),
            ("no addition is lost", "and 3 more"),
        ]);
        assert_eq!(one, other);
        assert_eq!(
            one.as_str(),
            "no addition is lost; task panicked: server-# at # s, task echo: index # of #"
        );
        let third = failure(&[("task panicked", "server-1 at 3.204 s, task echo: no reply")]);
        assert_ne!(one, third);
        assert_eq!(Signature::of(&Verdict::Pass), None);
        assert!(one.is_of("no addition is lost") && !one.is_of("no addition"));
    }
}
