//! No node fails or panics.

use super::Findings;
use crate::system::Breach;
use crate::trace::{Blame, EventKind, Trace};

pub(super) fn check(trace: &Trace, findings: &mut Findings) {
    let mut stopped = Vec::new();
    let mut panicked = Vec::new();
    for (place, event) in trace.events().iter().enumerate() {
        let node = event.node.as_deref().unwrap_or("the cluster");
        let seconds = event.at_us as f64 / 1e6;
        match &event.kind {
            EventKind::NodeStopped { error: Some(error) } => {
                let what = format!("{node} at {seconds:.3} s: {error}");
                stopped.push(Breach::of(what, [Blame::Event(place)]));
            }
            EventKind::TaskPanicked { task, message } => {
                let what = format!("{node} at {seconds:.3} s, task {task}: {message}");
                panicked.push(Breach::of(what, [Blame::Event(place)]));
            }
            _ => {}
        }
    }
    findings.fail_each("node stopped", stopped);
    findings.fail_each("task panicked", panicked);
}
