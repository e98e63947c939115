//! Where two traces part: the first event that differs, with both sides.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Event, Trace};

/// The first difference of two traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The index of the first event that differs, from 0.
    pub index: usize,
    /// The event of the first trace; none where it had ended.
    pub left: Option<Event>,
    /// The event of the second trace; none where it had ended.
    pub right: Option<Event>,
}

impl Trace {
    /// Where this trace and another part; none when they are equal.
    pub fn first_difference(&self, other: &Trace) -> Option<Difference> {
        if self.bytes == other.bytes {
            return None;
        }
        let longest = self.events().len().max(other.events().len());
        let index =
            (0..longest).find(|&index| self.events().get(index) != other.events().get(index))?;
        Some(Difference {
            index,
            left: self.events().get(index).cloned(),
            right: other.events().get(index).cloned(),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |event: &Option<Event>| match event {
            Some(event) => event.line(),
            None => "the trace has ended".to_owned(),
        };
        writeln!(f, "event {} differs", self.index)?;
        writeln!(f, "    one:   {}", side(&self.left))?;
        write!(f, "    other: {}", side(&self.right))
    }
}
