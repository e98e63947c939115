//! A system's operations held against a model, and its notes and replies against rules: what a
//! system registers in one line.

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};

use serde_json::Value;

use super::linearizable::{Answer, Budget, Operation, OperationOf, Violation};
use super::linearizable::{linearizable, sequential};
use super::model::{Called, Done, Heard, Model, Spoken};
use crate::system::{ASKS, Breach, Judged, System};
use crate::trace::{Answered, Blame, Contradiction, EventKind, OperationOutcome, Trace};

/// The kinds of error by which a service says that it has not begun.
const NEVER_BEGUN: [&str; 5] = [
    "invalid argument",
    "permission denied",
    "unauthenticated",
    "unimplemented",
    "out of range",
];

/// How many operations of a violation are shown, the last ones.
const SHOWN_MAX: usize = 12;

impl System {
    /// The same system, whose operations must be linearizable: as if each was made on the model at
    /// one moment between its call and its return. The model says which operations it knows; each
    /// key of a workload has a model of its own.
    pub fn linearizable<M>(self, model: M) -> Self
    where
        M: Spoken + Send + Sync + 'static,
        M::Input: Debug,
    {
        let name = format!("linearizable {}", words_of::<M>());
        self.judge(name, move |trace| {
            let history = history::<M>(trace, |called, heard| model.read(called, heard));
            let answer = linearizable(&model, &history, Budget::default());
            judged(trace, &history, answer)
        })
    }

    /// The same system, whose operations must be linearizable on a model, in words of its own:
    /// `read` says what an operation did, by what was heard of it.
    pub fn linearizable_as<M, F>(self, model: M, read: F) -> Self
    where
        M: Model + Send + Sync + 'static,
        F: Fn(&Called<'_>, Heard<'_>) -> Vec<Done<M>> + Send + Sync + 'static,
    {
        let name = format!("linearizable {}", words_of::<M>());
        self.judge(name, move |trace| {
            let history = history::<M>(trace, &read);
            let answer = linearizable(&model, &history, Budget::default());
            judged(trace, &history, answer)
        })
    }

    /// The same system, whose operations must be sequentially consistent: as if made one at a time
    /// in an order that keeps each node's own, whatever the clock says.
    pub fn sequential<M>(self, model: M) -> Self
    where
        M: Spoken + Send + Sync + 'static,
    {
        let name = format!("sequential {}", words_of::<M>());
        self.judge(name, move |trace| {
            let history = history::<M>(trace, |called, heard| model.read(called, heard));
            let answer = sequential(&model, &history, Budget::default());
            judged(trace, &history, answer)
        })
    }
}

/// The name of a type, in small letters: `key value` of `KeyValue`.
fn words_of<T>() -> String {
    let path = std::any::type_name::<T>();
    let name = path.split('<').next().unwrap_or(path);
    let name = name.rsplit("::").next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// What a trace tells of one operation.
struct Told<'t> {
    called: Called<'t>,
    called_us: u64,
    returned_us: Option<u64>,
    heard: Heard<'t>,
    has_happened: bool,
}

/// The operations of a trace, as `read` understands them.
pub(super) fn history<M: Model>(
    trace: &Trace,
    read: impl Fn(&Called<'_>, Heard<'_>) -> Vec<Done<M>>,
) -> Vec<OperationOf<M>> {
    let mut history = Vec::new();
    for told in told(trace).values() {
        if !told.has_happened {
            continue;
        }
        for (input, output) in read(&told.called, told.heard) {
            // A failure that says nothing to the model leaves open whether it was done.
            let is_answered = output.is_some() || told.heard.reply().is_some();
            history.push(Operation {
                id: told.called.id,
                process: told.called.process,
                key: told.called.key,
                input,
                output,
                called: told.called_us,
                returned: told.returned_us.filter(|_| is_answered),
            });
        }
    }
    history
}

fn told(trace: &Trace) -> BTreeMap<u64, Told<'_>> {
    let mut nodes: BTreeMap<&str, u64> = BTreeMap::new();
    let mut all: BTreeMap<u64, Told<'_>> = BTreeMap::new();
    for event in trace.events() {
        match &event.kind {
            EventKind::Call {
                operation,
                name,
                key,
                value,
            } => {
                let count = nodes.len() as u64;
                let node = event.node.as_deref().unwrap_or_default();
                let called = Called {
                    id: *operation,
                    process: *nodes.entry(node).or_insert(count),
                    name,
                    key: *key,
                    value: *value,
                    input: None,
                };
                let told = Told {
                    called,
                    called_us: event.at_us,
                    returned_us: None,
                    heard: Heard::Nothing,
                    has_happened: true,
                };
                all.entry(*operation).or_insert(told);
            }
            EventKind::Note { name, value } if name == ASKS => {
                let operation = value.get("operation").and_then(Value::as_u64);
                if let Some(told) = operation.and_then(|id| all.get_mut(&id)) {
                    told.called.input = value.get("asks");
                }
            }
            EventKind::Outcome { operation, outcome } => {
                if let Some(told) = all.get_mut(operation) {
                    told.end(event.at_us, outcome);
                }
            }
            _ => {}
        }
    }
    all
}

impl<'t> Told<'t> {
    fn end(&mut self, at_us: u64, outcome: &'t OperationOutcome) {
        match outcome {
            OperationOutcome::Ok { reply } => {
                self.heard = Heard::Reply(reply);
                self.returned_us = Some(at_us);
            }
            OperationOutcome::Failed { kind, .. } => {
                self.heard = Heard::Failure(kind);
                self.has_happened = !NEVER_BEGUN.contains(&kind.as_str());
                // A failure by precondition is an answer; any other may be of the way there or
                // back, and the operation may yet be done.
                if kind == "failed precondition" {
                    self.returned_us = Some(at_us);
                }
            }
            OperationOutcome::Skipped => self.has_happened = false,
            OperationOutcome::Unfinished | OperationOutcome::Crashed => {}
        }
    }
}

fn judged<I: Debug, O: Debug>(
    trace: &Trace,
    history: &[Operation<I, O>],
    answer: Answer,
) -> Judged {
    match answer {
        Answer::Yes => Judged::default(),
        Answer::No(violation) => Judged {
            violations: vec![tell(trace, history, &violation)],
            doubts: Vec::new(),
        },
        Answer::Unknown(key) => {
            let of = key.map_or_else(String::new, |key| format!(" of key {key}"));
            let doubt = format!("the operations{of} are too many at once to tell");
            Judged {
                violations: Vec::new(),
                doubts: vec![doubt],
            }
        }
    }
}

fn tell<I: Debug, O: Debug>(
    trace: &Trace,
    history: &[Operation<I, O>],
    violation: &Violation,
) -> Breach {
    let told = told(trace);
    let nodes = nodes(trace);
    let answered = |place: &usize| {
        let made = &history[*place];
        Answered {
            operation: made.id,
            name: told[&made.id].called.name.to_owned(),
            node: nodes.get(&made.id).copied().unwrap_or("nobody").to_owned(),
            called_us: made.called,
            returned_us: made.returned,
            input: format!("{:?}", made.input),
            output: made.output.as_ref().map(|output| format!("{output:?}")),
        }
    };
    let contradiction = Contradiction {
        key: violation.key,
        operations: violation.operations.iter().map(answered).collect(),
        last: history[violation.last].id,
        states: violation.states.clone(),
    };
    let all = contradiction.operations.iter();
    Breach {
        what: words(&contradiction),
        blames: all.map(|made| Blame::Operation(made.operation)).collect(),
        contradiction: Some(contradiction),
    }
}

fn words(contradiction: &Contradiction) -> String {
    let mut text = match contradiction.key {
        Some(key) => format!("no order explains key {key}"),
        None => "no order explains all keys at once".to_owned(),
    };
    let count = contradiction.operations.len();
    if count > SHOWN_MAX {
        write!(text, "; of {count} operations that matter, the last").expect("it is a text");
    }
    for made in &contradiction.operations[count.saturating_sub(SHOWN_MAX)..] {
        let seconds = |us: u64| us as f64 / 1e6;
        let output = made.output.as_ref();
        let output = output.map_or("not told".to_owned(), |output| format!("told {output}"));
        write!(
            text,
            "\noperation {} ({} by {}, {:.6} s to {:.6} s): {}, {output}",
            made.operation,
            made.name,
            made.node,
            seconds(made.called_us),
            seconds(made.returned_us.unwrap_or(made.called_us)),
            made.input,
        )
        .expect("it is a text");
    }
    let last = contradiction.last;
    write!(text, "\nimpossible when operation {last} returns").expect("it is a text");
    if !contradiction.states.is_empty() {
        let states = contradiction.states.join(", ");
        write!(text, ": by then it could be {states}").expect("it is a text");
    }
    text
}

/// Which node made each operation.
fn nodes(trace: &Trace) -> BTreeMap<u64, &str> {
    let node = |event: &crate::trace::Event| match event.kind {
        EventKind::Call { operation, .. } => Some(operation),
        _ => None,
    };
    let calls = trace.events().iter();
    calls
        .filter_map(|event| Some((node(event)?, event.node.as_deref()?)))
        .collect()
}

#[cfg(test)]
mod tests;
