//! One thing that happened, at a virtual time, on a node.

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
    pub node: Option<String>,
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
        to: String,
    },
    /// The stream is open.
    Connected {
        /// The other end.
        to: String,
    },
    /// The stream could not be opened.
    ConnectFailed {
        /// The other end.
        to: String,
        /// The kind of the error.
        error: String,
    },
    /// The node accepted a stream.
    Accepted {
        /// The other end.
        from: String,
    },
    /// An open stream broke.
    Broken {
        /// The other end.
        peer: String,
        /// The kind of the error.
        error: String,
    },
    /// Bytes on their way between nodes, at the time and on the node that sends them. On the
    /// engine `turmoil` a datagram is recorded when it comes to its receiver.
    Message {
        /// The sender.
        from: String,
        /// The receiver.
        to: String,
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
    /// Its one encoding: a JSON line, without the line break.
    pub fn line(&self) -> String {
        self.quick_line().unwrap_or_else(|| {
            serde_json::to_string(self).expect("an event holds only what JSON can")
        })
    }

    /// The same line of a message that is sent or received, which are most of a trace: serde takes
    /// ten times as long for a flattened enum.
    fn quick_line(&self) -> Option<String> {
        let at_us = self.at_us;
        let node = self.node.as_ref().filter(|node| is_plain(node))?;
        let (from, to, bytes, outcome) = match &self.kind {
            EventKind::Message {
                from,
                to,
                bytes,
                outcome,
            } if is_plain(from) && is_plain(to) => (from, to, bytes, outcome),
            EventKind::Received { message } => {
                return Some(format!(
                    "{{\"at_us\":{at_us},\"node\":\"{node}\",\"event\":\"received\",\
                     \"message\":{message}}}"
                ));
            }
            _ => return None,
        };
        let outcome = match outcome {
            MessageOutcome::Sent => "sent",
            MessageOutcome::Delayed => "delayed",
            MessageOutcome::Held => "held",
            MessageOutcome::Dropped => "dropped",
        };
        Some(format!(
            "{{\"at_us\":{at_us},\"node\":\"{node}\",\"event\":\"message\",\"from\":\"{from}\",\
             \"to\":\"{to}\",\"bytes\":{bytes},\"outcome\":\"{outcome}\"}}"
        ))
    }
}

/// Whether JSON has a text as it is.
fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_line_of_a_message_is_the_one_that_serde_writes() {
        let outcomes = [
            MessageOutcome::Sent,
            MessageOutcome::Delayed,
            MessageOutcome::Held,
            MessageOutcome::Dropped,
        ];
        for outcome in outcomes {
            for name in ["server-1", "a\"b", "\u{1}", "\u{fc}"] {
                let event = Event {
                    at_us: 12,
                    node: Some(name.to_owned()),
                    kind: EventKind::Message {
                        from: name.to_owned(),
                        to: "client-1".to_owned(),
                        bytes: 64,
                        outcome,
                    },
                };
                assert_eq!(event.line(), serde_json::to_string(&event).unwrap());
                assert_eq!(event.quick_line().is_some(), name == "server-1");
                let kind = EventKind::Received { message: 71 };
                let received = Event { kind, ..event };
                assert_eq!(received.line(), serde_json::to_string(&received).unwrap());
                assert_eq!(received.quick_line().is_some(), name == "server-1");
            }
        }
    }
}
