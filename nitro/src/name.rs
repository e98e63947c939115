//! Short text that is mostly known when the program is built: paths, content types, node ids.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Text that is cheap to clone: static, or shared.
#[derive(Clone)]
pub enum Name {
    /// Known when the program was built.
    Static(&'static str),
    /// Learned at run time. One word, as names are a good part of what every call moves about.
    Shared(Arc<Box<str>>),
}

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Name::Static(text) => text,
            Name::Shared(text) => text,
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Name {
    fn from(text: &'static str) -> Self {
        Name::Static(text)
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Name::Shared(Arc::new(text.into_boxed_str()))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        let (own, other) = (self.as_str(), other.as_str());
        // Most that are equal are one and the same: then there is nothing to compare.
        std::ptr::eq(own, other) || own == other
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
