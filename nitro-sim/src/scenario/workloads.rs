//! The workloads of a scenario file.

use super::bounds::{DURATION_S_MAX, KEYS_MAX, TIMEOUT_MS_MAX};
use super::problem::{list, nearest};
use super::read::{Cluster, ms, range_ms};
use super::section::{Bounds, Section};
use super::{Known, Range, Workload};

pub(super) fn read(
    root: &Section<'_>,
    duration_ms: u64,
    cluster: &Cluster,
    known: Option<&Known>,
) -> Vec<Workload> {
    let mut workloads: Vec<Workload> = Vec::new();
    for (index, section) in root.sections("workload").iter().enumerate() {
        let id = section.text("name").map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("workload-{}", index + 1));
        if workloads.iter().any(|earlier| earlier.id == id) {
            let wrong = format!("\"{id}\" is the name of another workload");
            section.problem("name", wrong, "every name once", "rename one of them");
        }
        workloads.extend(workload(section, id, duration_ms, cluster, known));
        section.finish();
    }
    workloads
}

fn workload(
    section: &Section<'_>,
    id: String,
    duration_ms: u64,
    cluster: &Cluster,
    known: Option<&Known>,
) -> Option<Workload> {
    let role = role(section, cluster);
    let operation = operation(section, known);
    let gap = Bounds::new(1.0, DURATION_S_MAX * 1000.0, "milliseconds");
    let every = section.range("every_ms", gap);
    section.missing("every_ms", "the gap before each operation");
    let seconds = Bounds::new(0.0, DURATION_S_MAX, "seconds");
    let from_ms = section.number("from_s", seconds).map_or(0, ms);
    let timeout = section.number(
        "timeout_ms",
        Bounds::new(1.0, TIMEOUT_MS_MAX, "milliseconds"),
    );
    section.missing("timeout_ms", "how long an operation may take");
    let timeout_ms = timeout? as u64;
    let latest = duration_ms.saturating_sub(timeout_ms);
    let until_ms = section.number("until_s", seconds).map_or(latest, ms);
    let keys = section.number("keys", Bounds::new(1.0, KEYS_MAX, "keys"));
    if until_ms <= from_ms {
        let wrong = format!("the workload ends at {until_ms} ms and begins at {from_ms} ms");
        section.problem("until_s", wrong, "an end after from_s", "");
    } else if until_ms > latest {
        let wrong = format!("an operation begun at {until_ms} ms may outlast the run");
        let expected = format!("at most {} s: the end less timeout_ms", seconds_of(latest));
        section.problem("until_s", wrong, &expected, "");
    }
    let every = every?;
    Some(Workload {
        id,
        role: role?,
        operation: operation?,
        every_ms: range_ms(Range {
            min: every.min / 1000.0,
            max: every.max / 1000.0,
        }),
        from_ms,
        until_ms,
        timeout_ms,
        keys: keys.unwrap_or(1.0) as u64,
    })
}

fn seconds_of(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn role(section: &Section<'_>, cluster: &Cluster) -> Option<String> {
    let names = cluster.role_names();
    let expected = format!("a role of [nodes]: {}", list(&names));
    section.missing("role", &expected);
    let role = section.text("role")?;
    if !names.contains(&role) {
        let wrong = format!("no node is a \"{role}\"");
        section.problem("role", wrong, &expected, &nearest(role, names));
        return None;
    }
    Some(role.to_owned())
}

fn operation(section: &Section<'_>, known: Option<&Known>) -> Option<String> {
    let operations = known.map(|known| known.operations.as_slice());
    let names: Vec<&str> = operations
        .unwrap_or_default()
        .iter()
        .map(String::as_str)
        .collect();
    let expected = format!("an operation of the system: {}", list(&names));
    section.missing("operation", &expected);
    let operation = section.text("operation")?;
    if known.is_some() && !names.contains(&operation) {
        let wrong = format!("\"{operation}\" is unknown to the system");
        section.problem("operation", wrong, &expected, &nearest(operation, names));
    }
    Some(operation.to_owned())
}
