//! At the end no node has more tasks than it should, and one that has stopped has none: each
//! connection and call that was forgotten keeps one. Nor has a broker more subscriptions.

use std::collections::BTreeMap;

use nitro::held::SUBSCRIPTIONS;
use serde_json::Value;

use super::Findings;
use crate::plan::Plan;
use crate::record::{HELD, TASKS};
use crate::system::Breach;
use crate::trace::{Blame, EventKind, Trace};

/// How many names are shown, those with the most tasks.
const NAMES_MAX: usize = 3;

pub(super) fn check(plan: &Plan, trace: &Trace, findings: &mut Findings) {
    check_tasks(plan, trace, findings);
    check_subscriptions(plan, trace, findings);
}

fn check_tasks(plan: &Plan, trace: &Trace, findings: &mut Findings) {
    let Some(most) = plan.checks.tasks_max else {
        return;
    };
    let mut wrong = Vec::new();
    let mut nodes = 0;
    for (event, value) in trace.notes(TASKS) {
        let Value::Object(names) = value else {
            continue;
        };
        nodes += 1;
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let all: u64 = names.values().map(count).sum();
        if all <= most {
            continue;
        }
        let mut names: Vec<(u64, &String)> = names.iter().map(|(n, c)| (count(c), n)).collect();
        names.sort_by(|one, other| other.cmp(one));
        names.truncate(NAMES_MAX);
        let names = names
            .iter()
            .map(|(count, name)| format!("{count} of {name:?}"));
        let names: Vec<String> = names.collect();
        let node = event.node.as_deref().unwrap_or("the cluster");
        let names = names.join(", ");
        wrong.push(format!(
            "{node} has {all} tasks in the end, most of them {names}; at most {most}"
        ));
    }
    if nodes == 0 {
        findings.doubt("leaked", "no node has had a task");
    }
    findings.fail_each("leaked", wrong);
}

fn check_subscriptions(plan: &Plan, trace: &Trace, findings: &mut Findings) {
    let Some(most) = plan.checks.subscriptions_max else {
        return;
    };
    // What was told last, and where: a node that starts begins anew.
    let mut told: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    let mut has_told = false;
    for (place, event) in trace.events().iter().enumerate() {
        let node = event.node.as_deref().unwrap_or("the cluster");
        match &event.kind {
            EventKind::NodeStarted { .. } => drop(told.remove(node)),
            EventKind::Note { name, value } if name == HELD => {
                if let Some(count) = value.get(SUBSCRIPTIONS).and_then(Value::as_u64) {
                    has_told = true;
                    told.insert(node, (place, count));
                }
            }
            _ => {}
        }
    }
    if !has_told {
        findings.doubt("leaked", "no broker has had a subscription");
    }
    let told = told.into_iter();
    let left = told.filter(|(_, (_, count))| *count > most);
    let wrong = left.map(|(node, (place, count))| {
        let what =
            format!("the broker of {node} has {count} subscriptions in the end; at most {most}");
        Breach::of(what, [Blame::Event(place)])
    });
    findings.fail_each("leaked", wrong.collect());
}

/// What goes on of nodes that have stopped, as an engine that looks has found.
pub(super) fn check_stopped(trace: &Trace, findings: &mut Findings) {
    let mut left = Vec::new();
    for (place, event) in trace.events().iter().enumerate() {
        if let EventKind::Leaked { task, count } = &event.kind {
            let node = event.node.as_deref().unwrap_or("the cluster");
            let what = format!("{node} has stopped, and {count} of its tasks \"{task}\" go on");
            left.push(Breach::of(what, [Blame::Event(place)]));
        }
    }
    findings.fail_each("leaked", left);
}
