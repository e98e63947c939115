//! Plans that are kept for what they must show: replayed by hand, and all of them in a test.

use std::io::Write;
use std::path::Path;

use super::files::{self, Whole};
use super::{FAIL, PASS, Problem, show};
use crate::check::Verdict;
use crate::engine;
use crate::plan::{Expected, Plan, comments};
use crate::replay::{Kept, to_save};
use crate::run::{Pool, Run, Twice};
use crate::system::Systems;

/// Tells what the run of a kept plan showed and whether it must, and writes into the file what it
/// must show from now on, if that is asked for.
pub(super) fn tell(
    file: &str,
    run: &Run,
    accept: bool,
    command: String,
    out: &mut dyn Write,
) -> Result<u8, Problem> {
    let kept = kept(&run.plan, &run.verdict).map_err(|error| format!("{file} {error}"))?;
    files::print(out, &format!("replay of {file}: {kept}\n\n"))?;
    show(run, command, out)?;
    if !accept {
        return Ok(if kept.is_shown() { PASS } else { FAIL });
    }
    let expected = kept
        .accepted()
        .map_err(|error| format!("{file}: {error}"))?;
    let says = match &expected {
        Expected::Failure(failure) => format!("it must show: {failure}"),
        Expected::Mended(failure) => format!("it must pass: mended is {failure}"),
    };
    let mut plan = to_save(run);
    plan.expected = Some(expected);
    let text = files::read(file)?;
    Whole::begin(file, true)?.end(&format!("{}{}", comments(&text), plan.to_text()))?;
    files::print(out, &format!("accepted    {says}\n"))?;
    Ok(PASS)
}

fn kept(plan: &Plan, verdict: &Verdict) -> Result<Kept, Problem> {
    let expected = plan.expected.as_ref().ok_or(
        "is a plan that is kept for nothing: it has no [expected], which `shrink --name` writes",
    )?;
    Ok(Kept::new(expected, verdict))
}

/// Runs all kept plans of a directory.
///
/// # Panics
///
/// With all that is wrong.
pub(super) fn assert_all(directory: &str, systems: &Systems) {
    let files = plans(directory).unwrap_or_else(|error| panic!("{error}"));
    let mut wrong = Vec::new();
    for file in &files {
        match shows_what_it_must(file, systems) {
            Ok(()) => {}
            Err(Unmet::NotHere(engine)) => {
                // Whoever reads the output of the tests is told; nobody may be left.
                let _ = writeln!(
                    std::io::stderr(),
                    "{file} was not run: it is of the engine {engine}, which is not here"
                );
            }
            Err(Unmet::Wrong(what)) => wrong.push(format!("{file}: {what}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} kept plans do not show what they must\n\n{}\n\n`replay FILE` tells more",
        wrong.len(),
        files.len(),
        wrong.join("\n\n")
    );
}

enum Unmet {
    Wrong(Problem),
    NotHere(String),
}

fn shows_what_it_must(file: &str, systems: &Systems) -> Result<(), Unmet> {
    let plan = files::plan(file).map_err(Unmet::Wrong)?;
    let saved_by = plan
        .recorded
        .as_ref()
        .map(|recorded| recorded.engine.as_str());
    let engine = saved_by.unwrap_or(engine::NAMES[0]).to_owned();
    if !engine::NAMES.contains(&engine.as_str()) {
        return Err(Unmet::NotHere(engine));
    }
    let pool = Pool::new(systems, engine, 1);
    let summary = pool.one(plan.clone(), Twice::Yes).map_err(Unmet::Wrong)?;
    let kept = kept(&plan, &summary.verdict).map_err(Unmet::Wrong)?;
    match kept.is_shown() {
        true => Ok(()),
        false => Err(Unmet::Wrong(kept.to_string())),
    }
}

/// The files of a directory that may be plans, by name.
fn plans(directory: &str) -> Result<Vec<String>, Problem> {
    let wrong = |error: std::io::Error| format!("{directory} cannot be read: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(Path::new(directory)).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path.display().to_string());
        }
    }
    files.sort();
    Ok(files)
}
