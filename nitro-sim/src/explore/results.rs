//! The results of a sweep as a file, sealed so that a cut or edited one is known, and how the
//! results of several parts become one.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::seeds::{SeedSet, Seeds};
use super::{Sweep, Tally};

/// The version of the results file.
pub const FORMAT: u32 = 2;

/// What came of a sweep or a part of it, and what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// The scenario by name.
    pub scenario: String,
    /// The scenario's file, as it was given.
    pub file: String,
    /// The digest of the file.
    pub digest: String,
    /// The engine by name.
    pub engine: String,
    /// Whether each seed drew which faults are on.
    pub swarm: bool,
    /// The seeds that were asked for.
    pub asked: SeedSet,
    /// How long a run is, in virtual milliseconds.
    pub duration_ms: u64,
    /// What came of those that ran.
    pub tally: Tally,
}

/// The file: what it is, the results, and their digest.
#[derive(Serialize, Deserialize)]
struct Sealed {
    sweep: u32,
    results: Results,
    seal: String,
}

/// Why a results file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResultsError {
    /// It is something else.
    NotResults,
    /// It is of another version, which is given.
    Format(u64),
    /// It ends too soon.
    Truncated,
    /// It is not what its seal says.
    Edited,
    /// It does not hold results: what the parser says.
    Wrong(String),
}

impl fmt::Display for ResultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResultsError::NotResults => f.write_str(
                "does not hold the results of a sweep: `explore SCENARIO --json FILE` writes such",
            ),
            ResultsError::Format(found) => write!(
                f,
                "holds results of format {found}; this program reads format {FORMAT}: make all \
                 parts of a sweep with one program"
            ),
            ResultsError::Truncated => {
                f.write_str("ends in the middle of its results: it has been cut, fetch it anew")
            }
            ResultsError::Edited => f.write_str("has been edited: its results are not its seal's"),
            ResultsError::Wrong(what) => write!(f, "does not hold results: {what}"),
        }
    }
}

impl std::error::Error for ResultsError {}

/// Why two results do not become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeError {
    /// They are of two sweeps: what differs, here and there.
    Different(&'static str, String, String),
    /// Both have these seeds.
    Shared(Seeds),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MergeError::Different(what, one, other) => {
                write!(
                    f,
                    "is of another sweep: its {what} is {other}, the others' {one}"
                )
            }
            MergeError::Shared(seeds) => write!(
                f,
                "has the seeds {seeds}, which another file has too: leave one of them out"
            ),
        }
    }
}

impl std::error::Error for MergeError {}

impl Results {
    /// The results of a sweep of which nothing has run.
    pub fn of(sweep: &Sweep<'_>, file: &str, text: &str) -> Self {
        let mut asked = SeedSet::default();
        asked.add_all(sweep.seeds);
        Self {
            scenario: sweep.scenario.name.clone(),
            file: file.to_owned(),
            digest: digest(text),
            engine: sweep.engine.to_owned(),
            swarm: sweep.swarm,
            asked,
            duration_ms: sweep.scenario.duration_ms,
            tally: Tally::default(),
        }
    }

    /// The text of the file.
    pub fn to_text(&self) -> String {
        const PLAIN: &str = "results hold only what JSON can";
        let sealed = Sealed {
            sweep: FORMAT,
            results: self.clone(),
            seal: digest(&serde_json::to_string(self).expect(PLAIN)),
        };
        serde_json::to_string_pretty(&sealed).expect(PLAIN) + "\n"
    }

    /// Reads what [`Results::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, cut short or edited.
    pub fn from_text(text: &str) -> Result<Self, ResultsError> {
        let value: serde_json::Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) if error.is_eof() && text.trim_start().starts_with("{\n  \"sweep\"") => {
                return Err(ResultsError::Truncated);
            }
            Err(_) => return Err(ResultsError::NotResults),
        };
        match value.get("sweep").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => return Err(ResultsError::Format(format)),
            None => return Err(ResultsError::NotResults),
        }
        let sealed: Sealed = serde_json::from_value(value)
            .map_err(|error| ResultsError::Wrong(error.to_string()))?;
        let body = serde_json::to_string(&sealed.results);
        match body.is_ok_and(|body| digest(&body) == sealed.seal) {
            true => Ok(sealed.results),
            false => Err(ResultsError::Edited),
        }
    }

    /// Adds what came of other seeds of the same sweep.
    ///
    /// # Errors
    ///
    /// When they are of another sweep, or have some of the seeds: then nothing is added.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        let swarm = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
        let pairs = [
            ("scenario", self.scenario.clone(), other.scenario.clone()),
            (
                "scenario file's digest",
                self.digest.clone(),
                other.digest.clone(),
            ),
            ("engine", self.engine.clone(), other.engine.clone()),
            ("swarm", swarm(self.swarm), swarm(other.swarm)),
        ];
        if let Some((what, one, other)) = pairs.into_iter().find(|(_, one, other)| one != other) {
            return Err(MergeError::Different(what, one, other));
        }
        if let Some(seeds) = self.tally.done.shared(&other.tally.done) {
            return Err(MergeError::Shared(seeds));
        }
        self.asked.merge(&other.asked);
        self.tally.merge(&other.tally);
        Ok(())
    }
}

fn digest(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}
