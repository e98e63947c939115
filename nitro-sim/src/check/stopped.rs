//! No node fails or panics.

use super::Findings;
use crate::trace::{EventKind, Trace};

pub(super) fn check(trace: &Trace, findings: &mut Findings) {
    let mut stopped = Vec::new();
    let mut panicked = Vec::new();
    for event in trace.events() {
        let node = event.node.as_deref().unwrap_or("the cluster");
        let seconds = event.at_us as f64 / 1e6;
        match &event.kind {
            EventKind::NodeStopped { error: Some(error) } => {
                stopped.push(format!("{node} at {seconds:.3} s: {error}"));
            }
            EventKind::TaskPanicked { task, message } => {
                panicked.push(format!("{node} at {seconds:.3} s, task {task}: {message}"));
            }
            _ => {}
        }
    }
    findings.fail_each("node stopped", stopped);
    findings.fail_each("task panicked", panicked);
}
