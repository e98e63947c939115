//! Faults that contradict one another: a node that is down cannot crash.

use super::section::Section;
use super::{FaultChoice, FaultKind, NodeFault, Target};

/// A named node going down or coming up.
struct Step<'a> {
    start: usize,
    fault: &'a FaultChoice,
    node: &'a str,
    is_crash: bool,
}

/// Reports every crash that may come while its node is down, and every restart that may come
/// while its node is about to start by itself. Where a seed chooses the node, it chooses one
/// that is up, so those are left out.
pub(super) fn find(root: &Section<'_>, faults: &[(usize, FaultChoice)]) {
    let mut steps: Vec<Step<'_>> = faults.iter().filter_map(step).collect();
    steps.sort_by_key(|step| (step.fault.at_ms.min, step.start));
    for (index, later) in steps.iter().enumerate() {
        let mut earlier = steps[..index].iter().rev();
        let last = earlier.find(|step| step.node == later.node);
        if let Some(last) = last.filter(|step| step.is_crash) {
            clash(root, last, later);
        }
    }
}

fn step((start, fault): &(usize, FaultChoice)) -> Option<Step<'_>> {
    let FaultKind::OfNode {
        target: Target::Node(node),
        what,
    } = &fault.kind
    else {
        return None;
    };
    let is_crash = match what {
        NodeFault::Crash | NodeFault::Stop => true,
        NodeFault::Restart => false,
        _ => return None,
    };
    let start = *start;
    Some(Step {
        start,
        fault,
        node,
        is_crash,
    })
}

fn clash(root: &Section<'_>, crash: &Step<'_>, later: &Step<'_>) {
    let (id, node) = (&crash.fault.id, later.node);
    let from = later.fault.at_ms.min;
    let up_at = crash
        .fault
        .for_ms
        .map(|down| crash.fault.at_ms.max + down.max);
    let name = &later.fault.id;
    match (later.is_crash, up_at) {
        (true, None) => root.problem_at(
            later.start,
            "",
            format!("{name} crashes {node}, which is down since {id}"),
            "a crash of a node that runs",
            "add restart_after_s to the first, or a restart between them",
        ),
        (true, Some(up_at)) if from <= up_at => root.problem_at(
            later.start,
            "",
            format!("{name} may crash {node} at {from} ms; {id} has it down until {up_at} ms"),
            "a crash of a node that runs",
            "move one of them",
        ),
        (false, Some(up_at)) if from <= up_at => root.problem_at(
            later.start,
            "",
            format!("{name} may start {node} at {from} ms; {id} starts it by {up_at} ms"),
            "one start for each crash",
            "remove restart_after_s, or move the restart",
        ),
        (false, None) if from <= crash.fault.at_ms.max => root.problem_at(
            later.start,
            "",
            format!("{name} may start {node} at {from} ms, before {id} crashes it"),
            "the restart after the crash, whatever the seed",
            "part their ranges",
        ),
        _ => {}
    }
}
