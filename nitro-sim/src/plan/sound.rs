//! Whether a plan can be what it says: it speaks of nodes it has, in the order of time, and what
//! ends has begun. A plan that a scenario makes is; one that was edited may not be.

use std::collections::BTreeSet;

use super::Plan;
use crate::fault::{Fault, Phase, StaleAnswer};

impl Plan {
    /// What in it contradicts itself, in words; nothing where all is well.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.of_nodes(&mut found);
        self.of_faults(&mut found);
        self.of_operations(&mut found);
        found
    }

    fn of_nodes(&self, found: &mut Vec<String>) {
        let mut names = BTreeSet::new();
        for node in &self.nodes {
            if !names.insert(node.name.as_str()) {
                found.push(format!("there are two nodes {}", node.name));
            }
        }
        let unknown = |node: &&str| !names.contains(node);
        for planned in self
            .faults
            .iter()
            .filter(|fault| fault.phase == Phase::Begin)
        {
            let id = &planned.id;
            for node in nodes_of(&planned.fault).filter(unknown) {
                found.push(format!("{id} is of {node}, which is no node of it"));
            }
        }
        for link in &self.network.links {
            let nodes = link.between.iter().flatten().map(String::as_str);
            for node in nodes.filter(unknown) {
                found.push(format!("a link is of {node}, which is no node of it"));
            }
        }
        for operation in self
            .operations
            .iter()
            .filter(|one| unknown(&one.node.as_str()))
        {
            let (id, node) = (operation.id, &operation.node);
            found.push(format!(
                "operation {id} is of {node}, which is no node of it"
            ));
        }
    }

    fn of_faults(&self, found: &mut Vec<String>) {
        let mut begun = BTreeSet::new();
        let mut ended = BTreeSet::new();
        let mut last_ms = 0;
        for planned in &self.faults {
            let (id, at_ms) = (&planned.id, planned.at_ms);
            let is_first = match planned.phase {
                Phase::Begin => begun.insert(id),
                Phase::End => ended.insert(id),
            };
            if !is_first {
                found.push(format!("{id} begins or ends twice"));
            }
            if planned.phase == Phase::End && !begun.contains(id) {
                found.push(format!("{id} ends at {at_ms} ms and has not begun"));
            }
            if at_ms < last_ms {
                found.push(format!("{id} is at {at_ms} ms, after one at {last_ms} ms"));
            }
            last_ms = last_ms.max(at_ms);
        }
    }

    fn of_operations(&self, found: &mut Vec<String>) {
        let mut ids = BTreeSet::new();
        let mut last_ms = 0;
        for operation in &self.operations {
            let (id, at_ms) = (operation.id, operation.at_ms);
            if !ids.insert(id) {
                found.push(format!("there are two operations {id}"));
            }
            if at_ms < last_ms {
                found.push(format!(
                    "operation {id} is at {at_ms} ms, after one at {last_ms} ms"
                ));
            }
            if at_ms.saturating_add(operation.timeout_ms) > self.duration_ms {
                let end_ms = self.duration_ms;
                found.push(format!(
                    "operation {id} may end after the run does, at {end_ms} ms"
                ));
            }
            last_ms = last_ms.max(at_ms);
        }
    }
}

/// The nodes that a fault names.
fn nodes_of(fault: &Fault) -> impl Iterator<Item = &str> {
    let (sides, other): (Vec<&Vec<String>>, Option<&str>) = match fault {
        Fault::Partition { groups } => (groups.iter().collect(), None),
        Fault::PartitionOneWay { from, to } => (vec![from, to], None),
        Fault::Hold { between } | Fault::Latency { between, .. } | Fault::Loss { between, .. } => {
            (between.iter().collect(), None)
        }
        Fault::StaleName {
            answer: StaleAnswer::AddressOf(other),
            ..
        } => (Vec::new(), Some(other)),
        _ => (Vec::new(), None),
    };
    let of_sides = sides.into_iter().flatten().map(String::as_str);
    of_sides.chain(other).chain(fault.node())
}
