//! The verbs `explore` and `merge`: a sweep over seeds, and the parts of one put together.

use std::io::Write;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;

use super::results_file::ResultsFile;
use super::{FAIL, PASS, Problem, REFUSED, Shell, engine_of, files};
use crate::engine;
use crate::explore::interrupt::Interrupt;
use crate::explore::progress::Progress;
use crate::explore::results::Results;
use crate::explore::table::{self, Commands};
use crate::explore::{Seeds, Shard, Sweep, Tally};

/// How often the results so far are saved while a sweep goes on: what is lost when the machine
/// goes down is no more than that.
const SAVE_EVERY: Duration = Duration::from_secs(10);

/// What `explore` takes.
#[derive(Debug, Args)]
pub(super) struct Explore {
    /// The scenario file
    scenario: String,
    /// How many seeds, from 0 on, or a range such as 500..1000
    #[arg(long)]
    seeds: Seeds,
    /// How many run at a time; by default as many as there are cores
    #[arg(long, value_parser = jobs)]
    jobs: Option<NonZero<usize>>,
    /// The engine
    #[arg(long, default_value = engine::NAMES[0])]
    engine: String,
    /// Ends after so many different failures; by default at the end of the seeds
    #[arg(long, value_name = "KINDS")]
    stop_at: Option<NonZero<usize>>,
    /// Writes the results, for `merge` and for programs
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Runs one part of the seeds, such as 0/4, the first of four
    #[arg(long)]
    shard: Option<Shard>,
    /// Runs the scenario as it is: no seed draws which faults are on
    #[arg(long)]
    no_swarm: bool,
}

/// What `merge` takes.
#[derive(Debug, Args)]
pub(super) struct Merge {
    /// The results files
    #[arg(required = true)]
    files: Vec<String>,
    /// Writes the results of all
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

pub(super) fn jobs(text: &str) -> Result<NonZero<usize>, String> {
    text.parse()
        .map_err(|_| "expected how many runs go on at a time, 1 or more".to_owned())
}

/// How many runs go on at a time: as many as there are cores, where nothing is asked for.
pub(super) fn at_once(asked: Option<NonZero<usize>>) -> usize {
    let cores = std::thread::available_parallelism().ok();
    asked.or(cores).map_or(1, NonZero::get)
}

impl Shell<'_> {
    pub(super) fn explore(
        &self,
        asked: &Explore,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let file = &asked.scenario;
        let (scenario, text) = files::scenario(file, self.systems)?;
        let engine = engine_of(&asked.engine)?;
        let seeds = asked
            .shard
            .map_or(asked.seeds, |shard| asked.seeds.shard(shard));
        let sweep = Sweep {
            scenario: &scenario,
            systems: self.systems,
            engine: &asked.engine,
            seeds,
            jobs: at_once(asked.jobs),
            swarm: !asked.no_swarm,
            stop_at: asked.stop_at.map(NonZero::get),
        };
        sweep
            .first(&*engine)
            .map_err(|error| format!("{file}: {error}"))?;
        let mut results = Results::of(&sweep, file, &text);
        let mut json = ResultsFile::open(asked.json.as_deref())?;
        let interrupt = Interrupt::hold();
        let progress = Progress::new(err, self.is_terminal, seeds.count());
        let commands = self.commands(&results);
        let is_cut = watch(
            &sweep,
            &mut results,
            progress,
            &mut json,
            &commands,
            &interrupt,
        );
        let code = code(&results.tally, is_cut);
        let shown = table::write(out, &results, &commands, &nitro::assertion::points());
        let saved = json.map_or(Ok(()), |json| json.finish(&results));
        shown.map_err(|error| format!("the output cannot be written: {error}"))?;
        saved?;
        Ok(code)
    }

    /// The commands that repeat what a sweep found.
    fn commands(&self, results: &Results) -> Commands {
        let mut flags = String::new();
        if results.engine != engine::NAMES[0] {
            flags.push_str(&format!(" --engine {}", results.engine));
        }
        if results.swarm {
            flags.push_str(" --swarm");
        }
        Commands {
            program: self.program.to_owned(),
            flags,
        }
    }

    pub(super) fn merge(&self, asked: &Merge, out: &mut dyn Write) -> Result<u8, Problem> {
        let mut merged: Option<Results> = None;
        let mut taken: Vec<(&str, Results)> = Vec::new();
        for file in &asked.files {
            let text = files::read(file)?;
            let results = Results::from_text(&text).map_err(|error| format!("{file} {error}"))?;
            if let Some((same, _)) = taken.iter().find(|(_, earlier)| *earlier == results) {
                files::print(out, &format!("{file} is {same} again: it counts once\n"))?;
                continue;
            }
            match &mut merged {
                None => merged = Some(results.clone()),
                Some(merged) => merged
                    .merge(&results)
                    .map_err(|error| format!("{file} {error}"))?,
            }
            taken.push((file, results));
        }
        let merged = merged.ok_or("there is nothing to merge")?;
        let json = ResultsFile::open(asked.json.as_deref())?;
        files::print(out, &format!("{} results of one sweep\n\n", taken.len()))?;
        table::write(
            out,
            &merged,
            &self.commands(&merged),
            &nitro::assertion::points(),
        )
        .map_err(|error| format!("the output cannot be written: {error}"))?;
        json.map_or(Ok(()), |json| json.finish(&merged))?;
        let is_cut = merged.asked != merged.tally.done;
        Ok(code(&merged.tally, is_cut))
    }
}

/// Runs the sweep with the results kept up to date: whether it was cut short.
fn watch(
    sweep: &Sweep<'_>,
    results: &mut Results,
    mut progress: Progress<'_>,
    json: &mut Option<ResultsFile>,
    commands: &Commands,
    interrupt: &Interrupt,
) -> bool {
    let clock = MachineClock::new();
    let mut is_cut = false;
    let mut saved = Duration::ZERO;
    let file = results.file.clone();
    let tally = sweep.run(|step| {
        let elapsed = clock.now().since(Instant::ORIGIN);
        if let Some((signature, kind)) = step.new {
            let (again, shrink) = ("run", "shrink");
            let [again, shrink] = [again, shrink].map(|verb| commands.of(verb, &file, kind.first));
            progress.say(&format!(
                "seed {} fails: {signature}\n    again   {again}\n    shrink  {shrink}",
                kind.first
            ));
        }
        progress.tell(step.tally, elapsed);
        if elapsed.saturating_sub(saved) > SAVE_EVERY
            && let Some(json) = json
        {
            saved = elapsed;
            results.tally = step.tally.clone();
            if let Some(problem) = json.keep(results) {
                progress.say(&format!("{problem}; the sweep goes on"));
            }
        }
        is_cut = interrupt.is_asked();
        match is_cut {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let elapsed = clock.now().since(Instant::ORIGIN).as_secs_f64().max(1e-3);
    let (done, rate) = (tally.done.count(), tally.done.count() as f64 / elapsed);
    let jobs = sweep.jobs;
    let words = if is_cut { "interrupted after " } else { "" };
    progress.say(&format!(
        "{words}{done} seeds in {elapsed:.1} s, {rate:.1} a second, {jobs} at a time"
    ));
    results.tally = tally;
    is_cut
}

/// What a sweep that failed nowhere proves depends on whether it is whole and anything passed.
fn code(tally: &Tally, is_cut: bool) -> u8 {
    match (tally.failed, tally.passed) {
        (1.., _) => FAIL,
        (0, 1..) if !is_cut => PASS,
        _ => REFUSED,
    }
}
