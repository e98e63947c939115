//! What a workload asks of a node: one planned operation, as plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How late an operation may end after its deadline before it counts as unanswered.
///
/// A handler learns of its deadline from a timer, whose granularity is a millisecond or so, and
/// may pass through a few tasks before it returns.
pub const TOLERANCE: Duration = Duration::from_millis(20);

/// An operation that a node makes at its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOperation {
    /// Its number within the plan, from 1.
    pub id: u64,
    /// When, in virtual milliseconds since the start.
    pub at_ms: u64,
    /// The node that makes it.
    pub node: String,
    /// The workload it belongs to.
    pub workload: String,
    /// What it does, by a name the system knows.
    pub operation: String,
    /// The key it is about; 0 where the workload has no keys.
    pub key: u64,
    /// A number no other operation of the plan has, for operations that write.
    pub value: u64,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}
