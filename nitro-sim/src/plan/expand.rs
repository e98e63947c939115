//! Nodes, parameters and operations of a plan.

use std::collections::BTreeMap;

use super::{OPERATIONS_MAX, Parameter, PlanError, PlannedNode};
use crate::draw::Draw;
use crate::operation::PlannedOperation;
use crate::scenario::{Choice, Scenario, Workload, node_names};

pub(super) fn nodes(scenario: &Scenario) -> Vec<PlannedNode> {
    let of_role = |role: &(String, u32)| {
        let names = node_names(std::slice::from_ref(role));
        let role = role.0.clone();
        names.into_iter().map(move |name| PlannedNode {
            name,
            role: role.clone(),
        })
    };
    scenario.nodes.iter().flat_map(of_role).collect()
}

pub(super) fn parameters(scenario: &Scenario, seed: u64) -> BTreeMap<String, Parameter> {
    let decide = |name: &String, choice: &Choice| {
        let mut draw = Draw::new(seed, &format!("parameter/{name}"));
        match choice {
            Choice::Text(text) => Parameter::Text(text.clone()),
            Choice::Boolean(value) => Parameter::Boolean(*value),
            Choice::Integer(range) => Parameter::Integer(draw.signed(range.min, range.max)),
            Choice::Number(range) => Parameter::Number(draw.number(range.min, range.max)),
        }
    };
    let all = scenario.parameters.iter();
    all.map(|(name, choice)| (name.clone(), decide(name, choice)))
        .collect()
}

pub(super) fn operations(
    scenario: &Scenario,
    seed: u64,
) -> Result<Vec<PlannedOperation>, PlanError> {
    let mut operations = Vec::new();
    for (index, workload) in scenario.workloads.iter().enumerate() {
        let stream = stream(scenario, index);
        let roles = scenario
            .nodes
            .iter()
            .filter(|(role, _)| *role == workload.role);
        for node in roles.flat_map(|role| node_names(std::slice::from_ref(role))) {
            let draw = Draw::new(seed, &format!("workload/{stream}/{node}"));
            of_node(workload, &node, draw, &mut operations)?;
        }
    }
    operations
        .sort_by(|a, b| (a.at_ms, &a.node, &a.workload).cmp(&(b.at_ms, &b.node, &b.workload)));
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.id = index as u64 + 1;
        operation.value = operation.id;
    }
    Ok(operations)
}

/// What a workload's choices are drawn for: its name, or where it has none its place among the
/// workloads of the same role and operation. Removing another kind of workload moves nothing.
fn stream(scenario: &Scenario, index: usize) -> String {
    let workload = &scenario.workloads[index];
    if workload.id != format!("workload-{}", index + 1) {
        return workload.id.clone();
    }
    let (role, operation) = (&workload.role, &workload.operation);
    let before = scenario.workloads[..index].iter();
    let nth = before
        .filter(|earlier| (&earlier.role, &earlier.operation) == (role, operation))
        .count();
    format!("{role}/{operation}/{nth}")
}

fn of_node(
    workload: &Workload,
    node: &str,
    mut draw: Draw,
    operations: &mut Vec<PlannedOperation>,
) -> Result<(), PlanError> {
    let mut at_ms = workload.from_ms;
    loop {
        at_ms += draw.whole(workload.every_ms.min, workload.every_ms.max);
        let key = draw.whole(0, workload.keys - 1);
        if at_ms >= workload.until_ms {
            return Ok(());
        }
        if operations.len() == OPERATIONS_MAX {
            return Err(PlanError::Operations(workload.id.clone()));
        }
        operations.push(PlannedOperation {
            id: 0,
            at_ms,
            node: node.to_owned(),
            workload: workload.id.clone(),
            operation: workload.operation.clone(),
            key,
            value: 0,
            timeout_ms: workload.timeout_ms,
        });
    }
}
