//! The file that a sweep's results go to: what was there before stays whole until there is
//! something to replace it with, and what does not fit there goes elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Problem;
use crate::explore::results::Results;

/// Where results are written to, and again and again while they grow.
pub(super) struct ResultsFile {
    name: String,
    /// A file beside it that takes its place once it is whole; none where it is no plain file, as
    /// a pipe or a device is not.
    beside: Option<PathBuf>,
    is_in_trouble: bool,
}

impl ResultsFile {
    /// Opens it, so that a sweep is not made in vain.
    pub(super) fn open(name: Option<&str>) -> Result<Option<Self>, Problem> {
        let Some(name) = name else { return Ok(None) };
        let is_plain = fs::metadata(name).map_or(true, |found| found.is_file());
        let beside = is_plain.then(|| PathBuf::from(format!("{name}.part")));
        let mut options = OpenOptions::new();
        options.write(true).truncate(false);
        let opened = match &beside {
            // The file itself may be one that this user must not write.
            Some(beside) if fs::metadata(name).is_ok() => {
                options.open(name).and_then(|_| create(beside))
            }
            Some(beside) => create(beside),
            None => options.open(name),
        };
        opened.map_err(|error| format!("{name} cannot be written: {error}"))?;
        Ok(Some(Self {
            name: name.to_owned(),
            beside,
            is_in_trouble: false,
        }))
    }

    /// Saves results that still grow. When that has become impossible, it says so once.
    pub(super) fn keep(&mut self, results: &Results) -> Option<Problem> {
        self.beside.as_ref()?;
        match self.write(&results.to_text()) {
            Ok(()) => {
                self.is_in_trouble = false;
                None
            }
            Err(_) if self.is_in_trouble => None,
            Err(error) => {
                self.is_in_trouble = true;
                Some(format!("{} cannot be written: {error}", self.name))
            }
        }
    }

    /// Saves the results, and where that is impossible, saves them among the temporary files.
    pub(super) fn finish(self, results: &Results) -> Result<(), Problem> {
        let text = results.to_text();
        let Err(error) = self.write(&text) else {
            return Ok(());
        };
        let name = format!("nitro-sim-results-{}.json", std::process::id());
        let elsewhere = std::env::temp_dir().join(name);
        let saved = match fs::write(&elsewhere, text) {
            Ok(()) => format!("the results are in {}", elsewhere.display()),
            Err(_) => "the results are only what is printed".to_owned(),
        };
        Err(format!("{} cannot be written: {error}; {saved}", self.name))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let Some(beside) = &self.beside else {
            let mut file = OpenOptions::new().write(true).open(&self.name)?;
            return file.write_all(text.as_bytes()).and_then(|()| file.flush());
        };
        let mut file = create(beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, &self.name)
    }
}

impl Drop for ResultsFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // It is there only where it has not taken its place.
            let _ = fs::remove_file(beside);
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).open(path)
}
