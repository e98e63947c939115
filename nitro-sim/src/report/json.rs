//! The account of a run as JSON, for programs.
//!
//! It is an object with the fields of [`Report`], of the version that `format` says: a field may be
//! added in one version, and none changes its meaning. Times are virtual; what ends in `_us` is in
//! microseconds. A blame is `{"operation": number}` or `{"event": place}`.

use std::io::{self, Write};

use super::Report;

impl Report {
    /// Writes it as JSON.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, self)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use crate::report::text::tests::report;
    use crate::report::{SliceLine, Step};
    use crate::trace::Blame;

    #[test]
    fn the_shape_of_an_account_is_its_version() {
        let mut report = report();
        report.reasons[0].blames = vec![Blame::Operation(3), Blame::Event(41)];
        report.slice = Some(SliceLine {
            blamed: vec![40, 41],
            past: 39,
            thread: 2,
            window_us: [6_694_120, 7_194_120],
            faults: vec!["fault-1".to_owned()],
        });
        report.story = vec![Step {
            at_us: 6_694_120,
            node: Some("client-1".to_owned()),
            what: "calls hello of key 0 with 3 (operation 3)".to_owned(),
            is_blamed: true,
            event: Some(40),
            skipped: 0,
        }];
        let mut out = Vec::new();
        report.write_json(&mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
