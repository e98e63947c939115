//! The account as one page that draws it: no other file, no network.
//!
//! What comes from a run is data to the page and never markup: it stands in one script element of
//! JSON, in which no `<` is left, and the page's own script shows it as text. A policy in the page
//! forbids everything that it does not hold itself.

mod drawing;

use std::io::{self, Write};

use serde::Serialize;

use super::parted::Parted;
use super::{Report, Slice};
use crate::run::Run;
use drawing::Drawing;

const PAGE: &str = include_str!("html/page.html");
const STYLE: &str = include_str!("html/page.css");

/// The page's script, in the order in which its parts need each other.
const SCRIPT: [&str; 8] = [
    include_str!("html/run.js"),
    include_str!("html/scale.js"),
    include_str!("html/filter.js"),
    include_str!("html/panel.js"),
    include_str!("html/diagram.js"),
    include_str!("html/whole.js"),
    include_str!("html/parted.js"),
    include_str!("html/main.js"),
];

/// The version of what a page holds, for whoever reads it out of one.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Content<'r> {
    format: u32,
    runs: Vec<Drawing<'r>>,
    difference: Option<&'r Parted>,
}

/// Writes the page of a run.
///
/// # Errors
///
/// What the writer says.
pub fn write(run: &Run, report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let slice = Slice::of(run);
    let runs = vec![Drawing::of(run, report, slice.as_ref())];
    write_page(
        &Content {
            format: FORMAT,
            runs,
            difference: None,
        },
        out,
    )
}

/// Writes the page of two runs, one above the other.
///
/// # Errors
///
/// What the writer says.
pub fn write_parted(
    runs: [(&Run, &Report); 2],
    parted: &Parted,
    out: &mut dyn Write,
) -> io::Result<()> {
    let drawing = |(run, report)| Drawing::of(run, report, None).around(parted);
    write_page(
        &Content {
            format: FORMAT,
            runs: runs.map(drawing).into(),
            difference: Some(parted),
        },
        out,
    )
}

fn write_page(content: &Content<'_>, out: &mut dyn Write) -> io::Result<()> {
    let data = serde_json::to_string(content)?;
    let script = SCRIPT.join("\n");
    let mut rest = PAGE;
    for (slot, text) in [
        ("{{style}}", STYLE),
        ("{{account}}", &harmless(&data)),
        ("{{script}}", &script),
    ] {
        let (before, after) = rest.split_once(slot).expect("the page has a place for it");
        out.write_all(before.as_bytes())?;
        out.write_all(text.as_bytes())?;
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

/// JSON of the same value, in which nothing can end a script element or begin a comment.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests;
