//! The files that the command line reads and writes, and the names it goes by.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Problem;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::system::Systems;

/// The text of a file.
pub(super) fn read(file: &str) -> Result<String, Problem> {
    std::fs::read_to_string(file).map_err(|error| format!("{file} cannot be read: {error}"))
}

/// The scenario in a file, for these systems, with the file's text.
pub(super) fn scenario(file: &str, systems: &Systems) -> Result<(Scenario, String), Problem> {
    let text = read(file)?;
    let scenario = Scenario::parse(file, &text, &systems.catalogue());
    let scenario = scenario.map_err(|problems| problems.to_string())?;
    Ok((scenario, text))
}

/// The plan in a file.
pub(super) fn plan(file: &str) -> Result<Plan, Problem> {
    Plan::from_text(&read(file)?).map_err(|error| format!("{file} {error}"))
}

/// Prints a text.
pub(super) fn print(out: &mut dyn Write, text: &str) -> Result<(), Problem> {
    out.write_all(text.as_bytes())
        .map_err(|error| format!("the output cannot be written: {error}"))
}

/// A file to be written after the run, opened before it, so that a run is not made in vain. Where
/// there was none and nothing is written, there is none after it.
pub(super) struct Output {
    name: String,
    file: std::fs::File,
    /// Whether it goes again.
    is_new: bool,
}

impl Output {
    pub(super) fn open(name: Option<String>) -> Result<Option<Self>, Problem> {
        name.map(Self::begin).transpose()
    }

    pub(super) fn begin(name: String) -> Result<Self, Problem> {
        let is_new = !Path::new(&name).exists();
        let mut options = OpenOptions::new();
        // What is there stays until there is something to replace it with.
        options.write(true).create(true).truncate(false);
        match options.open(&name) {
            Ok(file) => Ok(Self { name, file, is_new }),
            Err(error) => Err(format!("{name} cannot be written: {error}")),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn write(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Problem> {
        let written = self.file.set_len(0).and_then(|()| {
            let mut out = BufWriter::new(&self.file);
            write(&mut out)?;
            out.flush()
        });
        let name = &self.name;
        written.map_err(|error| format!("{name} cannot be written: {error}"))?;
        self.is_new = false;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new {
            // It may have gone already.
            let _ = std::fs::remove_file(&self.name);
        }
    }
}

/// A file that appears as a whole or not at all, and in no other's place.
#[derive(Debug)]
pub(super) struct Whole {
    name: String,
    part: String,
}

impl Whole {
    /// Sees to it that the file can be written, before there is anything to write.
    pub(super) fn begin(name: &str, may_replace: bool) -> Result<Self, Problem> {
        let wrong = |error: std::io::Error| format!("{name} cannot be written: {error}");
        if !may_replace && Path::new(name).exists() {
            return Err(format!("{name} is there already: --force writes over it"));
        }
        if let Some(directory) = Path::new(name).parent() {
            std::fs::create_dir_all(directory).map_err(wrong)?;
        }
        let part = format!("{name}.part");
        std::fs::write(&part, []).map_err(wrong)?;
        let name = name.to_owned();
        Ok(Self { name, part })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Writes it.
    pub(super) fn end(self, text: &str) -> Result<(), Problem> {
        let written = std::fs::write(&self.part, text);
        let written = written.and_then(|()| std::fs::rename(&self.part, &self.name));
        written.map_err(|error| format!("{} cannot be written: {error}", self.name))
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // It is gone where the file was written.
        let _ = std::fs::remove_file(&self.part);
    }
}

/// The file of a plan that is kept under a name.
pub(super) fn kept(name: &str) -> String {
    format!("{}/{name}.toml", find_above("scenarios/found"))
}

/// Where findings go that nobody has asked to keep: in cargo's target directory, or where the
/// program was not built there, in this one.
pub(super) fn found_directory() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program
        .ancestors()
        .find(|above| above.join("CACHEDIR.TAG").exists());
    let found = target
        .map_or_else(PathBuf::new, Path::to_path_buf)
        .join("found");
    let here = std::env::current_dir().unwrap_or_default();
    let from_here = found.strip_prefix(here).unwrap_or(&found);
    from_here.display().to_string()
}

/// What begins a command that repeats this one.
pub(super) fn program() -> String {
    if let Ok(package) = std::env::var("CARGO_PKG_NAME") {
        return format!("cargo run --release -p {package} --");
    }
    let own = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&own).file_name();
    name.map_or_else(
        || "nitro-sim".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The command that repeats the test that runs on this thread.
pub(super) fn test_command() -> String {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    match std::env::var("CARGO_PKG_NAME") {
        Ok(package) => format!("cargo test -p {package} {test}"),
        Err(_) => format!("cargo test {test}"),
    }
}

/// The file or directory in this directory or the nearest above that has it; as it is where none has.
pub(super) fn find_above(file: &str) -> String {
    if Path::new(file).exists() {
        return file.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    let found = here
        .ancestors()
        .map(|above| above.join(file))
        .find(|path| path.exists());
    found.map_or_else(|| file.to_owned(), |path| path.display().to_string())
}
