//! A trace as a file: a header line, a line an event, a footer line with count and digest.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{FORMAT, Header, Trace};

/// The last line, by which a cut or edited file is known.
#[derive(Serialize, Deserialize)]
struct Footer {
    events: usize,
    digest: String,
}

/// Why a trace file cannot be used.
#[derive(Debug)]
pub enum TraceError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// It is of another version, which is given.
    Format(u64),
    /// A line, counted from 1, is not what it should be.
    Line(usize, String),
    /// It ends before its footer.
    Truncated,
    /// The events are not those it was written with.
    Edited,
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Unreadable(error) => write!(f, "cannot be read: {error}"),
            TraceError::Format(found) => write!(
                f,
                "is a trace of format {found}; this program reads format {FORMAT}"
            ),
            TraceError::Line(line, what) => write!(f, "line {line}: {what}"),
            TraceError::Truncated => f.write_str("ends before its footer: it has been cut"),
            TraceError::Edited => f.write_str("does not match its footer: it has been edited"),
        }
    }
}

impl std::error::Error for TraceError {}

impl Trace {
    /// Writes it as JSON lines.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, self.header())?;
        writeln!(out)?;
        for event in self.events() {
            writeln!(out, "{}", event.line())?;
        }
        let footer = Footer {
            events: self.events().len(),
            digest: self.digest(),
        };
        serde_json::to_writer(&mut *out, &footer)?;
        writeln!(out)
    }

    /// Reads what [`Trace::write`] wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, cut short or edited.
    pub fn read(input: &mut dyn BufRead) -> Result<Trace, TraceError> {
        let mut lines = Vec::new();
        for line in input.lines() {
            lines.push(line.map_err(TraceError::Unreadable)?);
        }
        let header = header(lines.first().ok_or(TraceError::Truncated)?)?;
        let (last, events) = lines[1..].split_last().ok_or(TraceError::Truncated)?;
        let footer: Footer = serde_json::from_str(last).map_err(|_| TraceError::Truncated)?;
        let mut trace = Trace::new(header.plan, header.engine);
        for (index, line) in events.iter().enumerate() {
            let event = serde_json::from_str(line)
                .map_err(|error| TraceError::Line(index + 2, error.to_string()))?;
            trace.push(event);
        }
        let is_whole = footer.events == trace.events().len() && footer.digest == trace.digest();
        is_whole.then_some(trace).ok_or(TraceError::Edited)
    }
}

fn header(line: &str) -> Result<Header, TraceError> {
    let wrong = |error: serde_json::Error| TraceError::Line(1, error.to_string());
    let value: serde_json::Value = serde_json::from_str(line).map_err(wrong)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(TraceError::Format(found)),
        None => return Err(TraceError::Line(1, "not a trace header".to_owned())),
    }
    serde_json::from_value(value).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::super::{Event, EventKind};
    use super::*;

    fn trace() -> Trace {
        let mut trace = Trace::new("p", "turmoil");
        for at_us in [1, 2, 3] {
            let kind = EventKind::NodeStarted { incarnation: 1 };
            let node = Some("a-1".to_owned());
            trace.push(Event { at_us, node, kind });
        }
        trace
    }

    fn text() -> String {
        let mut out = Vec::new();
        trace().write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_trace_comes_back_as_it_was_written() {
        let back = Trace::read(&mut text().as_bytes()).unwrap();
        assert_eq!(back.digest(), trace().digest());
        assert_eq!(back.first_difference(&trace()), None);
    }

    #[test]
    fn every_cut_and_every_edit_is_noticed() {
        let text = text();
        for end in 0..text.len() - 1 {
            let mut cut = &text.as_bytes()[..end];
            assert!(Trace::read(&mut cut).is_err(), "{end}");
        }
        let edited = text.replace("\"at_us\":2", "\"at_us\":4");
        let error = Trace::read(&mut edited.as_bytes()).unwrap_err();
        assert!(matches!(error, TraceError::Edited));
        let newer = text.replace("\"format\":1", "\"format\":2");
        let error = Trace::read(&mut newer.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("format 2"));
    }

    #[test]
    fn the_first_difference_shows_both_sides() {
        let mut other = trace();
        other.push(trace().events()[0].clone());
        let difference = trace().first_difference(&other).unwrap();
        assert_eq!(difference.index, 3);
        assert!(difference.left.is_none() && difference.right.is_some());
    }
}
