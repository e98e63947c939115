//! The account of a run as text, for a terminal.

use std::io::{self, Write};

use super::{FaultLine, Report};
use crate::fault::Phase;

/// How much of what a fault is fits beside its time and its count.
const WHAT_WIDTH: usize = 46;

/// How much of what a swarm drew fits beside its title.
const SWARM_WIDTH: usize = 64;

/// How wide a line of the story is at most.
const LINE_WIDTH: usize = 110;

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
        self.measures(out)?;
        self.write_story(out)?;
        self.foot(out)
    }

    /// Writes what happened, in order: a line a step, cut where a terminal ends.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn write_story(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.story.is_empty() {
            return Ok(());
        }
        writeln!(out, "what happened, in order")?;
        for (number, step) in self.story.iter().enumerate() {
            if step.skipped > 0 {
                writeln!(out, "{:>22}... {} more", "", step.skipped)?;
            }
            let mark = if step.is_blamed { '>' } else { ' ' };
            let at = step.at_us as f64 / 1e6;
            let who = step.node.as_deref().unwrap_or("");
            let head = format!("{mark}{:>3}  {at:>11.6} s  {who}", number + 1);
            let space = if who.is_empty() { "" } else { " " };
            writeln!(out, "{}", cut(&format!("{head}{space}{}", step.what)))?;
        }
        writeln!(out)
    }

    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let nodes: Vec<String> = self
            .nodes
            .iter()
            .map(|line| format!("{} {}", line.count, line.role))
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
        if let Some(swarm) = &self.swarm {
            let drawn = if swarm.is_empty() {
                "as the scenario says"
            } else {
                swarm
            };
            let (first, rest) = fold(drawn, SWARM_WIDTH);
            writeln!(out, "  swarm     {first}")?;
            for line in rest {
                writeln!(out, "            {line}")?;
            }
        }
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
        let super::Messages {
            sent,
            delayed,
            held,
            dropped,
            ..
        } = self.messages;
        writeln!(
            out,
            "  messages  {sent} sent, {delayed} delayed, {held} held, {dropped} dropped"
        )?;
        writeln!(out)
    }

    fn measures(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.measured.is_empty() {
            return Ok(());
        }
        writeln!(out, "measured")?;
        let width = self.measured.iter().map(|one| one.measure.id.len()).max();
        let width = width.unwrap_or(0);
        for measured in &self.measured {
            let id = &measured.measure.id;
            writeln!(out, "  {id:<width$}  {measured}")?;
        }
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

/// A line as far as a terminal shows it.
fn cut(line: &str) -> String {
    match line.char_indices().nth(LINE_WIDTH) {
        None => line.to_owned(),
        Some(_) => {
            let kept: String = line.chars().take(LINE_WIDTH - 3).collect();
            format!("{kept}...")
        }
    }
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

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::check::Reason;
    use crate::report::{FORMAT, Latency, Messages, NodeLine, Step, WorkloadLine};

    fn fault(at_ms: u64, phase: Phase, what: &str, touched: u64) -> FaultLine {
        FaultLine {
            at_ms,
            id: "fault-1".to_owned(),
            phase,
            what: what.to_owned(),
            touched,
        }
    }

    /// A report to show in every form.
    pub(in crate::report) fn report() -> Report {
        let partition = "partition server-1 | server-2 server-3 client-1 client-2";
        Report {
            format: FORMAT,
            scenario: "greeter_partition".to_owned(),
            system: "greeter".to_owned(),
            seed: 7,
            engine: "turmoil".to_owned(),
            nodes: [("server", 3), ("client", 2)]
                .map(|(role, count)| NodeLine {
                    role: role.to_owned(),
                    count,
                })
                .into(),
            duration_ms: 30_000,
            swarm: None,
            faults: vec![
                fault(6_693, Phase::Begin, partition, 111),
                fault(10_309, Phase::End, partition, 111),
                fault(15_000, Phase::Begin, "crash server-2", 0),
            ],
            workloads: vec![WorkloadLine {
                name: "workload-1".to_owned(),
                operation: "hello".to_owned(),
                planned: 1398,
                ok: 1260,
                failed: 136,
                unfinished: 1,
                lost: 1,
            }],
            failed: BTreeMap::from([
                ("deadline exceeded".to_owned(), 120),
                ("unavailable".to_owned(), 16),
            ]),
            latency: Some(Latency {
                p50_us: 3_000,
                p90_us: 5_000,
                p99_us: 267_000,
                max_us: 491_000,
            }),
            measured: Vec::new(),
            messages: Messages {
                sent: 2530,
                delayed: 12,
                held: 4,
                dropped: 0,
                unread: 3,
            },
            verdict: "fail",
            reasons: vec![Reason::new(
                "answered",
                "operation 3 had not returned\nin time",
            )],
            slice: None,
            story: Vec::new(),
            digest: "80f50041aac9016cfa4220123ff7fc50".to_owned(),
            command: "nitro-sim run scenarios/greeter_partition.toml --seed 7".to_owned(),
            wall: None,
        }
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_report_tells_what_ran_what_was_done_and_what_came_of_it() {
        insta::assert_snapshot!(text(&report()));
    }

    #[test]
    fn a_report_of_nothing_says_so() {
        let nothing = Report {
            faults: Vec::new(),
            workloads: Vec::new(),
            failed: BTreeMap::new(),
            latency: None,
            wall: Some(Duration::from_millis(250)),
            ..report()
        };
        insta::assert_snapshot!(text(&nothing));
    }

    #[test]
    fn a_failure_is_told_in_order_with_what_is_blamed_and_what_is_left_out() {
        let step = |at_us, node: Option<&str>, what: &str, is_blamed, skipped| Step {
            at_us,
            node: node.map(str::to_owned),
            what: what.to_owned(),
            is_blamed,
            event: Some(0),
            skipped,
        };
        let long = "calls hello of key 1 with 7 ".repeat(8);
        let told = Report {
            story: vec![
                step(6_693_000, None, "fault-1 begins: partition", false, 0),
                step(6_694_120, Some("client-1"), &long, true, 0),
                step(7_194_120, Some("client-1"), "operation 3 returns", true, 12),
            ],
            ..report()
        };
        insta::assert_snapshot!(text(&told));
    }

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let longest = text(&report())
            .lines()
            .map(|line| line.chars().count())
            .max();
        assert!(longest <= Some(80), "{longest:?}");
    }
}
