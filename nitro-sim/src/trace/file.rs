//! A trace as a file: a header line, a line an event, a footer line with count and digest.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{FORMAT, Header, Origin, Trace};

/// The last line, by which a cut or edited file is known.
#[derive(Serialize, Deserialize)]
struct Footer {
    events: usize,
    digest: String,
}

/// Why a trace file cannot be used. Lines are counted from 1.
#[derive(Debug)]
pub enum TraceError {
    /// It cannot be read.
    Unreadable(io::Error),
    /// Its first line is no header of a trace.
    NotATrace,
    /// It is of another version, which is given.
    Format(u64),
    /// A line is not what it should be.
    Line(usize, String),
    /// It ends with this line, which is no footer.
    Truncated(usize),
    /// What comes before the footer, which is this line, is not what was written there.
    Edited(usize),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TraceError::Unreadable(error) => write!(f, "cannot be read: {error}"),
            TraceError::NotATrace => f.write_str(
                "line 1: is no header of a trace; `run SCENARIO --seed N --trace FILE` writes one",
            ),
            TraceError::Format(found) => write!(
                f,
                "line 1: is a trace of format {found}; this program reads format {FORMAT}: run \
                 its plan again"
            ),
            TraceError::Line(line, what) => write!(f, "line {line}: {what}"),
            TraceError::Truncated(line) => write!(
                f,
                "line {line}: the file ends here, before its footer: it has been cut"
            ),
            TraceError::Edited(line) => write!(
                f,
                "line {line}: the lines before this footer are not those it was written for: \
                 the file has been edited"
            ),
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
        self.write_under(self.header(), out)
    }

    /// Writes it with what it takes to judge it: a file that is enough for a report.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn save(&self, origin: Origin, out: &mut dyn Write) -> io::Result<()> {
        let header = Header {
            origin: Some(origin),
            ..self.header().clone()
        };
        self.write_under(&header, out)
    }

    fn write_under(&self, header: &Header, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, header)?;
        writeln!(out)?;
        for event in self.events() {
            writeln!(out, "{}", event.line())?;
        }
        let footer = Footer {
            events: self.count(),
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
        let count = lines.len();
        let header = header(lines.first().ok_or(TraceError::NotATrace)?)?;
        let (last, events) = lines[1..]
            .split_last()
            .ok_or(TraceError::Truncated(count))?;
        let footer = serde_json::from_str::<Footer>(last);
        let mut trace = Trace::new(header.plan, header.engine);
        trace.header.origin = header.origin;
        for (index, line) in events.iter().enumerate() {
            let event = serde_json::from_str(line)
                .map_err(|error| TraceError::Line(index + 2, without_line(&error)))?;
            trace.push(event);
        }
        let footer = footer.map_err(|_| TraceError::Truncated(count))?;
        let is_whole = footer.events == trace.count() && footer.digest == trace.digest();
        is_whole.then_some(trace).ok_or(TraceError::Edited(count))
    }
}

fn header(line: &str) -> Result<Header, TraceError> {
    let value: serde_json::Value = serde_json::from_str(line).map_err(|_| TraceError::NotATrace)?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(found) if found == u64::from(FORMAT) => {}
        Some(found) => return Err(TraceError::Format(found)),
        None => return Err(TraceError::NotATrace),
    }
    serde_json::from_value(value).map_err(|error| TraceError::Line(1, error.to_string()))
}

/// What a parser says of a line, without its own count of lines, which is always 1.
fn without_line(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replace(" at line 1 column ", " at column ")
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Event, EventKind, Origin};
    use super::*;

    fn trace() -> Trace {
        let mut trace = Trace::new("p", "turmoil");
        for at_us in [1, 2, 3] {
            let kind = EventKind::NodeStarted { incarnation: 1 };
            let node = Some("a-1".into());
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
        assert_eq!(back.header().origin, None);
    }

    #[test]
    fn a_trace_brings_the_plan_it_is_of() {
        let origin = Origin {
            plan: "format = 1\n\"quoted\"\n".to_owned(),
            ended: Ended::Finished,
        };
        let mut out = Vec::new();
        trace().save(origin.clone(), &mut out).unwrap();
        let back = Trace::read(&mut out.as_slice()).unwrap();
        assert_eq!(back.header().origin, Some(origin));
        assert_eq!(back.digest(), trace().digest());
    }

    #[test]
    fn every_cut_and_every_edit_is_noticed() {
        let text = text();
        for end in 0..text.len() - 1 {
            let mut cut = &text.as_bytes()[..end];
            let error = Trace::read(&mut cut).unwrap_err().to_string();
            assert!(error.starts_with("line "), "{end}: {error}");
        }
        let edited = text.replace("\"at_us\":2", "\"at_us\":4");
        let error = Trace::read(&mut edited.as_bytes()).unwrap_err();
        assert!(matches!(error, TraceError::Edited(5)));
        let broken = text.replace("\"at_us\":2", "\"at_us\":two");
        let error = Trace::read(&mut broken.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 3: "), "{error}");
        let older = text.replace("\"format\":2", "\"format\":1");
        let error = Trace::read(&mut older.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("format 1"));
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
