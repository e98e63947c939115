//! Plans with less in them. What is left stays as it was, and the plan stays one that can be run:
//! whatever speaks of what has gone goes with it.

use std::collections::BTreeSet;

use crate::fault::{Fault, Phase, PlannedFault, StaleAnswer};
use crate::plan::Plan;

/// The plan with these of its faults only, each as a whole.
pub(super) fn with_faults(plan: &Plan, ids: &[String]) -> Plan {
    let mut less = plan.clone();
    less.faults.retain(|fault| ids.contains(&fault.id));
    less
}

/// The plan with these of its operations only.
pub(super) fn with_operations(plan: &Plan, ids: &BTreeSet<u64>) -> Plan {
    let mut less = plan.clone();
    less.operations
        .retain(|operation| ids.contains(&operation.id));
    less
}

/// The plan with these of its nodes only.
pub(super) fn with_nodes(plan: &Plan, names: &[String]) -> Plan {
    let mut less = plan.clone();
    let is_left = |name: &String| names.contains(name);
    less.nodes.retain(|node| is_left(&node.name));
    less.operations.retain(|operation| is_left(&operation.node));
    let faults = less.faults.into_iter().filter_map(|planned| {
        let fault = among(planned.fault, &is_left)?;
        Some(PlannedFault { fault, ..planned })
    });
    less.faults = faults.collect();
    less.network.links.retain_mut(|link| {
        for side in &mut link.between {
            side.retain(is_left);
        }
        link.between.iter().all(|side| !side.is_empty())
    });
    less
}

/// The fault as it is of the nodes that are left; none where it is of none of them.
fn among(mut fault: Fault, is_left: &impl Fn(&String) -> bool) -> Option<Fault> {
    let is_meant = match &mut fault {
        Fault::Partition { groups } => {
            for group in groups.iter_mut() {
                group.retain(is_left);
            }
            groups.retain(|group| !group.is_empty());
            groups.len() > 1
        }
        Fault::PartitionOneWay { from, to } => {
            from.retain(is_left);
            to.retain(is_left);
            !from.is_empty() && !to.is_empty()
        }
        Fault::Hold { between } | Fault::Latency { between, .. } | Fault::Loss { between, .. } => {
            for side in between.iter_mut() {
                side.retain(is_left);
            }
            between.iter().all(|side| !side.is_empty())
        }
        Fault::StaleName {
            node,
            answer: StaleAnswer::AddressOf(other),
        } => is_left(node) && is_left(other),
        Fault::Heal | Fault::Release => true,
        of_node => of_node.node().is_some_and(|node| is_left(&node.to_owned())),
    };
    is_meant.then_some(fault)
}

/// The plan until a time: without what begins later, and without the operations that might not
/// have ended by then.
pub(super) fn until(plan: &Plan, end_ms: u64) -> Plan {
    let mut less = plan.clone();
    less.duration_ms = end_ms;
    less.faults.retain(|fault| fault.at_ms <= end_ms);
    less.operations
        .retain(|operation| operation.at_ms + operation.timeout_ms <= end_ms);
    less
}

/// The plan in which all that happens after a time happens earlier by so many milliseconds, at the
/// earliest at that time. The run still goes on until every operation has ended.
pub(super) fn sooner(plan: &Plan, after_ms: u64, by_ms: u64) -> Plan {
    let mut less = plan.clone();
    let mut end_ms = 0;
    let sooner = |at_ms: u64| match at_ms > after_ms {
        true => at_ms.saturating_sub(by_ms).max(after_ms),
        false => at_ms,
    };
    for fault in &mut less.faults {
        fault.at_ms = sooner(fault.at_ms);
        end_ms = end_ms.max(fault.at_ms);
    }
    for operation in &mut less.operations {
        operation.at_ms = sooner(operation.at_ms);
        end_ms = end_ms.max(operation.at_ms + operation.timeout_ms);
    }
    less.duration_ms = sooner(less.duration_ms).max(end_ms);
    less
}

/// The plan in which a fault lasts so long, which is no longer than it did.
pub(super) fn lasting(plan: &Plan, id: &str, for_ms: u64) -> Plan {
    let mut less = plan.clone();
    let begin = less
        .faults
        .iter()
        .find(|fault| fault.id == id)
        .map(|fault| fault.at_ms);
    for fault in &mut less.faults {
        if let (true, Phase::End, Some(begin)) = (fault.id == id, fault.phase, begin) {
            fault.at_ms = fault.at_ms.min(begin + for_ms);
        }
    }
    in_order(&mut less);
    less
}

/// The plan in which no operation may take longer than this.
pub(super) fn within(plan: &Plan, timeout_ms: u64) -> Plan {
    let mut less = plan.clone();
    for operation in &mut less.operations {
        operation.timeout_ms = operation.timeout_ms.min(timeout_ms);
    }
    less
}

/// The plan in which all happens at a multiple of so many milliseconds, no later than it did. What
/// would end where it begins stays where it was.
pub(super) fn rounded(plan: &Plan, to_ms: u64) -> Plan {
    let mut less = plan.clone();
    let round = |at_ms: u64| at_ms - at_ms % to_ms;
    let begins: Vec<(String, u64)> = less
        .faults
        .iter()
        .filter(|fault| fault.phase == Phase::Begin)
        .map(|fault| (fault.id.clone(), fault.at_ms))
        .collect();
    for fault in &mut less.faults {
        let is_short = fault.phase == Phase::End
            && begins
                .iter()
                .any(|(id, at_ms)| *id == fault.id && round(*at_ms) == round(fault.at_ms));
        if !is_short {
            fault.at_ms = round(fault.at_ms);
        }
    }
    for operation in &mut less.operations {
        operation.at_ms = round(operation.at_ms);
    }
    in_order(&mut less);
    less
}

/// By time, and at one time what ends before what begins, as a plan has them.
fn in_order(plan: &mut Plan) {
    plan.faults
        .sort_by_key(|fault| (fault.at_ms, fault.phase == Phase::Begin));
}
