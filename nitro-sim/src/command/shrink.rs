//! The verb `shrink`: from a failing plan to the smallest that fails alike, told, verified and
//! saved.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use nitro::host::Clock;
use nitro::host::tokio::MachineClock;

use super::files::{self, Output, Whole};
use super::report::draw;
use super::{PASS, Problem, Shell, engine_of, seed};
use crate::engine;
use crate::explore::interrupt::Interrupt;
use crate::plan::{Expected, Plan};
use crate::replay::to_save;
use crate::report::Report;
use crate::run::{Pool, Run, Twice, run};
use crate::shrink::{Judge, Limits, Progress, Shown, Shrunk, Size, Stopped, VERIFIED_RUNS, shrink};

#[derive(Debug, Args)]
pub(super) struct Shrinking {
    /// The scenario file, with a seed that fails; or a plan that a run saved
    file: String,
    /// The seed, 0 to 2^64 - 1; without one the file is a plan
    #[arg(long, value_parser = seed)]
    seed: Option<u64>,
    /// The seed also draws which faults are on, and how hard, as in `explore`
    #[arg(long, requires = "seed")]
    swarm: bool,
    /// The engine; by default the one that saved the plan, or the first
    #[arg(long)]
    engine: Option<String>,
    /// Keeps what comes of it as scenarios/found/NAME.toml, for `cargo test`
    #[arg(long, value_name = "NAME", conflicts_with = "save", value_parser = name)]
    name: Option<String>,
    /// Keeps what comes of it in a file
    #[arg(long, value_name = "FILE")]
    save: Option<String>,
    /// Writes over a file that is there
    #[arg(long)]
    force: bool,
    /// Writes a page that draws what comes of it, in one file
    #[arg(long, value_name = "FILE")]
    html: Option<String>,
    #[command(flatten)]
    bounds: Bounds,
}

/// How far shrinking goes at the most.
#[derive(Debug, Args)]
pub(super) struct Bounds {
    /// How many runs shrinking makes at most
    #[arg(long, value_name = "RUNS", default_value_t = Limits::default().runs_max)]
    runs_max: u32,
    /// How many seconds shrinking takes at most
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().wall_max.as_secs())]
    wall_max: u64,
}

impl Bounds {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            runs_max: self.runs_max,
            wall_max: Duration::from_secs(self.wall_max),
        }
    }
}

/// The name of a plan that is kept.
pub(super) fn name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match !text.is_empty() && text.chars().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("expected a name of a-z, 0-9 and _".to_owned()),
    }
}

/// Runs plans in processes of their own.
struct InPool<'a>(&'a Pool<'a>);

impl Judge for InPool<'_> {
    fn judge(&mut self, plan: &Plan) -> Result<Shown, String> {
        let summary = self.0.one(plan.clone(), Twice::Yes)?;
        Ok(Shown {
            verdict: summary.verdict.word().to_owned(),
            failure: summary.signature(),
            digest: summary.digest,
        })
    }
}

impl Shell<'_> {
    pub(super) fn shrink(
        &self,
        asked: Shrinking,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let file = &asked.file;
        let plan = match asked.seed {
            Some(seed) => self.plan(file, seed, asked.swarm)?,
            None => files::plan(file)?,
        };
        let saved_by = plan.recorded.as_ref().map(|recorded| &recorded.engine);
        let engine = asked.engine.clone().or(saved_by.cloned());
        let engine = engine.unwrap_or_else(|| engine::NAMES[0].to_owned());
        engine_of(&engine)?;
        let save = asked.name.map(|name| files::kept(&name)).or(asked.save);
        let save = save
            .map(|save| Whole::begin(&save, asked.force))
            .transpose()?;
        let page = Output::open(asked.html)?;
        let shrunk = self.shrunk(&plan, &engine, asked.bounds.limits(), err)?;
        files::print(out, &Told(&shrunk).to_string())?;
        let run = self.run_small(&shrunk.after, &engine)?;
        self.keep(&shrunk, &run, save, page, out)?;
        Ok(PASS)
    }

    pub(super) fn shrunk(
        &self,
        plan: &Plan,
        engine: &str,
        limits: Limits,
        err: &mut dyn Write,
    ) -> Result<Shrunk, Problem> {
        // Held back before the pool starts its processes, which are to outlive it as well.
        let interrupt = Interrupt::hold();
        let pool = Pool::new(self.systems, engine, 1);
        let clock = MachineClock::new();
        let mut shown = None;
        let mut watch = |progress: &Progress| {
            let Progress { doing, after, .. } = *progress;
            // A step is told as it begins, where there is less to tell of than before.
            if shown.is_none_or(|(before, size)| before != doing && size != after) {
                shown = Some((doing, after));
                // What cannot be shown is no reason to stop.
                let _ = writeln!(err, "{}", Line(progress));
            }
            !interrupt.is_asked()
        };
        let shrunk = shrink(
            plan,
            &mut InPool(&pool),
            limits,
            &|| clock.now(),
            &mut watch,
        );
        shrunk.map_err(|error| error.to_string())
    }

    /// Runs what has come of it once more, for its report.
    pub(super) fn run_small(&self, plan: &Plan, engine: &str) -> Result<Run, Problem> {
        let anew = engine::anew(engine, self.systems);
        let anew = anew.map_err(|error| format!("the engine does not start: {error}"))?;
        let anew = anew.ok_or_else(|| engine::missing(engine))?;
        run(plan, self.systems, &*anew).map_err(|error| error.to_string())
    }

    /// Reports what has come of it, and saves it.
    fn keep(
        &self,
        shrunk: &Shrunk,
        run: &Run,
        save: Option<Whole>,
        page: Option<Output>,
        out: &mut dyn Write,
    ) -> Result<(), Problem> {
        let command = match &save {
            Some(save) => format!("{} replay {}", self.program, save.name()),
            None => "not saved: add --name NAME or --save FILE".to_owned(),
        };
        let report = Report::new(run, command.as_str());
        let written = report.write_text(out);
        written.map_err(|error| format!("the report cannot be written: {error}"))?;
        draw(run, &command, page)?;
        let Some(save) = save else { return Ok(()) };
        let name = save.name().to_owned();
        save.end(&self.text_to_keep(shrunk, run, &name))?;
        files::print(out, &format!("saved       {name}\n"))
    }

    /// What a kept plan's file says: what it is, and the plan with what it must show.
    pub(super) fn text_to_keep(&self, shrunk: &Shrunk, run: &Run, file: &str) -> String {
        let mut plan = to_save(run);
        plan.expected = Some(Expected::Failure(shrunk.failure.to_string()));
        format!("{}{}", head(shrunk, self.program, file), plan.to_text())
    }
}

/// What a kept plan says of itself to who opens its file.
fn head(shrunk: &Shrunk, program: &str, file: &str) -> String {
    let (plan, before, left) = (
        &shrunk.before,
        Size::of(&shrunk.before),
        Size::of(&shrunk.after),
    );
    let seconds = |size: Size| size.duration_ms as f64 / 1000.0;
    format!(
        "# Shrunk from {}, seed {}:\n\
         # faults {} -> {}, nodes {} -> {}, operations {} -> {}, seconds {} -> {}.\n\
         #\n\
         # What a run of it must show stands under [expected], and `cargo test` holds it to that.\n\
         # To see it, and to say that it is mended once it is:\n\
         #\n\
         #     {program} replay {file}\n\
         #     {program} replay {file} --accept\n",
        plan.scenario,
        plan.seed,
        before.faults,
        left.faults,
        before.nodes,
        left.nodes,
        before.operations,
        left.operations,
        seconds(before),
        seconds(left),
    )
}

/// How far it has come, in a line.
struct Line<'a>(&'a Progress);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress {
            doing,
            runs,
            wall,
            after,
            ..
        } = self.0;
        let (seconds, wall) = (after.duration_ms as f64 / 1000.0, wall.as_secs_f64());
        let Size {
            faults,
            nodes,
            operations,
            ..
        } = after;
        write!(
            f,
            "{wall:>7.1} s  {runs:>4} runs   {faults} faults, {nodes} nodes, {operations} \
             operations, {seconds} s: trying {doing}"
        )
    }
}

/// How much smaller it is than before, in lines.
pub(super) struct Smaller<'a>(pub(super) &'a Shrunk);

impl fmt::Display for Smaller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, left] = [&self.0.before, &self.0.after].map(Size::of);
        let count = |before: usize, left: usize| [before, left].map(|size| size.to_string());
        let seconds = [before, left].map(|size| format!("{}", size.duration_ms as f64 / 1000.0));
        let lines = [
            ("faults", count(before.faults, left.faults)),
            (
                "fault events",
                count(before.fault_events, left.fault_events),
            ),
            ("nodes", count(before.nodes, left.nodes)),
            ("operations", count(before.operations, left.operations)),
            ("seconds", seconds),
        ];
        for (what, [before, left]) in lines {
            writeln!(f, "  {what:<13} {before:>12} -> {left}")?;
        }
        Ok(())
    }
}

/// What has come of it, as before and after.
struct Told<'a>(&'a Shrunk);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shrunk { before, after, .. } = self.0;
        let (runs, wall) = (self.0.runs, self.0.wall.as_secs_f64());
        writeln!(
            f,
            "{}, seed {}, shrunk by {runs} runs in {wall:.1} s\n",
            before.scenario, before.seed
        )?;
        let [was, is] = [before, after].map(|plan| plan.network.latency.to_string());
        let smaller = Smaller(self.0);
        writeln!(f, "{smaller}  {:<13} {was:>12} -> {is}", "latency")?;
        writeln!(f, "\nfailure     {}", self.0.failure)?;
        for other in &self.0.others {
            writeln!(
                f,
                "not         {other}: smaller plans failed so, and were not taken"
            )?;
        }
        if let Some(stopped) = self.0.stopped {
            writeln!(f, "ended early {}: there may be less to it", why(stopped))?;
        }
        writeln!(
            f,
            "verified    {VERIFIED_RUNS} runs, one trace: {}\n",
            self.0.digest
        )
    }
}

/// Why it ended before nothing more could be left out, in words.
pub(super) const fn why(stopped: Stopped) -> &'static str {
    match stopped {
        Stopped::Runs => "it has made as many runs as it may (--runs-max)",
        Stopped::Wall => "it has taken as long as it may (--wall-max)",
        Stopped::Asked => "it was interrupted",
    }
}
