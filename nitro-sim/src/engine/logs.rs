//! A tracing event as an event of a node: a line of its log, or a point of the program.

use std::fmt::{Debug, Write};

use nitro::{assertion, held};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata};

use crate::record::HELD;
use crate::trace::{EventKind, LogLevel};

/// The most detailed level that anything is heard of: that of the points of the program.
pub(super) const MOST: LevelFilter = LevelFilter::TRACE;

/// Whether a run listens: to logs at INFO and above, to spans at those levels, to points, and to
/// what nodes hold.
pub(super) fn is_heard(metadata: &Metadata<'_>) -> bool {
    let is_told = [assertion::TARGET, held::TARGET].contains(&metadata.target());
    *metadata.level() <= Level::INFO || is_told
}

/// Whether it ever does, which is asked once for each place in the program.
pub(super) fn interest(metadata: &Metadata<'_>) -> Interest {
    match is_heard(metadata) {
        true => Interest::always(),
        false => Interest::never(),
    }
}

/// What a tracing event is in a trace.
pub(super) fn event_of(event: &Event<'_>) -> EventKind {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    match metadata.target() {
        assertion::TARGET => return fields.point(),
        held::TARGET => return fields.held(),
        _ => {}
    }
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
    /// The fields of a point that its text does not tell apart.
    kind: String,
    module: String,
    found: String,
    holds: bool,
    /// Those of what a node holds.
    what: String,
    count: u64,
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

    fn held(self) -> EventKind {
        EventKind::Note {
            name: HELD.to_owned(),
            value: json!({ self.what: self.count }),
        }
    }

    fn point(self) -> EventKind {
        EventKind::Point {
            says: assertion::Kind::of(&self.kind).unwrap_or(assertion::Kind::Reachable),
            holds: self.holds,
            name: self.name.unwrap_or_default(),
            module: self.module,
            found: self.found,
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "found" {
            self.found = format!("{value:?}");
        }
        self.add(field, format_args!("{value:?}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "holds" {
            self.holds = value;
        }
        self.add(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "count" {
            self.count = value;
        }
        self.add(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "name" => self.name = Some(value.to_owned()),
            "kind" => value.clone_into(&mut self.kind),
            "module" => value.clone_into(&mut self.module),
            "what" => value.clone_into(&mut self.what),
            _ => {}
        }
        self.add(field, format_args!("{value}"));
    }
}
