//! What a call is: the words that client, server and wire share.
//!
//! An [`Rpc`] is a tower service from [`Request`] to [`Response`], whatever stands behind it: a
//! [`Router`], a connection, a balanced cluster of nodes, or any of these under
//! layers. So a client can be handed a server with no wire between them.

pub mod body;
pub mod deadline;
pub mod handler;
pub mod messages;
pub mod method;
pub mod router;
pub mod wire;

use std::sync::Arc;

use thin_vec::ThinVec;

pub use body::Body;
pub use handler::{Call, Reply};
pub use messages::{Incoming, Outgoing};
pub use method::Method;
pub use router::Router;

use crate::metadata::Metadata;
use crate::name::Name;
use crate::operation::Operation;
use crate::service::AnyService;
use crate::time::Instant;

/// Anything that answers calls.
pub type Rpc = AnyService<Request, Response>;

/// A call: where to, until when, and the messages.
#[derive(Debug)]
pub struct Request {
    /// The method, as `service/method`.
    pub path: Name,
    /// The content type of the messages, both ways.
    pub content_type: Name,
    /// What travels with the call.
    pub metadata: Metadata,
    /// When the caller stops waiting, on the clock of this host.
    pub deadline: Option<Instant>,
    /// When it began, where a client's stack has looked at the clock just now. Whoever holds it
    /// back afterwards sets it to `None`; every stack that it comes to forgets it.
    pub begun: Option<Instant>,
    /// Whether doing it twice is the same as doing it once.
    pub is_idempotent: bool,
    /// Whether it has one message each way, so that it has ended when its answer begins.
    pub is_unary: bool,
    /// What the call is about, for selectors that send one key to one node.
    pub key: Option<u64>,
    /// The nodes that have failed this call, to be passed over.
    pub avoid: ThinVec<Arc<str>>,
    /// The messages.
    pub body: Body,
}

impl Request {
    /// A call of a path with a body; no deadline, no metadata, not idempotent.
    pub fn new(path: impl Into<Name>, content_type: impl Into<Name>, body: Body) -> Self {
        Self {
            path: path.into(),
            content_type: content_type.into(),
            metadata: Metadata::new(),
            deadline: None,
            begun: None,
            is_idempotent: false,
            is_unary: false,
            key: None,
            avoid: ThinVec::new(),
            body,
        }
    }
}

impl Operation for Request {
    fn name(&self) -> &str {
        &self.path
    }

    fn kept_name(&self) -> Name {
        self.path.clone()
    }

    fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    fn try_clone(&self) -> Option<Self> {
        Some(Self {
            path: self.path.clone(),
            content_type: self.content_type.clone(),
            metadata: self.metadata.clone(),
            deadline: self.deadline,
            begun: None,
            is_idempotent: self.is_idempotent,
            is_unary: self.is_unary,
            key: self.key,
            avoid: self.avoid.clone(),
            body: self.body.try_clone()?,
        })
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    fn begun(&self) -> Option<Instant> {
        self.begun
    }

    fn set_begun(&mut self, begun: Option<Instant>) {
        self.begun = begun;
    }

    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    fn avoid(&mut self, node: &Arc<str>) {
        if !self.avoid.contains(node) {
            self.avoid.push(Arc::clone(node));
        }
    }
}

/// An answer: what travels with it, and the messages. A failure is an error instead, or an error
/// that ends the body.
#[derive(Debug, Default)]
pub struct Response {
    /// What travels with the answer, ahead of the messages.
    pub metadata: Metadata,
    /// The messages.
    pub body: Body,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is longer is moved by a function call, some thirty times in a call of ours.
    #[test]
    fn a_request_is_moved_by_a_few_instructions() {
        assert!(size_of::<Request>() <= 128, "{}", size_of::<Request>());
    }
}
