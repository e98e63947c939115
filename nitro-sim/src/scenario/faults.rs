//! The faults of a scenario file.

use toml::de::DeValue;

use super::bounds::{
    CAPACITY_BYTES, CLOCK_MS_MAX, DRIFT_PPM_MAX, DURATION_S_MAX, FACTOR_MAX, LATENCY_MS_MAX,
};
use super::problem::{list, nearest};
use super::read::{Cluster, range_ms, range_us};
use super::section::{Bounds, Section};
use super::{FaultChoice, FaultKind, NodeFault, Range, Target};
use crate::fault::{Fault, StaleAnswer};

/// The faults, each with the byte of the file at which it begins.
pub(super) fn read(
    root: &Section<'_>,
    duration_ms: u64,
    cluster: &Cluster,
) -> Vec<(usize, FaultChoice)> {
    let mut faults: Vec<(usize, FaultChoice)> = Vec::new();
    for (index, section) in root.sections("fault").iter().enumerate() {
        let id = section.text("name").map(str::to_owned);
        let id = id.unwrap_or_else(|| format!("fault-{}", index + 1));
        if faults.iter().any(|(_, earlier)| earlier.id == id) {
            let wrong = format!("\"{id}\" is the name of another fault");
            section.problem("name", wrong, "every name once", "rename one of them");
        }
        let fault = fault(section, id, duration_ms, cluster);
        faults.extend(fault.map(|fault| (section.start(), fault)));
    }
    faults
}

fn fault(
    section: &Section<'_>,
    id: String,
    duration_ms: u64,
    cluster: &Cluster,
) -> Option<FaultChoice> {
    let expected = format!("one of {}", list(&Fault::KINDS));
    section.missing("kind", &expected);
    let kind = section.text("kind")?;
    if !Fault::KINDS.contains(&kind) {
        let wrong = format!("there is no fault \"{kind}\"");
        section.problem("kind", wrong, &expected, &nearest(kind, Fault::KINDS));
        return None;
    }
    let until_end = Bounds::new(0.0, duration_ms as f64 / 1000.0, "seconds (the run's end)");
    let at = section.range("at_s", until_end).map(range_ms);
    section.missing("at_s", "when it sets in, in seconds");
    let probability = section.number("probability", Bounds::SHARE).unwrap_or(1.0);
    let lasting = lasting(section, kind);
    let what = match kind {
        "partition" | "partition_one_way" | "heal" | "hold" | "release" | "latency" | "loss" => {
            of_links(section, kind, cluster)
        }
        "stale_name" => stale_name(section, cluster),
        _ => of_node(section, kind, cluster),
    };
    section.finish();
    let at_ms = at?;
    if let Some(lasting) = lasting
        && at_ms.max + lasting.max > duration_ms
    {
        let wrong = format!("it may last until {} ms", at_ms.max + lasting.max);
        let expected = format!("an end before that of the run, {duration_ms} ms");
        let key = lasting_key(kind).unwrap_or("at_s");
        section.problem(key, wrong, &expected, "shorten it, or lengthen duration_s");
    }
    Some(FaultChoice {
        id,
        kind: what?,
        at_ms,
        for_ms: lasting,
        probability,
    })
}

/// The key that says how long a fault of this kind lasts.
fn lasting_key(kind: &str) -> Option<&'static str> {
    match kind {
        "heal" | "release" | "restart" | "resume" | "clock_jump" => None,
        "crash" | "stop" => Some("restart_after_s"),
        _ => Some("for_s"),
    }
}

fn lasting(section: &Section<'_>, kind: &str) -> Option<Range<u64>> {
    let bounds = Bounds::new(0.001, DURATION_S_MAX, "seconds");
    let key = lasting_key(kind)?;
    section.range(key, bounds).map(range_ms)
}

fn of_links(section: &Section<'_>, kind: &str, cluster: &Cluster) -> Option<FaultKind> {
    let fault = match kind {
        "heal" => Fault::Heal,
        "release" => Fault::Release,
        "partition" => Fault::Partition {
            groups: groups(section, "groups", 2..=usize::MAX, cluster)?,
        },
        "partition_one_way" => {
            let from = section.texts("from");
            section.missing("from", "the nodes that are not heard");
            let to = section.texts("to");
            section.missing("to", "the nodes that do not hear them");
            let from = resolve(section, "from", &from?, cluster);
            let to = resolve(section, "to", &to?, cluster);
            let sides = apart(section, "to", vec![from?, to?])?;
            let [from, to] = sides.try_into().ok()?;
            Fault::PartitionOneWay { from, to }
        }
        "hold" => Fault::Hold {
            between: between(section, cluster)?,
        },
        "latency" => {
            let bounds = Bounds::new(0.0, LATENCY_MS_MAX, "milliseconds");
            let added = section.range("latency_ms", bounds);
            section.missing("latency_ms", "what is added to each message");
            let between = between(section, cluster);
            Fault::Latency {
                between: between?,
                added_us: range_us(added?),
            }
        }
        _ => {
            let loss = section.range("loss", Bounds::SHARE);
            section.missing("loss", "the share of messages lost");
            let between = between(section, cluster);
            return Some(FaultKind::Loss {
                between: between?,
                loss: loss?,
            });
        }
    };
    Some(FaultKind::Decided(fault))
}

pub(super) fn between(section: &Section<'_>, cluster: &Cluster) -> Option<[Vec<String>; 2]> {
    groups(section, "between", 2..=2, cluster)?.try_into().ok()
}

fn groups(
    section: &Section<'_>,
    key: &'static str,
    count: std::ops::RangeInclusive<usize>,
    cluster: &Cluster,
) -> Option<Vec<Vec<String>>> {
    let expected = "groups of nodes, such as [[\"server-1\"], [\"server-2\", \"client-1\"]]";
    section.missing(key, expected);
    let value = section.take(key)?;
    let array = match value.get_ref() {
        DeValue::Array(array) if count.contains(&array.len()) => array,
        _ => {
            let wrong = format!("does not have {} groups", count.start());
            section.problem(key, wrong, expected, "");
            return None;
        }
    };
    let mut groups = Vec::new();
    for item in array.iter() {
        let names = section.texts_of(key, item)?;
        groups.push(resolve(section, key, &names, cluster));
    }
    apart(section, key, groups.into_iter().collect::<Option<_>>()?)
}

fn resolve(
    section: &Section<'_>,
    key: &str,
    names: &[(&str, usize)],
    cluster: &Cluster,
) -> Option<Vec<String>> {
    let mut nodes: Vec<String> = Vec::new();
    let mut is_whole = true;
    for (name, start) in names {
        match cluster.resolve(name) {
            Some(found) => nodes.extend(found),
            None => {
                let known = cluster.known();
                let wrong = format!("there is no node \"{name}\"");
                let expected = format!("nodes or roles: {}", list(&known));
                let todo = nearest(name, known);
                section.problem_at(*start, key, wrong, &expected, &todo);
                is_whole = false;
            }
        }
    }
    if names.is_empty() {
        section.problem(key, "a group is empty", "one node or more in each", "");
        return None;
    }
    is_whole.then_some(nodes)
}

/// The groups, if no node is in two of them or twice in one.
fn apart(section: &Section<'_>, key: &str, groups: Vec<Vec<String>>) -> Option<Vec<Vec<String>>> {
    let mut all: Vec<&String> = groups.iter().flatten().collect();
    all.sort();
    if let Some(pair) = all.windows(2).find(|pair| pair[0] == pair[1]) {
        let wrong = format!("{} would be parted from itself", pair[0]);
        section.problem(key, wrong, "every node in one group at most", "");
        return None;
    }
    Some(groups)
}

fn stale_name(section: &Section<'_>, cluster: &Cluster) -> Option<FaultKind> {
    let expected = "\"nothing\", \"old_address\", or the node whose address is answered";
    section.missing("node", "the node whose name goes stale");
    section.missing("answer", expected);
    let node = section
        .text("node")
        .and_then(|name| node(section, "node", name, cluster));
    let answer = match section.text("answer")? {
        "nothing" => StaleAnswer::Nothing,
        "old_address" => StaleAnswer::OldAddress,
        other => StaleAnswer::AddressOf(self::node(section, "answer", other, cluster)?),
    };
    let node = node?;
    Some(FaultKind::Decided(Fault::StaleName { node, answer }))
}

/// The node of a name, if there is one.
fn node(section: &Section<'_>, key: &str, name: &str, cluster: &Cluster) -> Option<String> {
    if cluster.names.iter().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let names: Vec<&str> = cluster.names.iter().map(String::as_str).collect();
    let expected = format!("one of {}", list(&names));
    let wrong = format!("there is no node \"{name}\"");
    section.problem(key, wrong, &expected, &nearest(name, names));
    None
}

fn of_node(section: &Section<'_>, kind: &str, cluster: &Cluster) -> Option<FaultKind> {
    let target = target(section, cluster);
    let clock = Bounds::new(-CLOCK_MS_MAX, CLOCK_MS_MAX, "milliseconds");
    let drift = Bounds::new(-DRIFT_PPM_MAX, DRIFT_PPM_MAX, "parts per million");
    let whole = |range: Range<f64>| Range {
        min: range.min as i64,
        max: range.max as i64,
    };
    let needed = |key: &'static str, bounds| {
        section.missing(key, "by how much");
        section.range(key, bounds)
    };
    let what = match kind {
        "crash" => Some(NodeFault::Crash),
        "stop" => Some(NodeFault::Stop),
        "restart" => Some(NodeFault::Restart),
        "pause" => Some(NodeFault::Pause),
        "resume" => Some(NodeFault::Resume),
        "slow" => {
            let bounds = Bounds::new(1.0, FACTOR_MAX, "times slower");
            needed("factor", bounds).map(NodeFault::Slow)
        }
        "clock_jump" => needed("by_ms", clock).map(|by| NodeFault::ClockJump(whole(by))),
        "clock_offset" => needed("by_ms", clock).map(|by| NodeFault::ClockOffset(whole(by))),
        "clock_drift" => {
            needed("parts_per_million", drift).map(|by| NodeFault::ClockDrift(whole(by)))
        }
        _ => of_disk(section, kind),
    };
    Some(FaultKind::OfNode {
        target: target?,
        what: what?,
    })
}

fn of_disk(section: &Section<'_>, kind: &str) -> Option<NodeFault> {
    let none = Range { min: 0.0, max: 0.0 };
    match kind {
        "disk_full" => {
            let bounds = Bounds::new(0.0, CAPACITY_BYTES as f64, "bytes");
            let free = section.range("free_bytes", bounds).unwrap_or(none);
            let (min, max) = (free.min as i64, free.max as i64);
            Some(NodeFault::DiskFull(Range { min, max }))
        }
        "disk_errors" => {
            let share = |key| section.range(key, Bounds::SHARE).unwrap_or(none);
            let shares = [share("reads"), share("writes"), share("syncs")];
            if shares.iter().all(|share| share.max == 0.0) {
                let expected = "reads, writes or syncs, each the share that fails";
                section.problem("", "does not say what fails", expected, "add one of them");
            }
            Some(NodeFault::DiskErrors(shares))
        }
        "disk_slow" => {
            section.missing("factor", "how many times slower");
            let bounds = Bounds::new(1.0, FACTOR_MAX, "times slower");
            section.range("factor", bounds).map(NodeFault::DiskSlow)
        }
        _ => {
            section.missing("share", "the share of reads that meet a flipped bit");
            let share = section.range("share", Bounds::SHARE);
            share.map(NodeFault::DiskCorrupt)
        }
    }
}

fn target(section: &Section<'_>, cluster: &Cluster) -> Option<Target> {
    let expected = "node = \"server-1\", or nodes = \"any server\" for one that the seed chooses";
    match (section.text("node"), section.text("nodes")) {
        (Some(name), None) => node(section, "node", name, cluster).map(Target::Node),
        (None, Some(any)) => {
            let role = any.strip_prefix("any ").unwrap_or(any);
            if any != role && cluster.role_names().contains(&role) {
                return Some(Target::AnyOf(role.to_owned()));
            }
            let names = cluster.role_names();
            let expected = format!("\"any\" and one of {}", list(&names));
            let todo = nearest(role, names);
            section.problem("nodes", format!("is \"{any}\""), &expected, &todo);
            None
        }
        (Some(_), Some(_)) => {
            section.problem("nodes", "is given besides node", expected, "remove one");
            None
        }
        (None, None) => {
            section.problem("", "does not say which node", expected, "add one of them");
            None
        }
    }
}
