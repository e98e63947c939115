//! The account of a run as text, for a terminal.

use std::io::{self, Write};

use super::{FaultLine, Report};
use crate::fault::Phase;

/// How much of what a fault is fits beside its time and its count.
const WHAT_WIDTH: usize = 46;

impl Report {
    /// Writes it.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        self.head(out)?;
        self.fault_table(out)?;
        self.operation_table(out)?;
        self.foot(out)
    }

    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|(role, count)| format!("{count} {role}"))
            .collect();
        writeln!(out, "{}, seed {}", self.scenario, self.seed)?;
        writeln!(out)?;
        writeln!(out, "  system    {}", self.system)?;
        writeln!(out, "  nodes     {}", nodes.join(", "))?;
        writeln!(out, "  engine    {}", self.engine)?;
        writeln!(
            out,
            "  runs      {} s of virtual time",
            seconds(self.duration_ms)
        )?;
        writeln!(out)
    }

    fn fault_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.faults.is_empty() {
            return writeln!(out, "no faults\n");
        }
        writeln!(out, "faults {:>68}", "touched")?;
        let width = self.faults.iter().map(|fault| fault.id.len()).max();
        for fault in &self.faults {
            self.fault_line(out, fault, width.unwrap_or(0))?;
        }
        writeln!(out)
    }

    fn fault_line(&self, out: &mut dyn Write, fault: &FaultLine, width: usize) -> io::Result<()> {
        let at = fault.at_ms as f64 / 1000.0;
        let (what, touched) = match fault.phase {
            Phase::Begin => (fault.what.clone(), fault.touched.to_string()),
            Phase::End => {
                let kind = fault.what.split(' ').next().unwrap_or_default();
                (format!("end of {kind}"), String::new())
            }
        };
        let id = &fault.id;
        let (first, rest) = fold(&what, WHAT_WIDTH);
        // The count stands in one column, whatever the ids' width.
        let count_width = 75usize.saturating_sub(13 + width + 2 + WHAT_WIDTH);
        let line =
            format!("{at:>9.3} s  {id:<width$}  {first:<WHAT_WIDTH$}{touched:>count_width$}");
        writeln!(out, "{}", line.trim_end())?;
        for line in rest {
            writeln!(out, "{:13}{:width$}    {line}", "", "")?;
        }
        Ok(())
    }

    fn operation_table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.workloads.is_empty() {
            return writeln!(out, "no operations\n");
        }
        writeln!(
            out,
            "operations                  planned       ok   failed  unfinished  lost"
        )?;
        for line in &self.workloads {
            let name = format!("{} ({})", line.operation, line.name);
            writeln!(
                out,
                "  {name:<25} {:>7}  {:>7}  {:>7}  {:>10}  {:>4}",
                line.planned, line.ok, line.failed, line.unfinished, line.lost
            )?;
        }
        for (index, (kind, count)) in self.failed.iter().enumerate() {
            let title = if index == 0 { "failed" } else { "" };
            writeln!(out, "  {title:<8}  {kind:<34} {count:>8}")?;
        }
        if let Some(latency) = self.latency {
            let [p50, p90, p99, max] = [
                latency.p50_us,
                latency.p90_us,
                latency.p99_us,
                latency.max_us,
            ]
            .map(|us| us as f64 / 1000.0);
            writeln!(
                out,
                "  took      p50 {p50:.1} ms   p90 {p90:.1} ms   p99 {p99:.1} ms   max {max:.1} ms"
            )?;
        }
        let [sent, delayed, held, dropped] = self.messages;
        writeln!(
            out,
            "  messages  {sent} sent, {delayed} delayed, {held} held, {dropped} dropped"
        )?;
        writeln!(out)
    }

    fn foot(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "verdict     {}", self.verdict.to_uppercase())?;
        for reason in &self.reasons {
            writeln!(out, "            {}", reason.check)?;
            for line in reason.what.lines() {
                writeln!(out, "              {line}")?;
            }
        }
        writeln!(out, "digest      {}", self.digest)?;
        if let Some(wall) = self.wall {
            let wall = wall.as_secs_f64().max(1e-6);
            let virtual_seconds = self.duration_ms as f64 / 1000.0;
            let speed = virtual_seconds / wall;
            writeln!(
                out,
                "speed       {speed:.0} virtual seconds a second ({wall:.2} s)"
            )?;
        }
        writeln!(out, "again       {}", self.command)
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// A text in lines of a width, parted at spaces.
fn fold(text: &str, width: usize) -> (String, Vec<String>) {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let rest = lines.split_off(1);
    (lines.remove(0), rest)
}
