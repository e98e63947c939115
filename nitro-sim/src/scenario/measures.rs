//! What a scenario measures over a stretch of a run, and the bounds it must be within.

use serde::{Deserialize, Serialize};

use super::Workload;
use super::bounds::DURATION_S_MAX;
use super::problem::{list, nearest};
use super::read::{Cluster, ms};
use super::section::{Bounds, Section};

/// A figure of a run, and the least and the most it may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// Its name: what it was given, or `measure-1` and so on.
    pub id: String,
    /// What is measured.
    pub what: Quantity,
    /// Where the stretch begins, in milliseconds.
    pub from_ms: u64,
    /// Where it ends, in milliseconds.
    pub until_ms: u64,
    /// The least it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

/// What is measured. A *note* is a fact that a node recorded, such as that it was called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Operations that succeed, in a second.
    Goodput {
        /// Of this workload; of all where it is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workload: Option<String>,
    },
    /// The share that succeeds of the operations called.
    Ok {
        /// Of this workload; of all where it is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        workload: Option<String>,
    },
    /// The notes of these nodes.
    Count {
        /// The note.
        note: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// The notes of a node, where 1 is what each of its role would have if all had as many.
    Share {
        /// The note.
        note: String,
        /// The node.
        node: String,
    },
    /// The notes of the node that has most of them, where 1 is the mean of these nodes.
    Spread {
        /// The note.
        note: String,
        /// The nodes.
        nodes: Vec<String>,
    },
    /// Notes beyond one for each operation called, to an operation.
    Repeats {
        /// The note.
        note: String,
        /// So many of them in every second count for nothing, of each node that makes operations.
        free_per_s: f64,
    },
}

const NAMES: [&str; 6] = ["goodput", "ok", "count", "share", "spread", "repeats"];

pub(super) fn read(
    root: &Section<'_>,
    duration_ms: u64,
    cluster: &Cluster,
    workloads: &[Workload],
) -> Vec<Measure> {
    let mut measures: Vec<Measure> = Vec::new();
    for (index, section) in root.sections("measure").iter().enumerate() {
        let id = section.text("name").map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("measure-{}", index + 1));
        if measures.iter().any(|earlier| earlier.id == id) {
            let wrong = format!("\"{id}\" is the name of another measure");
            section.problem("name", wrong, "every name once", "rename one of them");
        }
        measures.extend(measure(section, id, duration_ms, cluster, workloads));
        section.finish();
    }
    measures
}

fn measure(
    section: &Section<'_>,
    id: String,
    duration_ms: u64,
    cluster: &Cluster,
    workloads: &[Workload],
) -> Option<Measure> {
    let what = quantity(section, cluster, workloads);
    let seconds = Bounds::new(0.0, DURATION_S_MAX, "seconds");
    let from_ms = section.number("from_s", seconds).map_or(0, ms);
    let until_ms = section.number("until_s", seconds).map_or(duration_ms, ms);
    if until_ms <= from_ms || until_ms > duration_ms {
        let wrong = format!("the stretch is from {from_ms} to {until_ms} ms");
        let expected = format!("an end after from_s, at most {duration_ms} ms");
        section.problem("until_s", wrong, &expected, "");
    }
    let number = Bounds::new(0.0, 1e9, "");
    let (min, max) = (section.number("min", number), section.number("max", number));
    if min.is_none() && max.is_none() {
        let wrong = "has neither min nor max";
        section.problem("", wrong, "a bound", "add min = ... or max = ...");
    }
    Some(Measure {
        id,
        what: what?,
        from_ms,
        until_ms,
        min,
        max,
    })
}

fn quantity(section: &Section<'_>, cluster: &Cluster, workloads: &[Workload]) -> Option<Quantity> {
    let expected = format!("one of {}", list(&NAMES));
    section.missing("what", &expected);
    Some(match section.text("what")? {
        "goodput" => Quantity::Goodput {
            workload: workload(section, workloads),
        },
        "ok" => Quantity::Ok {
            workload: workload(section, workloads),
        },
        "count" => {
            let (note, nodes) = (note(section), nodes(section, cluster));
            Quantity::Count {
                note: note?,
                nodes: nodes?,
            }
        }
        "share" => {
            let (note, node) = (note(section), node(section, cluster));
            Quantity::Share {
                note: note?,
                node: node?,
            }
        }
        "spread" => {
            let (note, nodes) = (note(section), nodes(section, cluster));
            Quantity::Spread {
                note: note?,
                nodes: nodes?,
            }
        }
        "repeats" => {
            let bounds = Bounds::new(0.0, 1e6, "in a second");
            let free_per_s = section.number("free_per_s", bounds).unwrap_or(0.0);
            let note = note(section)?;
            Quantity::Repeats { note, free_per_s }
        }
        other => {
            let wrong = format!("\"{other}\" cannot be measured");
            section.problem("what", wrong, &expected, &nearest(other, NAMES));
            return None;
        }
    })
}

fn note(section: &Section<'_>) -> Option<String> {
    section.missing("note", "what the nodes note");
    section.text("note").map(str::to_owned)
}

fn workload(section: &Section<'_>, workloads: &[Workload]) -> Option<String> {
    let name = section.text("workload")?;
    let names: Vec<&str> = workloads.iter().map(|one| one.id.as_str()).collect();
    if !names.contains(&name) {
        let wrong = format!("there is no \"{name}\"");
        let expected = format!("a workload: {}", list(&names));
        section.problem("workload", wrong, &expected, &nearest(name, names));
    }
    Some(name.to_owned())
}

fn nodes(section: &Section<'_>, cluster: &Cluster) -> Option<Vec<String>> {
    let expected = format!("a node or a role: {}", list(&cluster.known()));
    section.missing("of", &expected);
    let name = section.text("of")?;
    let nodes = cluster.resolve(name);
    if nodes.is_none() {
        let wrong = format!("there is no \"{name}\"");
        section.problem("of", wrong, &expected, &nearest(name, cluster.known()));
    }
    nodes
}

fn node(section: &Section<'_>, cluster: &Cluster) -> Option<String> {
    let nodes = nodes(section, cluster)?;
    if nodes.len() > 1 {
        section.problem("of", "is a role of several nodes", "one node", "");
    }
    nodes.into_iter().next()
}
