//! An event's one encoding: the few bytes in which a trace keeps it, and which the digest is over.
//!
//! A run records some hundred thousand events a second, and most runs are judged and forgotten: a
//! line of JSON for each would take longer than the run itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use nitro::assertion::Kind;
use serde_json::Value;

use super::{Event, EventKind, LogLevel, MessageOutcome, OperationOutcome};
use crate::fault::Phase;

/// What comes after the time and the node: which kind of event it is.
mod tag {
    pub(super) const MESSAGE: u8 = 0;
    pub(super) const CONNECT: u8 = 1;
    pub(super) const CONNECTED: u8 = 2;
    pub(super) const CONNECT_FAILED: u8 = 3;
    pub(super) const ACCEPTED: u8 = 4;
    pub(super) const BROKEN: u8 = 5;
    pub(super) const NODE_STARTED: u8 = 6;
    pub(super) const NODE_CRASHED: u8 = 7;
    pub(super) const NODE_STOPPED: u8 = 8;
    pub(super) const TASK_PANICKED: u8 = 9;
    pub(super) const FAULT: u8 = 10;
    pub(super) const CALL: u8 = 11;
    pub(super) const OUTCOME: u8 = 12;
    pub(super) const LOG: u8 = 13;
    pub(super) const NOTE: u8 = 14;
    pub(super) const TOUCHED: u8 = 15;
    pub(super) const RECEIVED: u8 = 16;
    pub(super) const POINT: u8 = 17;
    pub(super) const TRICK: u8 = 18;
    pub(super) const LEAKED: u8 = 19;
}

/// Appends what happened at a time on a node.
pub(super) fn encode(out: &mut Vec<u8>, at_us: u64, node: Option<&str>, kind: &EventKind) {
    if let EventKind::Message {
        from,
        to,
        bytes,
        outcome,
    } = kind
    {
        return encode_message(out, at_us, node, [from, to], *bytes, *outcome);
    }
    let mut out = Writer(out);
    out.number(at_us);
    out.optional(node);
    match kind {
        EventKind::Received { message } => {
            out.0.push(tag::RECEIVED);
            out.number(*message);
        }
        EventKind::Connect { to } => out.texts(tag::CONNECT, &[to]),
        EventKind::Connected { to } => out.texts(tag::CONNECTED, &[to]),
        EventKind::ConnectFailed { to, error } => out.texts(tag::CONNECT_FAILED, &[to, error]),
        EventKind::Accepted { from } => out.texts(tag::ACCEPTED, &[from]),
        EventKind::Broken { peer, error } => out.texts(tag::BROKEN, &[peer, error]),
        kind => out.kind_of_node(kind),
    }
}

/// Appends that a message was sent from one node to another.
pub(super) fn encode_message(
    out: &mut Vec<u8>,
    at_us: u64,
    node: Option<&str>,
    [from, to]: [&str; 2],
    bytes: u64,
    outcome: MessageOutcome,
) {
    let mut out = Writer(out);
    out.number(at_us);
    out.optional(node);
    out.0.push(tag::MESSAGE);
    out.text(from);
    out.text(to);
    out.number(bytes);
    out.0.push(outcome as u8);
}

/// Takes the first event off `bytes`; none where they are no event.
pub(super) fn decode(bytes: &mut &[u8], names: &mut Names) -> Option<Event> {
    let mut from = Reader { bytes, names };
    let at_us = from.number()?;
    let node = from.optional_name()?;
    let kind = match from.byte()? {
        tag::MESSAGE => EventKind::Message {
            from: from.name()?,
            to: from.name()?,
            bytes: from.number()?,
            outcome: MESSAGE_OUTCOMES.get(usize::from(from.byte()?)).copied()?,
        },
        tag::RECEIVED => EventKind::Received {
            message: from.number()?,
        },
        tag::CONNECT => EventKind::Connect { to: from.name()? },
        tag::CONNECTED => EventKind::Connected { to: from.name()? },
        tag::CONNECT_FAILED => EventKind::ConnectFailed {
            to: from.name()?,
            error: from.text()?,
        },
        tag::ACCEPTED => EventKind::Accepted { from: from.name()? },
        tag::BROKEN => EventKind::Broken {
            peer: from.name()?,
            error: from.text()?,
        },
        other => from.kind_of_node(other)?,
    };
    Some(Event { at_us, node, kind })
}

const MESSAGE_OUTCOMES: [MessageOutcome; 4] = [
    MessageOutcome::Sent,
    MessageOutcome::Delayed,
    MessageOutcome::Held,
    MessageOutcome::Dropped,
];

const LEVELS: [LogLevel; 3] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info];

/// The names of nodes that stand in a trace, each once.
pub(super) type Names = BTreeSet<Arc<str>>;

/// How many bytes a number takes at most.
const NUMBER_BYTES_MAX: usize = u64::BITS.div_ceil(7) as usize;

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// Seven bits a byte, the lowest first; all but the last have the eighth bit set.
    fn number(&mut self, mut number: u64) {
        // Most are lengths of names: a byte is pushed faster than a slice is copied.
        if number < 0x80 {
            return self.0.push(number as u8);
        }
        let (mut bytes, mut last) = ([0; NUMBER_BYTES_MAX], 0);
        while number >= 0x80 {
            bytes[last] = number as u8 | 0x80;
            number >>= 7;
            last += 1;
        }
        bytes[last] = number as u8;
        self.0.extend_from_slice(&bytes[..=last]);
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.0.push(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    /// A JSON value, after its length in four bytes.
    fn value(&mut self, value: &Value) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        serde_json::to_writer(&mut *self.0, value).expect("memory takes what is written to it");
        let length = u32::try_from(self.0.len() - start - 4).expect("a value fits in memory");
        self.0[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn texts(&mut self, tag: u8, texts: &[&str]) {
        self.0.push(tag);
        for text in texts {
            self.text(text);
        }
    }

    /// What is neither a stream's nor a message's.
    fn kind_of_node(&mut self, kind: &EventKind) {
        match kind {
            EventKind::NodeStarted { incarnation } => {
                self.0.push(tag::NODE_STARTED);
                self.number(u64::from(*incarnation));
            }
            EventKind::NodeCrashed => self.0.push(tag::NODE_CRASHED),
            EventKind::NodeStopped { error } => {
                self.0.push(tag::NODE_STOPPED);
                self.optional(error.as_deref());
            }
            EventKind::TaskPanicked { task, message } => {
                self.texts(tag::TASK_PANICKED, &[task, message])
            }
            EventKind::Fault { fault, phase, what } => {
                self.texts(tag::FAULT, &[fault, what]);
                self.0.push(u8::from(*phase == Phase::End));
            }
            EventKind::Call {
                operation,
                name,
                key,
                value,
            } => {
                self.texts(tag::CALL, &[name]);
                for number in [operation, key, value] {
                    self.number(*number);
                }
            }
            EventKind::Outcome { operation, outcome } => {
                self.0.push(tag::OUTCOME);
                self.number(*operation);
                self.outcome(outcome);
            }
            EventKind::Log {
                level,
                target,
                message,
            } => {
                self.texts(tag::LOG, &[target, message]);
                self.0.push(*level as u8);
            }
            EventKind::Note { name, value } => {
                self.texts(tag::NOTE, &[name]);
                self.value(value);
            }
            kind => self.kind_of_run(kind),
        }
    }

    /// What is neither done nor said by a node itself, but found of it.
    fn kind_of_run(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Point {
                says,
                holds,
                name,
                module,
                found,
            } => {
                self.texts(tag::POINT, &[name, module, found]);
                self.0.extend([*says as u8, u8::from(*holds)]);
            }
            EventKind::Trick { site } => self.texts(tag::TRICK, &[site]),
            EventKind::Leaked { task, count } => {
                self.texts(tag::LEAKED, &[task]);
                self.number(*count);
            }
            EventKind::Touched { fault, count } => {
                self.texts(tag::TOUCHED, &[fault]);
                self.number(*count);
            }
            _ => unreachable!("it is of a stream or of a node"),
        }
    }

    fn outcome(&mut self, outcome: &OperationOutcome) {
        match outcome {
            OperationOutcome::Ok { reply } => {
                self.0.push(0);
                self.value(reply);
            }
            OperationOutcome::Failed { kind, message } => self.texts(1, &[kind, message]),
            OperationOutcome::Unfinished => self.0.push(2),
            OperationOutcome::Crashed => self.0.push(3),
            OperationOutcome::Skipped => self.0.push(4),
        }
    }
}

struct Reader<'a, 'b> {
    bytes: &'a mut &'b [u8],
    names: &'a mut Names,
}

impl<'b> Reader<'_, 'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        *self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        *self.bytes = rest;
        Some(taken)
    }

    fn slice(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn text(&mut self) -> Option<String> {
        self.slice().map(str::to_owned)
    }

    fn optional_text(&mut self) -> Option<Option<String>> {
        match self.byte()? {
            0 => Some(None),
            _ => self.text().map(Some),
        }
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let text = self.slice()?;
        if let Some(known) = self.names.get(text) {
            return Some(Arc::clone(known));
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        Some(name)
    }

    fn optional_name(&mut self) -> Option<Option<Arc<str>>> {
        match self.byte()? {
            0 => Some(None),
            _ => self.name().map(Some),
        }
    }

    fn value(&mut self) -> Option<Value> {
        let length = self.take(4)?.try_into().ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        serde_json::from_slice(self.take(length)?).ok()
    }

    fn kind_of_node(&mut self, tag: u8) -> Option<EventKind> {
        Some(match tag {
            tag::NODE_STARTED => EventKind::NodeStarted {
                incarnation: u32::try_from(self.number()?).ok()?,
            },
            tag::NODE_CRASHED => EventKind::NodeCrashed,
            tag::NODE_STOPPED => EventKind::NodeStopped {
                error: self.optional_text()?,
            },
            tag::TASK_PANICKED => EventKind::TaskPanicked {
                task: self.text()?,
                message: self.text()?,
            },
            tag::FAULT => EventKind::Fault {
                fault: self.text()?,
                what: self.text()?,
                phase: match self.byte()? {
                    0 => Phase::Begin,
                    _ => Phase::End,
                },
            },
            tag::CALL => EventKind::Call {
                name: self.text()?,
                operation: self.number()?,
                key: self.number()?,
                value: self.number()?,
            },
            tag::OUTCOME => EventKind::Outcome {
                operation: self.number()?,
                outcome: self.outcome()?,
            },
            tag::LOG => EventKind::Log {
                target: self.text()?,
                message: self.text()?,
                level: LEVELS.get(usize::from(self.byte()?)).copied()?,
            },
            tag::NOTE => EventKind::Note {
                name: self.text()?,
                value: self.value()?,
            },
            tag::POINT => EventKind::Point {
                name: self.text()?,
                module: self.text()?,
                found: self.text()?,
                says: Kind::ALL.get(usize::from(self.byte()?)).copied()?,
                holds: self.byte()? != 0,
            },
            tag::TRICK => EventKind::Trick { site: self.text()? },
            tag::LEAKED => EventKind::Leaked {
                task: self.text()?,
                count: self.number()?,
            },
            tag::TOUCHED => EventKind::Touched {
                fault: self.text()?,
                count: self.number()?,
            },
            _ => return None,
        })
    }

    fn outcome(&mut self) -> Option<OperationOutcome> {
        Some(match self.byte()? {
            0 => OperationOutcome::Ok {
                reply: self.value()?,
            },
            1 => OperationOutcome::Failed {
                kind: self.text()?,
                message: self.text()?,
            },
            2 => OperationOutcome::Unfinished,
            3 => OperationOutcome::Crashed,
            4 => OperationOutcome::Skipped,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
