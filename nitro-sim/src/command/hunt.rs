//! The verb `hunt`: from a scenario to the first seed that fails, to the little that the failure
//! needs, to a picture of it. What is found is told on one screen.

use std::fmt::Write as _;
use std::io::Write;
use std::num::NonZero;
use std::ops::ControlFlow;

use clap::Args;
use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;

use super::explore::{at_once, jobs};
use super::files::{self, Output, Whole};
use super::shrink::{Bounds, Smaller, name, why};
use super::{FAIL, PASS, Problem, REFUSED, Shell, engine_of, report};
use crate::check::{Reason, promises};
use crate::engine;
use crate::explore::interrupt::Interrupt;
use crate::explore::progress::Progress;
use crate::explore::{Seeds, Sweep, Tally};
use crate::report::Report;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::shrink::Shrunk;

/// How many seeds run at most: where so many show nothing, the scenario is to be thought over.
const SEEDS: &str = "1000";

/// How much of what the checks found is told: the rest is on the page.
const REASON_LINES_MAX: usize = 4;

/// What `hunt` takes.
#[derive(Debug, Args)]
pub(super) struct Hunt {
    /// The scenario file
    scenario: String,
    /// How many seeds at most, from 0 on, or a range such as 500..1000
    #[arg(long, default_value = SEEDS)]
    seeds: Seeds,
    /// How many run at a time; by default as many as there are cores
    #[arg(long, value_parser = jobs)]
    jobs: Option<NonZero<usize>>,
    /// The engine
    #[arg(long, default_value = engine::NAMES[0])]
    engine: String,
    /// Runs the scenario as it is: no seed draws which faults are on
    #[arg(long)]
    no_swarm: bool,
    /// Where the plan, the trace and the page go; by default `found` in cargo's target directory
    #[arg(long, value_name = "DIRECTORY")]
    into: Option<String>,
    /// Keeps the plan as scenarios/found/NAME.toml, for `cargo test`
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Writes over a plan that is kept under that name
    #[arg(long, requires = "name")]
    force: bool,
    #[command(flatten)]
    bounds: Bounds,
}

/// The files that are written.
struct Found {
    plan: Whole,
    trace: Output,
    page: Output,
}

impl Found {
    fn begin(asked: &Hunt, scenario: &Scenario) -> Result<Self, Problem> {
        let directory = asked.into.clone().unwrap_or_else(files::found_directory);
        let path = |ending: &str| format!("{directory}/{}.{ending}", scenario.name);
        std::fs::create_dir_all(&directory)
            .map_err(|error| format!("{directory} cannot be made: {error}"))?;
        let plan = match &asked.name {
            Some(name) => Whole::begin(&files::kept(name), asked.force)?,
            None => Whole::begin(&path("toml"), true)?,
        };
        Ok(Self {
            plan,
            trace: Output::begin(path("jsonl"))?,
            page: Output::begin(path("html"))?,
        })
    }
}

impl Shell<'_> {
    /// Runs seeds until one fails, and makes that failure small and plain.
    pub(super) fn hunt(
        &self,
        asked: &Hunt,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let file = &asked.scenario;
        let (scenario, _) = files::scenario(file, self.systems)?;
        let engine = engine_of(&asked.engine)?;
        let sweep = Sweep {
            scenario: &scenario,
            systems: self.systems,
            engine: &asked.engine,
            seeds: asked.seeds,
            jobs: at_once(asked.jobs),
            swarm: !asked.no_swarm,
            stop_at: Some(1),
        };
        let first = sweep.first(&*engine);
        if let Some((plan, system)) = first.map_err(|error| format!("{file}: {error}"))? {
            let words = promised(&scenario.name, &promises(&plan, system));
            files::print(out, &words)?;
        }
        let found = Found::begin(asked, &scenario)?;
        let (tally, seconds) = self.swept(&sweep, err)?;
        let Some((_, kind)) = tally.failures.first_key_value() else {
            files::print(out, &nothing(&tally, seconds))?;
            return Ok(if tally.passed > 0 { FAIL } else { REFUSED });
        };
        files::print(out, &broken(&tally, kind.first, &kind.reasons, seconds))?;
        let plan = sweep.plan(kind.first).map_err(|error| error.to_string())?;
        let shrunk = self.shrunk(&plan, &asked.engine, asked.bounds.limits(), err)?;
        files::print(out, &smaller(&shrunk))?;
        let run = self.run_small(&shrunk.after, &asked.engine)?;
        self.tell(asked, &shrunk, &run, found, out)?;
        Ok(PASS)
    }

    /// Runs seeds until one fails: what came of them, and in how many seconds.
    fn swept(&self, sweep: &Sweep<'_>, err: &mut dyn Write) -> Result<(Tally, f64), Problem> {
        let (clock, interrupt) = (MachineClock::new(), Interrupt::hold());
        let mut line = Progress::new(err, self.is_terminal, sweep.seeds.count());
        let mut is_cut = false;
        let tally = sweep.run(|step| {
            line.tell(step.tally, clock.now().since(Instant::ORIGIN));
            is_cut = interrupt.is_asked();
            match is_cut {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        line.clear();
        if is_cut && tally.failures.is_empty() {
            let done = tally.done.count();
            return Err(format!(
                "interrupted after {done} seeds, none of which failed"
            ));
        }
        Ok((tally, clock.now().since(Instant::ORIGIN).as_secs_f64()))
    }

    /// Tells what happened in the small plan's run, and leaves it in files.
    fn tell(
        &self,
        asked: &Hunt,
        shrunk: &Shrunk,
        run: &Run,
        mut found: Found,
        out: &mut dyn Write,
    ) -> Result<(), Problem> {
        let plan_name = found.plan.name().to_owned();
        let again = format!("{} replay {plan_name}", self.program);
        let report = Report::brief(run, again.as_str());
        let unwritten = |error| format!("the output cannot be written: {error}");
        report.write_story(out).map_err(unwritten)?;
        found.trace.write(|out| run.save_trace(out))?;
        let (trace, page) = (found.trace.name().to_owned(), found.page.name().to_owned());
        report::draw(run, &again, Some(found.page))?;
        found
            .plan
            .end(&self.text_to_keep(shrunk, run, &plan_name))?;
        let mut lines = format!(
            "picture     {page}, for a browser\nplan        {plan_name}\ntrace       {trace}\n\
             again       {again}\n"
        );
        if asked.name.is_none() {
            let (program, file, name) = (self.program, &asked.scenario, &run.plan.scenario);
            let keep = format!("keep        {program} hunt {file} --name {name}\n");
            lines.push_str(&keep);
        }
        files::print(out, &lines)
    }
}

/// What the run is to keep, in lines.
fn promised(scenario: &str, promises: &[String]) -> String {
    let mut lines = format!("{scenario}, hunted\n\n");
    for (index, promise) in promises.iter().enumerate() {
        let title = if index == 0 { "promised" } else { "" };
        lines.push_str(format!("{title:<12}{promise}").trim_end());
        lines.push('\n');
    }
    lines.push('\n');
    lines
}

/// What the first seed that failed has broken.
fn broken(tally: &Tally, seed: u64, reasons: &[Reason], seconds: f64) -> String {
    let done = tally.done.count();
    let mut lines = format!("broken      by seed {seed}, {done} seeds in, after {seconds:.1} s\n");
    let mut last = "";
    for reason in reasons.iter().take(REASON_LINES_MAX) {
        if reason.check != last {
            writeln!(lines, "            {}", reason.check).expect("a text takes it");
            last = &reason.check;
        }
        let what = reason.what.lines().next().unwrap_or_default();
        writeln!(lines, "              {what}").expect("a text takes it");
    }
    lines
}

/// How much smaller the plan is that shows it.
fn smaller(shrunk: &Shrunk) -> String {
    let (runs, wall) = (shrunk.runs, shrunk.wall.as_secs_f64());
    let early = shrunk.stopped.map(|stopped| format!("; {}", why(stopped)));
    let early = early.unwrap_or_default();
    let smaller = Smaller(shrunk);
    format!("\nshrunk      by {runs} runs in {wall:.1} s{early}\n{smaller}\n")
}

/// What is said where nothing is found.
fn nothing(tally: &Tally, seconds: f64) -> String {
    let (done, passed) = (tally.done.count(), tally.passed);
    let mut lines =
        format!("kept        by {passed} of {done} seeds, and broken by none, in {seconds:.1} s\n");
    let others = [
        ("inconclusive", tally.inconclusive, &tally.doubts),
        ("not run", tally.refused, &tally.refusals),
    ];
    for (title, count, kinds) in others {
        if let Some((why, _)) = kinds.first_key_value() {
            writeln!(lines, "{title:<12}{count}, such as: {why}").expect("a text takes it");
        }
    }
    lines
}
