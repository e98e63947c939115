//! A plan as a file: TOML with one line an operation, and a seal by which a cut or edited file
//! is known. Comments above its first line are anybody's.

use std::fmt;
use std::fmt::Write;

use serde::Serialize;
use toml::ser::ValueSerializer;
use xxhash_rust::xxh3::xxh3_128;

use super::{FORMAT, Plan};
use crate::operation::PlannedOperation;

/// What a seal says in a file that was edited on purpose.
const EDITED: &str = "edited";

/// How much that is wrong with a plan is said before the rest is only counted.
const CONTRADICTIONS_SHOWN: usize = 10;

const SEAL: &str = "\n[seal]\n";

/// Why a plan file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanFileError {
    /// It does not begin as a plan does.
    NotAPlan,
    /// It is of another version, which is given.
    Format(String),
    /// It ends before its seal.
    Truncated,
    /// It is not what its seal says.
    Edited,
    /// It does not hold a plan: what the parser says.
    Wrong(String),
    /// It holds a plan that contradicts itself: each contradiction.
    Unsound(Vec<String>),
}

impl fmt::Display for PlanFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanFileError::NotAPlan => f.write_str(
                "is not a plan: a plan's first line is \"format = 1\"; \
                 `plan SCENARIO --seed N` makes one of a scenario",
            ),
            PlanFileError::Format(found) => write!(
                f,
                "is a plan of format {found}; this program reads format {FORMAT}: make it anew \
                 from its scenario and seed"
            ),
            PlanFileError::Truncated => {
                f.write_str("ends before its [seal]: it has been cut, save it anew")
            }
            PlanFileError::Edited => write!(
                f,
                "has been edited: to run it as it is, write digest = \"{EDITED}\" under [seal]"
            ),
            PlanFileError::Wrong(what) => write!(f, "does not hold a plan: {what}"),
            PlanFileError::Unsound(contradictions) => {
                f.write_str("holds a plan that cannot be run:")?;
                for contradiction in contradictions.iter().take(CONTRADICTIONS_SHOWN) {
                    write!(f, "\n    {contradiction}")?;
                }
                match contradictions.len().saturating_sub(CONTRADICTIONS_SHOWN) {
                    0 => Ok(()),
                    others => write!(f, "\n    and {others} more"),
                }
            }
        }
    }
}

impl std::error::Error for PlanFileError {}

impl Plan {
    /// The plan as the text of a file.
    pub fn to_text(&self) -> String {
        let mut body = self.planned();
        if let Some(recorded) = &self.recorded {
            section(&mut body, "recorded", recorded);
        }
        if let Some(expected) = &self.expected {
            section(&mut body, "expected", expected);
        }
        let digest = digest(&body);
        format!("{body}{SEAL}digest = \"{digest}\"\n")
    }

    /// Reads what [`Plan::to_text`] wrote.
    ///
    /// # Errors
    ///
    /// When it is of another version, cut short or edited, or contradicts itself.
    pub fn from_text(text: &str) -> Result<Self, PlanFileError> {
        let text = &text[comments(text).len()..];
        let first = text.lines().next().unwrap_or_default();
        let format = first
            .strip_prefix("format = ")
            .ok_or(PlanFileError::NotAPlan)?;
        if format.trim() != FORMAT.to_string() {
            return Err(PlanFileError::Format(format.trim().to_owned()));
        }
        let (body, seal) = text.rsplit_once(SEAL).ok_or(PlanFileError::Truncated)?;
        let sealed = seal
            .strip_prefix("digest = \"")
            .and_then(|rest| rest.strip_suffix("\"\n"))
            .ok_or(PlanFileError::Truncated)?;
        if sealed != EDITED && sealed != digest(body) {
            return Err(PlanFileError::Edited);
        }
        let plan: Self =
            toml::from_str(body).map_err(|error| PlanFileError::Wrong(error.to_string()))?;
        let contradictions = plan.contradictions();
        match contradictions.is_empty() {
            true => Ok(plan),
            false => Err(PlanFileError::Unsound(contradictions)),
        }
    }

    /// The digest of the plan, whatever run may have saved it and whatever it must show: 32
    /// hexadecimal digits.
    pub fn digest(&self) -> String {
        digest(&self.planned())
    }

    /// What is planned, as text.
    fn planned(&self) -> String {
        let mut out = String::new();
        line(&mut out, "format", &self.format);
        line(&mut out, "scenario", &self.scenario);
        line(&mut out, "system", &self.system);
        line(&mut out, "seed", &self.seed);
        line(&mut out, "duration_ms", &self.duration_ms);
        list(&mut out, "nodes", &self.nodes);
        list(&mut out, "faults", &self.faults);
        operations(&mut out, &self.operations);
        section(&mut out, "network", &self.network);
        section(&mut out, "schedule", &self.schedule);
        if let Some(buggify) = &self.buggify {
            section(&mut out, "buggify", buggify);
        }
        section(&mut out, "parameters", &self.parameters);
        section(&mut out, "checks", &self.checks);
        if let Some(swarm) = &self.swarm {
            section(&mut out, "swarm", swarm);
        }
        out
    }
}

/// The comments that a plan's file begins with.
pub fn comments(text: &str) -> &str {
    let is_comment = |line: &&str| line.trim().is_empty() || line.starts_with('#');
    let length = text
        .split_inclusive('\n')
        .take_while(is_comment)
        .map(str::len);
    &text[..length.sum()]
}

fn digest(text: &str) -> String {
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

const PLAIN: &str = "a plan holds only what TOML can";

fn line(out: &mut String, key: &str, value: &impl Serialize) {
    let mut text = String::new();
    value
        .serialize(ValueSerializer::new(&mut text))
        .expect(PLAIN);
    writeln!(out, "{key} = {text}").expect(PLAIN);
}

fn list(out: &mut String, key: &str, items: &[impl Serialize]) {
    writeln!(out, "\n{key} = [").expect(PLAIN);
    for item in items {
        element(out, item);
    }
    writeln!(out, "]").expect(PLAIN);
}

fn element(out: &mut String, item: &impl Serialize) {
    let mut text = String::new();
    item.serialize(ValueSerializer::new(&mut text))
        .expect(PLAIN);
    writeln!(out, "    {text},").expect(PLAIN);
}

/// A list as any other. There are thousands, and each run takes the digest of them: those whose
/// words need no escapes are written by hand, which takes a tenth of the time.
fn operations(out: &mut String, operations: &[PlannedOperation]) {
    writeln!(out, "\noperations = [").expect(PLAIN);
    for planned in operations {
        let PlannedOperation {
            id,
            at_ms,
            node,
            workload,
            operation,
            key,
            value,
            timeout_ms,
        } = planned;
        let is_plain = |word: &String| word.bytes().all(|byte| is_bare(char::from(byte)));
        match [node, workload, operation].into_iter().all(is_plain) {
            true => writeln!(
                out,
                "    {{ id = {id}, at_ms = {at_ms}, node = \"{node}\", workload = \"{workload}\", \
                 operation = \"{operation}\", key = {key}, value = {value}, \
                 timeout_ms = {timeout_ms} }},"
            )
            .expect(PLAIN),
            false => element(out, planned),
        }
    }
    writeln!(out, "]").expect(PLAIN);
}

fn is_bare(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// A table with a line for each of its keys, whatever they hold.
fn section(out: &mut String, key: &str, value: &impl Serialize) {
    writeln!(out, "\n[{key}]").expect(PLAIN);
    for (key, value) in toml::Table::try_from(value).expect(PLAIN) {
        match !key.is_empty() && key.chars().all(is_bare) {
            true => line(out, &key, &value),
            false => line(out, &toml::Value::from(key).to_string(), &value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_written_by_hand_are_as_the_serializer_writes_them() {
        let named = |operation: &str| PlannedOperation {
            id: 7,
            at_ms: 12_345,
            node: "client-1".to_owned(),
            workload: "workload-1".to_owned(),
            operation: operation.to_owned(),
            key: 0,
            value: u64::from(u32::MAX),
            timeout_ms: 500,
        };
        let names = [
            "add_one",
            "",
            "it's",
            "\"said\"",
            "two words",
            "gr\u{fc}n",
            "a\\b\n",
        ];
        let all = names.map(named);
        let (mut by_hand, mut expected) = (String::new(), String::new());
        operations(&mut by_hand, &all);
        list(&mut expected, "operations", &all);
        assert_eq!(by_hand, expected);
    }
}
