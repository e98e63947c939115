//! One thing that happened, at a virtual time, on a node.

use std::sync::Arc;

use nitro::assertion;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Phase;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Virtual microseconds since the start of the run.
    pub at_us: u64,
    /// Where it happened; none for what is done to the cluster from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// The node started.
    NodeStarted {
        /// How many times it has now started.
        incarnation: u32,
    },
    /// The node crashed.
    NodeCrashed,
    /// The node's role returned, panicked or failed.
    NodeStopped {
        /// Why, when it did not return of its own accord.
        error: Option<String>,
    },
    /// A task of the node panicked.
    TaskPanicked {
        /// The task's name.
        task: String,
        /// The panic's message.
        message: String,
    },
    /// A fault began or ended.
    Fault {
        /// The fault's id.
        fault: String,
        /// Whether it began or ended.
        phase: Phase,
        /// What it is, in words.
        what: String,
    },
    /// The node opens a stream.
    Connect {
        /// The other end.
        to: Arc<str>,
    },
    /// The stream is open.
    Connected {
        /// The other end.
        to: Arc<str>,
    },
    /// The stream could not be opened.
    ConnectFailed {
        /// The other end.
        to: Arc<str>,
        /// The kind of the error.
        error: String,
    },
    /// The node accepted a stream.
    Accepted {
        /// The other end.
        from: Arc<str>,
    },
    /// An open stream broke.
    Broken {
        /// The other end.
        peer: Arc<str>,
        /// The kind of the error.
        error: String,
    },
    /// Bytes on their way between nodes, at the time and on the node that sends them. On the
    /// engine `turmoil` a datagram is recorded when it comes to its receiver.
    Message {
        /// The sender.
        from: Arc<str>,
        /// The receiver.
        to: Arc<str>,
        /// How many.
        bytes: u64,
        /// What became of them.
        outcome: MessageOutcome,
    },
    /// The node reads the first bytes of a message. One that was never read has no such event.
    Received {
        /// The message, by the place of its [`EventKind::Message`] among the events, from 0.
        message: u64,
    },
    /// The node makes an operation.
    Call {
        /// The operation's id.
        operation: u64,
        /// Its name.
        name: String,
        /// Its key.
        key: u64,
        /// Its value.
        value: u64,
    },
    /// An operation ended, or will never.
    Outcome {
        /// The operation's id.
        operation: u64,
        /// How it ended.
        #[serde(flatten)]
        outcome: OperationOutcome,
    },
    /// A line of the node's log.
    Log {
        /// Its level.
        level: LogLevel,
        /// The module it comes from.
        target: String,
        /// The line.
        message: String,
    },
    /// A fact that the system recorded.
    Note {
        /// What it is about.
        name: String,
        /// The fact.
        value: Value,
    },
    /// The node comes by a point of the program, as the first in the run to find that it holds, or
    /// that it does not.
    Point {
        /// What the point says.
        says: assertion::Kind,
        /// Whether it holds.
        holds: bool,
        /// The point's name.
        name: String,
        /// The module it stands in.
        module: String,
        /// What was found, in words; nothing where they are not given.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        found: String,
    },
    /// The node plays a trick.
    Trick {
        /// Where, by name.
        site: String,
    },
    /// At the end of the run: what was left of the node after it had stopped.
    Leaked {
        /// The tasks, by name.
        task: String,
        /// How many.
        count: u64,
    },
    /// At the end of the run: how much a fault touched.
    Touched {
        /// The fault's id.
        fault: String,
        /// How many messages, connections or nodes.
        count: u64,
    },
}

/// What became of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageOutcome {
    /// They went at once.
    Sent,
    /// They go later, for extra latency or because they are sent again after a loss.
    Delayed,
    /// They wait until the link opens.
    Held,
    /// They are gone.
    Dropped,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum OperationOutcome {
    /// It succeeded.
    Ok {
        /// What it answered.
        reply: Value,
    },
    /// It failed.
    Failed {
        /// The kind of the error.
        kind: String,
        /// The error's message.
        message: String,
    },
    /// It did not return by its deadline and the tolerance.
    Unfinished,
    /// Its node crashed while it was under way.
    Crashed,
    /// Its node was down when it was due, so it was never made.
    Skipped,
}

/// The level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warn,
    /// Something worth knowing.
    Info,
}

impl Event {
    /// It as a JSON line, without the line break: what a trace file has of it.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("an event holds only what JSON can")
    }
}
