//! The command line, over any systems: `run`, `hunt`, `explore`, `merge`, `replay`, `report`,
//! `diff`, `verify`, `shrink`, `plan`, `check`, `systems`.

mod explore;
mod files;
mod hunt;
mod kept;
mod report;
mod results_file;
mod seeds;
mod shrink;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::check::Verdict;
use crate::engine::{self, Engine};
use crate::plan::Plan;
use crate::replay::{replay, to_save, verify};
use crate::report::Report;
use crate::run::{Run, run};
use crate::system::Systems;
use files::Output;
use shrink::Shrinking;

/// Runs services inside a seeded simulated cluster that fails on command.
///
/// Exit code: 0 pass, 1 fail, 2 inconclusive, refused or wrong input.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs a scenario with a seed, and reports
    Run {
        /// The scenario file
        scenario: String,
        /// The seed, 0 to 2^64 - 1: it makes every choice
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// The seed also draws which faults are on, and how hard, as in `explore`
        #[arg(long)]
        swarm: bool,
        /// The engine
        #[arg(long, default_value = engine::NAMES[0])]
        engine: String,
        /// Saves the plan and the run's digest, for `replay`
        #[arg(long, value_name = "FILE")]
        save: Option<String>,
        /// Writes every event as JSON lines
        #[arg(long, value_name = "FILE")]
        trace: Option<String>,
        /// Writes a page that draws the run, in one file
        #[arg(long, value_name = "FILE")]
        html: Option<String>,
    },
    /// Runs seeds until one fails, makes that failure small, and draws it: exit code 0 when one is
    /// found, 1 when none fails
    Hunt(hunt::Hunt),
    /// Runs many seeds of a scenario, and counts failures by what they have in common
    Explore(explore::Explore),
    /// Puts together the results of the parts of a sweep
    Merge(explore::Merge),
    /// Runs a saved plan again, and compares digests
    Replay {
        /// The plan file, or a trace file, which brings its plan
        plan: String,
        /// The engine; by default the one that saved the plan
        #[arg(long)]
        engine: Option<String>,
        /// Writes every event as JSON lines
        #[arg(long, value_name = "FILE")]
        trace: Option<String>,
        /// Makes what a kept plan shows now what it must show from now on
        #[arg(long)]
        accept: bool,
        /// Writes a page that draws the run, in one file
        #[arg(long, value_name = "FILE")]
        html: Option<String>,
    },
    /// Tells of a trace made before: as text, as JSON, or as a page that draws it
    Report {
        /// The trace file
        trace: String,
        /// The plan it is a trace of; by default the one that it brings
        #[arg(long, value_name = "FILE")]
        plan: Option<String>,
        #[command(flatten)]
        forms: report::Forms,
    },
    /// Tells where two traces part, and what differs after
    Diff {
        /// The one trace file
        one: String,
        /// The other
        other: String,
        /// Writes a page that draws both, in one file
        #[arg(long, value_name = "FILE")]
        html: Option<String>,
    },
    /// Runs a scenario several times with one seed, and finds where the runs part
    Verify {
        /// The scenario file
        scenario: String,
        /// The seed, 0 to 2^64 - 1
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// How often
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=RUNS_MAX))]
        runs: u32,
        /// The engine
        #[arg(long, default_value = engine::NAMES[0])]
        engine: String,
    },
    /// Makes a failing plan as small as it goes, and keeps what comes of it
    Shrink(Shrinking),
    /// Prints the plan of a scenario and a seed, without running it
    Plan {
        /// The scenario file
        scenario: String,
        /// The seed, 0 to 2^64 - 1
        #[arg(long, value_parser = seed)]
        seed: u64,
        /// The seed also draws which faults are on, and how hard, as in `explore`
        #[arg(long)]
        swarm: bool,
    },
    /// Checks scenario files, without running them
    Check {
        /// The scenario files
        #[arg(required = true)]
        scenarios: Vec<String>,
    },
    /// Lists the registered systems
    Systems,
}

/// What is passed through to where it is shown: what went wrong before or beside a run.
type Problem = String;

const PASS: u8 = 0;
const FAIL: u8 = 1;
const REFUSED: u8 = 2;

/// How many runs `verify` makes at most: more would find nothing that these did not.
const RUNS_MAX: i64 = 1000;

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number from 0 to {}", u64::MAX))
}

/// Runs the command line of this process over the systems.
pub fn main(systems: &Systems) -> ExitCode {
    let program = files::program();
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let is_terminal = std::io::stderr().is_terminal();
    let shell = Shell {
        systems,
        program: &program,
        is_terminal,
    };
    ExitCode::from(shell.execute(std::env::args_os(), &mut out, &mut err))
}

/// Runs a command line: its exit code. `program` begins the commands that it prints.
pub fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    systems: &Systems,
    program: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let shell = Shell {
        systems,
        program,
        is_terminal: false,
    };
    shell.execute(arguments, out, err)
}

struct Shell<'a> {
    systems: &'a Systems,
    program: &'a str,
    /// Whether a person sees the error output while it is written.
    is_terminal: bool,
}

impl Shell<'_> {
    fn execute(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> u8 {
        let arguments = match Arguments::try_parse_from(arguments) {
            Ok(arguments) => arguments,
            Err(error) => {
                let is_asked_for = error.exit_code() == 0;
                let to: &mut dyn Write = if is_asked_for { out } else { err };
                // Nothing is left to do for a reader that has gone.
                let _ = write!(to, "{error}");
                return if is_asked_for { PASS } else { REFUSED };
            }
        };
        match self.perform(arguments.verb, out, err) {
            Ok(code) => code,
            Err(problem) => {
                let _ = writeln!(err, "{problem}");
                REFUSED
            }
        }
    }

    fn perform(&self, verb: Verb, out: &mut dyn Write, err: &mut dyn Write) -> Result<u8, Problem> {
        match verb {
            Verb::Run {
                scenario,
                seed,
                swarm,
                engine,
                save,
                trace,
                html,
            } => {
                let plan = self.plan(&scenario, seed, swarm)?;
                self.run(&scenario, &plan, &engine, [save, trace, html], out)
            }
            Verb::Hunt(asked) => self.hunt(&asked, out, err),
            Verb::Explore(explore) => self.explore(&explore, out, err),
            Verb::Merge(merge) => self.merge(&merge, out),
            Verb::Replay {
                plan,
                engine,
                trace,
                accept,
                html,
            } => self.replay(&plan, engine, [trace, html], accept, out),
            Verb::Report { trace, plan, forms } => self.report(&trace, plan.as_deref(), forms, out),
            Verb::Diff { one, other, html } => self.diff([&one, &other], html, out),
            Verb::Verify {
                scenario,
                seed,
                runs,
                engine,
            } => self.verify(&scenario, seed, runs, &engine, out),
            Verb::Shrink(asked) => self.shrink(asked, out, err),
            Verb::Plan {
                scenario,
                seed,
                swarm,
            } => {
                let text = self.plan(&scenario, seed, swarm)?.to_text();
                files::print(out, &text)?;
                Ok(PASS)
            }
            Verb::Check { scenarios } => self.check(&scenarios, out),
            Verb::Systems => self.list(out),
        }
    }

    fn plan(&self, file: &str, seed: u64, swarm: bool) -> Result<Plan, Problem> {
        let (scenario, _) = files::scenario(file, self.systems)?;
        let plan = match swarm {
            true => Plan::swarm(&scenario, seed),
            false => Plan::new(&scenario, seed),
        };
        plan.map_err(|error| format!("{file}, seed {seed}: {error}"))
    }

    fn run(
        &self,
        file: &str,
        plan: &Plan,
        engine: &str,
        [save, trace, page]: [Option<String>; 3],
        out: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let engine = engine_of(engine)?;
        if let Some(note) = engine::DEFAULT_NOTE.filter(|_| engine.name() == engine::NAMES[0]) {
            files::print(out, &format!("{note}\n\n"))?;
        }
        let (mut save, mut trace) = (Output::open(save)?, Output::open(trace)?);
        let page = Output::open(page)?;
        let run = run(plan, self.systems, &*engine).map_err(|error| error.to_string())?;
        if let Some(save) = &mut save {
            save.write(|out| out.write_all(to_save(&run).to_text().as_bytes()))?;
        }
        if let Some(trace) = &mut trace {
            trace.write(|out| run.save_trace(out))?;
        }
        let mut command = format!("{} run {file} --seed {}", self.program, plan.seed);
        if engine.name() != engine::NAMES[0] {
            command.push_str(&format!(" --engine {}", engine.name()));
        }
        if plan.swarm.is_some() {
            command.push_str(" --swarm");
        }
        report::draw(&run, &command, page)?;
        show(&run, command, out)
    }

    fn replay(
        &self,
        file: &str,
        engine: Option<String>,
        [trace, page]: [Option<String>; 2],
        accept: bool,
        out: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let plan = report::plan_to_replay(file)?;
        let saved_by = plan.recorded.as_ref().map(|recorded| &recorded.engine);
        let name = engine.or(saved_by.cloned());
        let engine = engine_of(name.as_deref().unwrap_or(engine::NAMES[0]))?;
        let (mut trace, page) = (Output::open(trace)?, Output::open(page)?);
        let run = replay(&plan, self.systems, &*engine).map_err(|error| error.to_string())?;
        if let Some(trace) = &mut trace {
            trace.write(|out| run.save_trace(out))?;
        }
        let command = format!("{} replay {file}", self.program);
        report::draw(&run, &command, page)?;
        if plan.expected.is_some() || accept {
            return kept::tell(file, &run, accept, command, out);
        }
        let digest = run.outcome.trace.digest();
        let compared = match &plan.recorded {
            Some(recorded) if recorded.engine != run.engine => {
                format!("saved by {}, whose digests are its own", recorded.engine)
            }
            Some(recorded) if recorded.trace == digest => "the digest is the saved one".to_owned(),
            Some(_) => "the digest is NOT the saved one".to_owned(),
            None => "no run saved the plan: there is no digest to compare".to_owned(),
        };
        files::print(out, &format!("replay of {file}: {compared}\n\n"))?;
        show(&run, command, out)
    }

    fn verify(
        &self,
        file: &str,
        seed: u64,
        runs: u32,
        engine: &str,
        out: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let plan = self.plan(file, seed, false)?;
        engine_of(engine)?;
        let anew = || {
            let started = engine::anew(engine, self.systems);
            let started = started.map_err(|error| format!("the engine does not start: {error}"))?;
            started.ok_or_else(|| engine::missing(engine))
        };
        let verified = verify(&plan, self.systems, runs, anew)?;
        files::print(
            out,
            &format!("verify of {file}, seed {seed}, on {engine}: {verified}\n"),
        )?;
        Ok(if verified.parted.is_none() {
            PASS
        } else {
            FAIL
        })
    }

    fn check(&self, files: &[String], out: &mut dyn Write) -> Result<u8, Problem> {
        let mut wrong = Vec::new();
        for file in files {
            match files::scenario(file, self.systems) {
                Ok(_) => files::print(out, &format!("{file}: right\n"))?,
                Err(problem) => wrong.push(problem),
            }
        }
        match wrong.is_empty() {
            true => Ok(PASS),
            false => Err(wrong.join("\n\n")),
        }
    }

    fn list(&self, out: &mut dyn Write) -> Result<u8, Problem> {
        for system in self.systems.iter() {
            let roles: Vec<&str> = system.role_names().collect();
            let operations: Vec<&str> = system.operation_names().collect();
            let invariants = system.invariants().iter();
            let invariants: Vec<&str> = invariants.map(|(name, _)| name.as_str()).collect();
            let text = format!(
                "{}\n  roles       {}\n  operations  {}\n  invariants  {}\n",
                system.name(),
                roles.join(", "),
                operations.join(", "),
                invariants.join("; ")
            );
            files::print(out, &text)?;
        }
        Ok(PASS)
    }
}

fn engine_of(name: &str) -> Result<Box<dyn Engine>, Problem> {
    engine::by_name(name).ok_or_else(|| engine::missing(name))
}

fn show(run: &Run, command: String, out: &mut dyn Write) -> Result<u8, Problem> {
    let report = Report::new(run, command);
    report
        .write_text(out)
        .map_err(|error| format!("the report cannot be written: {error}"))?;
    Ok(match run.verdict {
        Verdict::Pass => PASS,
        Verdict::Fail(_) => FAIL,
        Verdict::Inconclusive(_) => REFUSED,
    })
}

/// Runs a scenario file with a seed, for a test: one line.
///
/// A file that is not found where the test runs is looked for in the directories above, so that
/// the tests of a workspace's packages find the scenarios at its top.
///
/// # Panics
///
/// With the report, when the run does not pass or cannot be made.
pub fn assert_passes(file: &str, seed: u64, systems: &Systems) {
    let shell = Shell {
        systems,
        program: "nitro-sim",
        is_terminal: false,
    };
    let file = files::find_above(file);
    let plan = shell
        .plan(&file, seed, false)
        .unwrap_or_else(|error| panic!("{error}"));
    let engine = engine::anew(engine::NAMES[0], systems).unwrap_or_else(|error| panic!("{error}"));
    let engine = engine.expect("the default engine is there");
    let run = run(&plan, systems, &*engine).unwrap_or_else(|error| panic!("{error}"));
    if run.verdict != Verdict::Pass {
        let mut text = Vec::new();
        let report = Report::new(&run, files::test_command());
        report
            .write_text(&mut text)
            .expect("a text takes what is written to it");
        panic!("{}", String::from_utf8_lossy(&text));
    }
}

/// Runs a scenario file with many seeds, for a test: one line.
///
/// A file that is not found where the test runs is looked for in the directories above.
///
/// # Panics
///
/// With the report of the first run that fails, or when none passes.
pub fn assert_passes_seeds(file: &str, seeds: u64, systems: &Systems) {
    seeds::assert_pass(file, seeds, systems);
}

/// Runs every plan that is kept in a directory, for a test: one line.
///
/// A directory that is not found where the test runs is looked for in the directories above.
///
/// # Panics
///
/// With each plan that does not show what it must, and what to do.
pub fn assert_kept(directory: &str, systems: &Systems) {
    kept::assert_all(&files::find_above(directory), systems);
}

#[cfg(test)]
mod tests;
