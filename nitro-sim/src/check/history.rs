//! The operations of a run: what was planned, when it was called, how it ended.

use std::collections::BTreeMap;

use crate::operation::PlannedOperation;
use crate::plan::Plan;
use crate::trace::{EventKind, OperationOutcome, Trace};

/// The operations of a run, by id. They are the plan's and the trace's own.
#[derive(Clone, Debug, Default)]
pub struct History<'r>(BTreeMap<u64, Made<'r>>);

/// One operation of a run.
#[derive(Clone, Debug)]
pub struct Made<'r> {
    /// What was planned.
    pub planned: &'r PlannedOperation,
    /// When it was called, in microseconds; none where it never was.
    pub called_us: Option<u64>,
    /// How it ended, and when; exactly one in a sound run.
    pub outcomes: Vec<(u64, &'r OperationOutcome)>,
}

impl<'r> History<'r> {
    /// The operations of a plan as a trace tells of them.
    pub fn new(plan: &'r Plan, trace: &'r Trace) -> Self {
        let planned = |operation: &'r PlannedOperation| {
            let made = Made {
                planned: operation,
                called_us: None,
                outcomes: Vec::new(),
            };
            (operation.id, made)
        };
        let mut all: BTreeMap<u64, Made<'r>> = plan.operations.iter().map(planned).collect();
        for event in trace.events() {
            match &event.kind {
                EventKind::Call { operation, .. } => {
                    if let Some(made) = all.get_mut(operation) {
                        made.called_us.get_or_insert(event.at_us);
                    }
                }
                EventKind::Outcome { operation, outcome } => {
                    if let Some(made) = all.get_mut(operation) {
                        made.outcomes.push((event.at_us, outcome));
                    }
                }
                _ => {}
            }
        }
        Self(all)
    }

    /// All operations, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Made<'r>> {
        self.0.values()
    }
}

impl<'r> Made<'r> {
    /// How it ended first.
    pub fn outcome(&self) -> Option<&'r OperationOutcome> {
        self.outcomes.first().map(|(_, outcome)| *outcome)
    }

    /// Whether it succeeded.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome(), Some(OperationOutcome::Ok { .. }))
    }

    /// Whether it failed, or did not end in time.
    pub fn is_failed(&self) -> bool {
        let outcome = self.outcome();
        matches!(
            outcome,
            Some(OperationOutcome::Failed { .. } | OperationOutcome::Unfinished) | None
        )
    }

    /// How long it took, in microseconds, where it was called and has ended.
    pub fn took_us(&self) -> Option<u64> {
        let (ended_us, _) = self.outcomes.first()?;
        Some(ended_us.saturating_sub(self.called_us?))
    }

    /// Which one it is, for a reason.
    pub(super) fn words(&self) -> String {
        let PlannedOperation {
            id,
            operation,
            node,
            at_ms,
            ..
        } = self.planned;
        let seconds = *at_ms as f64 / 1000.0;
        format!("operation {id} ({operation} by {node} at {seconds:.3} s)")
    }
}
