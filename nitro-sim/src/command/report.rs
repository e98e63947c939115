//! The verbs that tell of runs made before: `report` of one trace, `diff` of two.

use std::io::Write;

use super::files::{self, Output};
use super::{PASS, Problem, Shell, engine_of};
use crate::plan::{Plan, Recorded};
use crate::report::{Parted, Report, html};
use crate::run::Run;
use crate::trace::{Ended, Trace};

/// In which forms a run is told.
#[derive(Debug, clap::Args)]
pub(super) struct Forms {
    /// Writes a page that draws the run, in one file
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<String>,
    /// Prints the account as JSON, for programs
    #[arg(long)]
    pub(super) json: bool,
    /// Prints the account as text; it is what is done when nothing else is asked for
    #[arg(long, conflicts_with = "json")]
    pub(super) text: bool,
}

impl Shell<'_> {
    /// Tells of a trace.
    pub(super) fn report(
        &self,
        file: &str,
        plan: Option<&str>,
        forms: Forms,
        out: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let mut page = Output::open(forms.html)?;
        let run = self.run_of(file, plan)?;
        let report = self.account(&run, file, plan);
        if let Some(page) = &mut page {
            page.write(|out| html::write(&run, &report, out))?;
        }
        let unwritten = |error| format!("the report cannot be written: {error}");
        if forms.json {
            report.write_json(out).map_err(unwritten)?;
        } else if forms.text || page.is_none() {
            report.write_text(out).map_err(unwritten)?;
        }
        Ok(PASS)
    }

    /// Tells how two traces differ.
    pub(super) fn diff(
        &self,
        files: [&str; 2],
        page: Option<String>,
        out: &mut dyn Write,
    ) -> Result<u8, Problem> {
        let mut page = Output::open(page)?;
        let [one, other] = files;
        let runs = [self.run_of(one, None)?, self.run_of(other, None)?];
        let reports = [
            self.account(&runs[0], one, None),
            self.account(&runs[1], other, None),
        ];
        let both = [(&runs[0], &reports[0]), (&runs[1], &reports[1])];
        let parted = Parted::of(both);
        if let Some(page) = &mut page {
            page.write(|out| html::write_parted(both, &parted, out))?;
        }
        parted
            .write_text(out)
            .map_err(|error| format!("the difference cannot be written: {error}"))?;
        Ok(PASS)
    }

    fn account(&self, run: &Run, file: &str, plan: Option<&str>) -> Report {
        let again = plan.unwrap_or(file);
        let report = Report::new(run, format!("{} replay {again}", self.program));
        Report {
            wall: None,
            ..report
        }
    }

    /// The run of a trace file, judged again.
    fn run_of(&self, file: &str, plan: Option<&str>) -> Result<Run, Problem> {
        let trace = read(file)?;
        let plan = match plan {
            Some(plan) => files::plan(plan)?,
            None => plan_of(file, &trace)?,
        };
        if plan.digest() != trace.header().plan {
            return Err(format!(
                "{file}: line 1: is a trace of another plan: of the one with digest {}, and this \
                 one has {}",
                trace.header().plan,
                plan.digest()
            ));
        }
        let engine = engine_of(&trace.header().engine)?;
        let origin = trace.header().origin.as_ref();
        let ended = origin.map_or(Ended::Finished, |origin| origin.ended.clone());
        Run::of_trace(plan, self.systems, engine.name(), trace, ended)
            .map_err(|error| format!("{file}: {error}"))
    }
}

/// Draws a run that a command repeats, if there is a file to draw it in.
pub(super) fn draw(run: &Run, command: &str, page: Option<Output>) -> Result<(), Problem> {
    let Some(mut page) = page else { return Ok(()) };
    let report = Report::new(run, command);
    page.write(|out| html::write(run, &report, out))
}

/// The plan of a file to be replayed: a plan, or a trace that brings its own.
pub(super) fn plan_to_replay(file: &str) -> Result<Plan, Problem> {
    if !files::read(file)?.starts_with('{') {
        return files::plan(file);
    }
    let trace = read(file)?;
    let recorded = Recorded {
        engine: trace.header().engine.clone(),
        trace: trace.digest(),
        verdict: "not judged".to_owned(),
    };
    Ok(Plan {
        recorded: Some(recorded),
        ..plan_of(file, &trace)?
    })
}

fn read(file: &str) -> Result<Trace, Problem> {
    let text = files::read(file)?;
    Trace::read(&mut text.as_bytes()).map_err(|error| format!("{file}: {error}"))
}

fn plan_of(file: &str, trace: &Trace) -> Result<Plan, Problem> {
    let origin = trace.header().origin.as_ref();
    let origin = origin.ok_or_else(|| {
        format!("{file}: line 1: the trace does not hold its plan: give it with --plan")
    })?;
    Plan::from_text(&origin.plan).map_err(|error| format!("{file}: line 1: its plan {error}"))
}
