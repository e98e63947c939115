//! What a service says of itself while it runs: what always holds, what sometimes happens, what is
//! reached and what never is.
//!
//! ```
//! # let (token, newest, is_retried) = (7, 7, true);
//! nitro::always!(token <= newest, "no token is newer than the newest", "{token} after {newest}");
//! nitro::sometimes!(is_retried, "a call is tried again");
//! ```
//!
//! A point is a tracing event of the level TRACE under the target [`TARGET`]: where nobody listens
//! for it, it costs a load and a branch, and what it asks is not even looked at. A simulated run
//! listens. There, what must always hold and does not fails the run, and an exploration tells which
//! points no seed has reached: a test that never gets to the interesting place proves little.
//!
//! A point is known by its module and name, so a name is given once in a module.

use serde::{Deserialize, Serialize};

#[doc(hidden)]
pub use linkme;
#[doc(hidden)]
pub use tracing;

/// The target of the tracing events.
pub const TARGET: &str = "nitro::assertion";

/// What a point says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It holds each time.
    Always,
    /// It holds at least once, in some run.
    Sometimes,
    /// It is come by, in some run.
    Reachable,
    /// It is never come by.
    Unreachable,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [
        Kind::Always,
        Kind::Sometimes,
        Kind::Reachable,
        Kind::Unreachable,
    ];

    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Kind::Always => "always",
            Kind::Sometimes => "sometimes",
            Kind::Reachable => "reachable",
            Kind::Unreachable => "unreachable",
        }
    }

    /// The one of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A point of the program, whether or not it is ever come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// What it says.
    pub kind: Kind,
    /// Its name: a sentence, the same in every run.
    pub name: &'static str,
    /// The module it stands in.
    pub module: &'static str,
    /// The file it stands in.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
}

/// The points of the whole program, which the linker puts side by side: constant, and in no order.
#[doc(hidden)]
#[linkme::distributed_slice]
pub static POINTS: [Point];

/// The points of the whole program, in the order of their modules.
pub fn points() -> Vec<Point> {
    let mut points = POINTS.to_vec();
    points.sort_by_key(|point| (point.module, point.kind, point.name, point.line));
    points
}

/// Says that something holds each time that this is come by: a run in which it does not, fails.
/// What follows the name tells, as in `format!`, what was found instead.
#[macro_export]
macro_rules! always {
    ($holds:expr, $name:literal $(,)?) => {
        $crate::__point!(Always, $holds, $name, "")
    };
    ($holds:expr, $name:literal, $($found:tt)+) => {
        $crate::__point!(Always, $holds, $name, $($found)+)
    };
}

/// Says that something holds at least once in some run: an exploration tells where it never does.
#[macro_export]
macro_rules! sometimes {
    ($holds:expr, $name:literal $(,)?) => {
        $crate::__point!(Sometimes, $holds, $name, "")
    };
}

/// Says that some run comes by here: an exploration tells where none does.
#[macro_export]
macro_rules! reachable {
    ($name:literal $(,)?) => {
        $crate::__point!(Reachable, true, $name, "")
    };
}

/// Says that no run comes by here: one that does, fails. Unlike the macro of std it goes on, as a
/// service must that would rather answer with an error.
#[macro_export]
macro_rules! unreachable {
    ($name:literal $(,)?) => {
        $crate::__point!(Unreachable, false, $name, "")
    };
    ($name:literal, $($found:tt)+) => {
        $crate::__point!(Unreachable, false, $name, $($found)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __point {
    ($(#[$attribute:meta])* $kind:ident, $holds:expr, $name:literal, $($found:tt)+) => {{
        $(#[$attribute])*
        #[$crate::assertion::linkme::distributed_slice($crate::assertion::POINTS)]
        #[linkme(crate = $crate::assertion::linkme)]
        static POINT: $crate::assertion::Point = $crate::assertion::Point {
            kind: $crate::assertion::Kind::$kind,
            name: $name,
            module: ::core::module_path!(),
            file: ::core::file!(),
            line: ::core::line!(),
        };
        $crate::assertion::tracing::event!(
            target: $crate::assertion::TARGET,
            $crate::assertion::tracing::Level::TRACE,
            kind = POINT.kind.word(),
            name = POINT.name,
            module = POINT.module,
            holds = $holds,
            found = %::core::format_args!($($found)+),
        )
    }};
}

/// A point of nitro itself, where the lint sees what another crate's macro may do: that the linker
/// is told where to put a constant.
macro_rules! point {
    ($kind:ident, $holds:expr, $name:literal) => {
        $crate::__point!(
            #[allow(unsafe_code, reason = "a section for the linker")]
            $kind,
            $holds,
            $name,
            ""
        )
    };
}
pub(crate) use point;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_point_is_known_though_nobody_came_by_and_asks_nothing_where_nobody_listens() {
        let asked = Cell::new(false);
        let ask = || {
            asked.set(true);
            true
        };
        point!(Always, ask(), "nobody asks");
        if asked.get() {
            point!(Reachable, true, "nobody comes by");
        }
        assert!(!asked.get());
        for name in ["nobody asks", "nobody comes by"] {
            let known = points().into_iter().find(|point| point.name == name);
            let known = known.expect("the linker has it");
            assert_eq!(known.module, module_path!());
            assert!(known.file.ends_with("assertion.rs") && known.line > 0);
        }
    }

    #[test]
    fn a_kind_is_its_word() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.word()), Some(kind));
        }
        assert_eq!(Kind::of("often"), None);
    }

    #[test]
    fn no_two_points_of_a_module_have_one_name() {
        let points = points();
        for pair in points.windows(2) {
            assert_ne!(
                (pair[0].module, pair[0].name),
                (pair[1].module, pair[1].name)
            );
        }
    }
}
