//! When a fault of a plan ends: with its own end, or with the one that undoes it.

use crate::fault::{Fault, Phase, PlannedFault};

/// When the fault at a place of the plan ends, in virtual milliseconds: at once for what is a
/// moment, and none for what lasts to the end of the run.
pub(super) fn of(faults: &[PlannedFault], place: usize) -> Option<u64> {
    let begun = &faults[place];
    if is_moment(&begun.fault) {
        return Some(begun.at_ms);
    }
    let ends = |later: &&PlannedFault| match later.phase {
        Phase::End => later.id == begun.id,
        Phase::Begin => undoes(&later.fault, &begun.fault),
    };
    faults[place + 1..].iter().find(ends).map(|end| end.at_ms)
}

/// Whether a fault is done at one moment.
fn is_moment(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Heal
            | Fault::Release
            | Fault::Restart { .. }
            | Fault::Resume { .. }
            | Fault::ClockJump { .. }
    )
}

fn undoes(later: &Fault, fault: &Fault) -> bool {
    match later {
        Fault::Heal => !fault.links().is_empty(),
        Fault::Release => matches!(fault, Fault::Hold { .. }),
        Fault::Restart { node } => {
            matches!(fault, Fault::Crash { .. } | Fault::Stop { .. })
                && fault.node() == Some(node.as_str())
        }
        Fault::Resume { node } => {
            matches!(fault, Fault::Pause { .. }) && fault.node() == Some(node.as_str())
        }
        _ => false,
    }
}
