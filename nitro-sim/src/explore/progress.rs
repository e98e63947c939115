//! How far a sweep is, in one line: drawn over itself on a terminal, and now and then elsewhere.

use std::io::Write;
use std::time::Duration;

use super::Tally;

/// How often the line is drawn on a terminal.
const DRAWN_EVERY: Duration = Duration::from_millis(200);
/// How often a line is written elsewhere, as to the log of a CI job.
const WRITTEN_EVERY: Duration = Duration::from_secs(30);
/// How wide a terminal surely is.
const WIDTH: usize = 79;

/// Tells how far a sweep is.
pub struct Progress<'w> {
    out: &'w mut dyn Write,
    is_terminal: bool,
    /// When it was last told.
    told: Duration,
    seeds: u64,
    is_drawn: bool,
}

impl<'w> Progress<'w> {
    /// Of a sweep over so many seeds, which begins now.
    pub fn new(out: &'w mut dyn Write, is_terminal: bool, seeds: u64) -> Self {
        Self {
            out,
            is_terminal,
            told: Duration::ZERO,
            seeds,
            is_drawn: false,
        }
    }

    /// Tells how far it is after this time, if it is due. What the writer says is of no account.
    pub fn tell(&mut self, tally: &Tally, elapsed: Duration) {
        let every = match self.is_terminal {
            true => DRAWN_EVERY,
            false => WRITTEN_EVERY,
        };
        if elapsed.saturating_sub(self.told) < every {
            return;
        }
        self.told = elapsed;
        let line = line(tally, self.seeds, elapsed);
        if self.is_terminal {
            let line: String = line.chars().take(WIDTH).collect();
            let _ = write!(self.out, "\r\x1b[2K{line}").and_then(|()| self.out.flush());
            self.is_drawn = true;
        } else {
            let _ = writeln!(self.out, "{line}");
        }
    }

    /// Writes a line of its own.
    pub fn say(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(self.out, "{text}");
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            let _ = write!(self.out, "\r\x1b[2K").and_then(|()| self.out.flush());
        }
    }
}

fn line(tally: &Tally, seeds: u64, elapsed: Duration) -> String {
    let done = tally.done.count();
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let left = match done {
        0 => "?".to_owned(),
        _ => time((seeds - done.min(seeds)) as f64 / rate),
    };
    let percent = done * 100 / seeds.max(1);
    let failures = match (tally.failed, tally.failures.len()) {
        (0, _) => "no failure".to_owned(),
        (1, _) => "1 failure".to_owned(),
        (failed, 1) => format!("{failed} failures of 1 kind"),
        (failed, kinds) => format!("{failed} failures of {kinds} kinds"),
    };
    format!("{done}/{seeds} seeds  {percent} %  {rate:.1}/s  {left} left  {failures}")
}

/// A time as a person says it.
pub(super) fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_how_fast_how_long_and_what_was_found() {
        let mut tally = Tally::default();
        let elapsed = Duration::from_secs(20);
        assert_eq!(
            line(&tally, 10_000, elapsed),
            "0/10000 seeds  0 %  0.0/s  ? left  no failure"
        );
        for seed in 0..300 {
            tally.done.add(seed);
        }
        tally.failed = 3;
        assert_eq!(
            line(&tally, 10_000, elapsed),
            "300/10000 seeds  3 %  15.0/s  10 min 47 s left  3 failures of 0 kinds"
        );
        assert_eq!(time(7300.0), "2 h 1 min");
    }

    #[test]
    fn a_line_is_drawn_over_itself_on_a_terminal_only() {
        let tally = Tally::default();
        for (is_terminal, expected) in [(true, "\r\x1b[2K0/9"), (false, "")] {
            let mut out = Vec::new();
            let mut progress = Progress::new(&mut out, is_terminal, 9);
            progress.tell(&tally, DRAWN_EVERY);
            progress.say("seed 4 fails");
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(expected), "{text:?}");
            assert!(text.ends_with("seed 4 fails\n"), "{text:?}");
        }
    }
}
