//! A scenario under many seeds in a test: which seeds, and what is left of a failure.

use std::env::{self, VarError};
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::explore::at_once;
use super::files;
use crate::engine;
use crate::explore::{Kind, Seeds, Sweep, Tally};
use crate::plan::Plan;
use crate::replay::to_save;
use crate::report::Report;
use crate::run::{Run, run};
use crate::system::Systems;

/// Says which seeds a test runs, where it is set: a number of them, or a range.
const SEEDS: &str = "NITRO_SEEDS";

/// Runs a scenario file with many seeds, as `explore` does, up to the first failure.
///
/// # Panics
///
/// With the report, and the way to see it again, when a run fails, or none passes.
pub(super) fn assert_pass(file: &str, usual: u64, systems: &Systems) {
    if let Err(problem) = passes(file, usual, systems) {
        panic!("{problem}");
    }
}

fn passes(file: &str, usual: u64, systems: &Systems) -> Result<(), String> {
    let seeds = seeds(usual)?;
    let file = files::find_above(file);
    let (scenario, _) = files::scenario(&file, systems)?;
    let sweep = Sweep {
        scenario: &scenario,
        systems,
        engine: engine::NAMES[0],
        seeds,
        jobs: at_once(None),
        swarm: true,
        stop_at: Some(1),
    };
    let engine = engine::by_name(sweep.engine).ok_or("the default engine is missing")?;
    sweep.first(&*engine).map_err(|error| error.to_string())?;
    let tally = sweep.run(|_| ControlFlow::Continue(()));
    match tally.failures.iter().next() {
        Some((signature, kind)) => Err(shown(&sweep, &file, &tally, signature, kind)),
        None if tally.passed == 0 => Err(format!(
            "of {} seeds ({seeds}) none passed: {} were inconclusive ({}), {} had no plan ({})",
            seeds.count(),
            tally.inconclusive,
            kinds(&tally.doubts),
            tally.refused,
            kinds(&tally.refusals),
        )),
        None => Ok(()),
    }
}

fn kinds(kinds: &std::collections::BTreeMap<String, Kind>) -> String {
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    names.join("; ")
}

/// The seeds that the environment asks for, or the usual number of them.
fn seeds(usual: u64) -> Result<Seeds, String> {
    match env::var(SEEDS) {
        Ok(text) => text.parse().map_err(|error| format!("{SEEDS}: {error}")),
        Err(VarError::NotPresent) => usual.to_string().parse(),
        Err(error) => Err(format!("{SEEDS}: {error}")),
    }
}

/// What a test says of a failure: the report of its first seed, and where to find the rest.
fn shown(sweep: &Sweep<'_>, file: &str, tally: &Tally, signature: &str, kind: &Kind) -> String {
    let (seed, done) = (kind.first, tally.done.count());
    let mut lines = vec![format!(
        "seed {seed}, {done} of {} seeds in, fails: {signature}\n",
        sweep.seeds.count()
    )];
    let command = format!("{SEEDS}={seed}..{} {}", seed + 1, files::test_command());
    match whole(sweep, seed) {
        Ok(run) => {
            let mut text = Vec::new();
            let report = Report::new(&run, command);
            report
                .write_text(&mut text)
                .expect("a text takes what is written to it");
            lines.push(String::from_utf8_lossy(&text).into_owned());
            match kept(&run, &text) {
                Ok(saved) => lines.extend(saved),
                Err(error) => lines.push(format!("nothing could be saved: {error}")),
            }
        }
        // What ends a worker may end this process too: nobody runs it here.
        Err(error) => lines.push(format!("{error}\nagain       {command}")),
    }
    lines.push(format!(
        "or          run {file} --seed {seed} --swarm, with a program whose main is nitro_sim::main"
    ));
    lines.join("\n")
}

/// The run of a seed with its trace.
fn whole(sweep: &Sweep<'_>, seed: u64) -> Result<Run, String> {
    let plan: Plan = sweep.plan(seed).map_err(|error| error.to_string())?;
    let engine = engine::anew(sweep.engine, sweep.systems).map_err(|error| error.to_string())?;
    let engine = engine.ok_or("the default engine is missing")?;
    run(&plan, sweep.systems, &*engine).map_err(|error| error.to_string())
}

/// Saves the report, the plan and the trace of a run: a line for each.
fn kept(run: &Run, report: &[u8]) -> io::Result<Vec<String>> {
    let directory = directory();
    fs::create_dir_all(&directory)?;
    let name = format!("{}-{}", run.plan.scenario, run.plan.seed);
    let path = |ending: &str| directory.join(format!("{name}.{ending}"));
    let (text, plan, trace) = (path("txt"), path("plan.toml"), path("trace.jsonl"));
    fs::write(&text, report)?;
    fs::write(&plan, to_save(run).to_text())?;
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .open(&trace)?;
    let mut out = BufWriter::new(file);
    run.save_trace(&mut out)?;
    out.flush()?;
    let line = |title: &str, path: &Path| format!("{title:<11} {}", path.display());
    Ok(vec![
        line("report", &text),
        line("plan", &plan),
        line("trace", &trace),
    ])
}

/// Where failures of tests are saved: beside the test's program, in the target directory.
fn directory() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let target = program.parent().and_then(Path::parent);
    target
        .map_or_else(env::temp_dir, Path::to_path_buf)
        .join("nitro-sim-failures")
}
