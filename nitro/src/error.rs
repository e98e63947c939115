//! What went wrong: one error type, with the canonical status kinds of gRPC.
//!
//! Callers decide by [`Error::kind`], [`Error::is_retryable`] and [`Error::is_unsent`],
//! never by the text.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An error of any layer, as tower middleware passes it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A result whose error is nitro's own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The canonical status kinds, with the numbers of
/// [gRPC](https://grpc.github.io/grpc/core/md_doc_statuscodes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// The caller gave up.
    Cancelled = 1,
    /// No other kind fits.
    Unknown = 2,
    /// The input is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The time limit passed first.
    DeadlineExceeded = 4,
    /// The thing asked for does not exist.
    NotFound = 5,
    /// The thing to create exists.
    AlreadyExists = 6,
    /// The caller is known and may not.
    PermissionDenied = 7,
    /// A quota or a size limit is used up.
    ResourceExhausted = 8,
    /// The system is not in the state the call needs.
    FailedPrecondition = 9,
    /// A concurrent change got in the way.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// The method is not served here.
    Unimplemented = 12,
    /// A bug, on whichever side.
    Internal = 13,
    /// The service cannot be had now; another node or a later try may do.
    Unavailable = 14,
    /// Data is lost or corrupt.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Kind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Kind; 16] = [
        Kind::Cancelled,
        Kind::Unknown,
        Kind::InvalidArgument,
        Kind::DeadlineExceeded,
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::PermissionDenied,
        Kind::ResourceExhausted,
        Kind::FailedPrecondition,
        Kind::Aborted,
        Kind::OutOfRange,
        Kind::Unimplemented,
        Kind::Internal,
        Kind::Unavailable,
        Kind::DataLoss,
        Kind::Unauthenticated,
    ];

    /// The number that stands for it on the wire, 1 to 16.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The kind of a number; numbers out of range are [`Kind::Unknown`].
    pub fn from_code(code: u8) -> Kind {
        Kind::ALL
            .get(usize::from(code).wrapping_sub(1))
            .copied()
            .unwrap_or(Kind::Unknown)
    }

    /// The name in words, as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cancelled => "cancelled",
            Kind::Unknown => "unknown",
            Kind::InvalidArgument => "invalid argument",
            Kind::DeadlineExceeded => "deadline exceeded",
            Kind::NotFound => "not found",
            Kind::AlreadyExists => "already exists",
            Kind::PermissionDenied => "permission denied",
            Kind::ResourceExhausted => "resource exhausted",
            Kind::FailedPrecondition => "failed precondition",
            Kind::Aborted => "aborted",
            Kind::OutOfRange => "out of range",
            Kind::Unimplemented => "unimplemented",
            Kind::Internal => "internal",
            Kind::Unavailable => "unavailable",
            Kind::DataLoss => "data loss",
            Kind::Unauthenticated => "unauthenticated",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A machine-readable fact about an error, such as `reason = overloaded`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// What the fact is about.
    pub name: String,
    /// The fact.
    pub value: String,
}

/// The error of every port, layer and call.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    kind: Kind,
    message: Cow<'static, str>,
    details: Vec<Detail>,
    unsent: bool,
    node: Option<Arc<str>>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with a message for people.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            kind,
            message: message.into(),
            details: Vec::new(),
            unsent: false,
            node: None,
            source: None,
        }))
    }

    /// The kind, by which callers decide.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The message, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Machine-readable facts, in the order they were added.
    pub fn details(&self) -> &[Detail] {
        &self.0.details
    }

    /// The value of the first detail of this name.
    pub fn detail(&self, name: &str) -> Option<&str> {
        let found = self.0.details.iter().find(|detail| detail.name == name)?;
        Some(&found.value)
    }

    /// The id of the node that answered so, or could not be reached.
    pub fn node(&self) -> Option<&Arc<str>> {
        self.0.node.as_ref()
    }

    /// Whether another node, or a later try, may do what this one could not.
    ///
    /// Says nothing of whether repeating is safe: see [`Error::is_unsent`].
    pub fn is_retryable(&self) -> bool {
        self.0.kind == Kind::Unavailable
    }

    /// Whether it is certain that no handler saw the call, so that any call may be repeated.
    pub fn is_unsent(&self) -> bool {
        self.0.unsent
    }

    /// The same error, with a fact added.
    pub fn with_detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.0.details.push(Detail { name, value });
        self
    }

    /// The same error, with the cause it came from.
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error, marked as certain not to have reached a handler.
    pub fn unsent(mut self) -> Self {
        self.0.unsent = true;
        self
    }

    /// The same error from a handler: it is no longer certain that nothing was done, whatever the
    /// handler was told by those it called.
    pub fn seen(mut self) -> Self {
        self.0.unsent = false;
        self
    }

    /// The same error, naming the node it came from, unless it names one already.
    pub fn at_node(mut self, node: &Arc<str>) -> Self {
        self.0.node.get_or_insert_with(|| Arc::clone(node));
        self
    }
}

/// Constructors by kind: `Error::not_found("…")` is `Error::new(Kind::NotFound, "…")`.
macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<Cow<'static, str>>) -> Self {
                    Self::new(Kind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    cancelled => Cancelled,
    unknown => Unknown,
    invalid_argument => InvalidArgument,
    deadline_exceeded => DeadlineExceeded,
    not_found => NotFound,
    already_exists => AlreadyExists,
    permission_denied => PermissionDenied,
    resource_exhausted => ResourceExhausted,
    failed_precondition => FailedPrecondition,
    aborted => Aborted,
    out_of_range => OutOfRange,
    unimplemented => Unimplemented,
    internal => Internal,
    unavailable => Unavailable,
    data_loss => DataLoss,
    unauthenticated => Unauthenticated,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        if let Some(node) = &self.0.node {
            write!(f, " (node {node})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind);
        out.field("message", &self.0.message);
        if !self.0.details.is_empty() {
            out.field("details", &self.0.details);
        }
        if self.0.unsent {
            out.field("unsent", &true);
        }
        if let Some(node) = &self.0.node {
            out.field("node", node);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.0.source.as_ref()?;
        Some(&**source)
    }
}

/// A layer of tower's own passes its errors boxed: nitro's come out as they went in, and a
/// stranger's becomes [`Kind::Unknown`] with the stranger as its source.
impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::unknown(other.to_string()).with_source(other),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::PermissionDenied => Kind::PermissionDenied,
            ErrorKind::AlreadyExists | ErrorKind::AddrInUse => Kind::AlreadyExists,
            ErrorKind::InvalidInput => Kind::InvalidArgument,
            ErrorKind::InvalidData => Kind::DataLoss,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => {
                Kind::ResourceExhausted
            }
            ErrorKind::Unsupported => Kind::Unimplemented,
            _ => Kind::Unavailable,
        };
        Error::new(kind, error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_kinds_agree_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_code(kind.code()), kind);
        }
        assert_eq!(Kind::from_code(0), Kind::Unknown);
        assert_eq!(Kind::from_code(17), Kind::Unknown);
    }

    #[test]
    fn an_error_comes_out_of_a_box_as_it_went_in() {
        let boxed: BoxError = Box::new(Error::aborted("a write won").with_detail("key", "k"));
        let back = Error::from(boxed);
        assert_eq!(back.kind(), Kind::Aborted);
        assert_eq!(back.detail("key"), Some("k"));
    }

    #[test]
    fn a_stranger_in_a_box_is_kept_as_source() {
        let boxed: BoxError = "no such thing".into();
        let back = Error::from(boxed);
        assert_eq!(back.kind(), Kind::Unknown);
        assert!(back.source().is_some());
    }
}
