//! A tracing event as a line of a node's log.

use std::fmt::{Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use crate::trace::{EventKind, LogLevel};

/// What a tracing event is in a trace.
pub(super) fn log_of(event: &Event<'_>) -> EventKind {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    EventKind::Log {
        level: match *metadata.level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            _ => LogLevel::Info,
        },
        target: metadata.target().to_owned(),
        message: fields.text,
    }
}

/// The fields of an event or span as text: the message, then `name=value`.
#[derive(Default)]
pub(super) struct Fields {
    text: String,
    /// The field `name`.
    pub(super) name: Option<String>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        let space = if self.text.is_empty() { "" } else { " " };
        let written = match field.name() {
            "message" => write!(self.text, "{space}{value}"),
            name => write!(self.text, "{space}{name}={value}"),
        };
        written.expect("a text takes what is written to it");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "name" {
            self.name = Some(value.to_owned());
        }
        self.add(field, format_args!("{value}"));
    }
}
