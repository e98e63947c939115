//! The results of a sweep as text, for a terminal.

use std::collections::BTreeMap;
use std::io::{self, Write};

use nitro::assertion::Point;

use super::Kind;
use super::results::Results;

/// How much is said of one failure: the rest is in its report.
const REASON_LINES_MAX: usize = 4;
/// How wide a line of it may be.
const REASON_WIDTH: usize = 72;

/// The commands that make a failure happen again and shorter.
pub struct Commands {
    /// Begins each of them.
    pub program: String,
    /// Ends each of them: the engine and what the seeds drew, where they are not the default.
    pub flags: String,
}

impl Commands {
    /// The command of a verb for a seed.
    pub fn of(&self, verb: &str, file: &str, seed: u64) -> String {
        let Self { program, flags } = self;
        format!("{program} {verb} {file} --seed {seed}{flags}")
    }
}

/// Writes the results of a program that has these points.
///
/// # Errors
///
/// What the writer says.
pub fn write(
    out: &mut dyn Write,
    results: &Results,
    commands: &Commands,
    points: &[Point],
) -> io::Result<()> {
    head(out, results)?;
    failures(out, results, commands)?;
    kinds(out, "inconclusive", &results.tally.doubts)?;
    kinds(out, "not run", &results.tally.refusals)?;
    faults(out, results)?;
    results.tally.points.write(out, points)?;
    growth(out, results)
}

fn head(out: &mut dyn Write, results: &Results) -> io::Result<()> {
    let tally = &results.tally;
    let swarm = match results.swarm {
        true => "each seed draws which faults are on, and how hard",
        false => "off: the scenario as it is",
    };
    let done = tally.done.count();
    writeln!(out, "{}, explored\n", results.scenario)?;
    writeln!(out, "  engine        {}", results.engine)?;
    writeln!(out, "  swarm         {swarm}")?;
    writeln!(out, "  seeds         {}", tally.done)?;
    if results.asked != tally.done {
        writeln!(
            out,
            "                of {} that were asked for",
            results.asked
        )?;
    }
    let virtual_s = done * results.duration_ms / 1000;
    writeln!(
        out,
        "  runs          {done}, {virtual_s} s of virtual time, {} events",
        tally.events
    )?;
    writeln!(
        out,
        "  compared      {} of them run twice\n",
        tally.compared
    )?;
    writeln!(out, "  passed        {:>8}", tally.passed)?;
    writeln!(out, "  failed        {:>8}", tally.failed)?;
    writeln!(out, "  inconclusive  {:>8}", tally.inconclusive)?;
    if tally.refused > 0 {
        writeln!(out, "  not run       {:>8}", tally.refused)?;
    }
    writeln!(out)
}

fn failures(out: &mut dyn Write, results: &Results, commands: &Commands) -> io::Result<()> {
    let failures = &results.tally.failures;
    if failures.is_empty() {
        return writeln!(out, "no failure\n");
    }
    writeln!(out, "failures {:>54}  first seed", "runs")?;
    for (index, (signature, kind)) in by_count(failures).into_iter().enumerate() {
        let Kind { count, first, .. } = kind;
        let lines = lines(signature, 52);
        writeln!(
            out,
            "  {:>2}  {:<52} {count:>5}  {first:>10}",
            index + 1,
            lines[0]
        )?;
        for line in &lines[1..] {
            writeln!(out, "      {line}")?;
        }
        // The first of each check: the others are like it.
        let is_first = |at: &usize| {
            let earlier = kind.reasons[..*at].iter();
            !earlier
                .clone()
                .any(|reason| reason.check == kind.reasons[*at].check)
        };
        let firsts = (0..kind.reasons.len()).filter(is_first);
        let said = firsts.flat_map(|at| lines_of(&kind.reasons[at].what));
        for line in said.take(REASON_LINES_MAX) {
            writeln!(out, "        {line}")?;
        }
        writeln!(
            out,
            "      again   {}",
            commands.of("run", &results.file, *first)
        )?;
        writeln!(
            out,
            "      shrink  {}",
            commands.of("shrink", &results.file, *first)
        )?;
    }
    writeln!(out)
}

fn kinds(out: &mut dyn Write, title: &str, kinds: &BTreeMap<String, Kind>) -> io::Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title:<40} {:>22}  first seed", "runs")?;
    for (
        name,
        Kind {
            count,
            first,
            reasons,
            ..
        },
    ) in by_count(kinds)
    {
        let lines = lines(name, 56);
        writeln!(out, "  {:<56} {count:>5}  {first:>10}", lines[0])?;
        for line in &lines[1..] {
            writeln!(out, "  {line}")?;
        }
        if let Some(line) = reasons
            .first()
            .map(|reason| lines_of(&reason.what).swap_remove(0))
        {
            writeln!(out, "        {line}")?;
        }
    }
    writeln!(out)
}

fn faults(out: &mut dyn Write, results: &Results) -> io::Result<()> {
    if results.tally.faults.is_empty() {
        return writeln!(out, "no faults\n");
    }
    writeln!(
        out,
        "faults {:>45} {:>10} {:>12}",
        "runs", "touched", "nothing"
    )?;
    for (fault, count) in &results.tally.faults {
        let nothing = count.planned - count.touched;
        let (planned, touched) = (count.planned, count.touched);
        writeln!(
            out,
            "  {fault:<44} {planned:>5} {touched:>10} {nothing:>12}"
        )?;
    }
    writeln!(out)
}

fn growth(out: &mut dyn Write, results: &Results) -> io::Result<()> {
    let growth = results.tally.behaviours.growth(&results.tally.done);
    writeln!(
        out,
        "behaviours: three events of a node in a row, of one role"
    )?;
    let mut before = 0;
    for (seeds, seen) in &growth {
        let new = seen - before;
        writeln!(out, "  after {seeds:>8} seeds {seen:>8}   {new:>+8}")?;
        before = *seen;
    }
    Ok(())
}

/// The most frequent first, and of those that are as frequent the one that was seen first.
fn by_count(kinds: &BTreeMap<String, Kind>) -> Vec<(&str, &Kind)> {
    let mut all: Vec<(&str, &Kind)> = kinds
        .iter()
        .map(|(name, kind)| (name.as_str(), kind))
        .collect();
    all.sort_by_key(|(_, kind)| (std::cmp::Reverse(kind.count), kind.first));
    all
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines()
        .flat_map(|line| lines(line, REASON_WIDTH))
        .collect()
}

/// A text in lines of a width, parted at spaces; at least one.
fn lines(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is at least one");
        let is_first = last.is_empty();
        if !is_first && last.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !is_first {
            last.push(' ');
        }
        last.push_str(word);
    }
    lines
}
