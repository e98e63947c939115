//! A call to a port: a plain request, with what travels beside it.

pub mod octets;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metadata::Metadata;
use crate::name::Name;
use crate::operation::Operation;
use crate::time::Instant;

/// What a port is asked, as plain data.
pub trait PortRequest: Clone + Send + Sync + 'static {
    /// What is asked for, such as `registry/list`.
    fn name(&self) -> &'static str;

    /// Whether asking twice is the same as asking once.
    fn is_idempotent(&self) -> bool;

    /// How long the port is asked to hold its answer back; zero unless it waits for a change.
    fn wait(&self) -> Duration;
}

/// A point in the history of one port. The default one is before every history.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Revision {
    /// Which incarnation of the port numbered it; never 0.
    pub epoch: u64,
    /// How many changes there had been.
    pub number: u64,
}

/// A fencing token: whoever is written to refuses one that is lower than it has seen under the
/// name. Tokens come from a lease, of which each new holder has a higher one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// What is fenced, such as the name of the lock.
    pub name: String,
    /// The token, at most 2^63 - 1: above, nobody could overtake.
    pub token: u64,
}

/// A request to a port on its way through layers.
#[derive(Clone, Debug)]
pub struct Call<Q> {
    /// What is asked.
    pub request: Q,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The pairs that travel with it.
    pub metadata: Metadata,
}

impl<Q> Call<Q> {
    /// A request that nothing travels with yet.
    pub const fn new(request: Q) -> Self {
        Self {
            request,
            deadline: None,
            metadata: Metadata::new(),
        }
    }
}

impl<Q: PortRequest> Operation for Call<Q> {
    fn name(&self) -> &str {
        self.request.name()
    }

    fn kept_name(&self) -> Name {
        Name::Static(self.request.name())
    }

    fn is_idempotent(&self) -> bool {
        self.request.is_idempotent()
    }

    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// A port is not a node: a backend that has several chooses among them itself.
    fn avoid(&mut self, _node: &Arc<str>) {}
}

/// Whole milliseconds: what a part of one is asked for is rounded down.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whole milliseconds that are no shorter: for what is waited for until a time, so that nobody
/// asks again and again in the last part of a millisecond.
pub(crate) fn millis_at_least(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
