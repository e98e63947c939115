//! What comes of a run, as bytes from its process to the one that asked for it.

use std::io;
use std::time::Duration;

use super::process::{End, Finished};
use crate::engine::{Ended, Outcome};
use crate::plan::Plan;
use crate::system::System;
use crate::trace::Trace;

/// All of it: its trace, then how the run ended and how long it took.
pub(in crate::engine) fn whole(_: &Plan, _: &System, outcome: Outcome) -> Vec<u8> {
    outcome.trace.into_bytes(&(&outcome.ended, outcome.wall))
}

/// Reads what [`whole`] wrote.
pub(super) fn read(bytes: Vec<u8>) -> Option<Outcome> {
    let (trace, (ended, wall)) = Trace::from_bytes(bytes)?;
    Some(Outcome { trace, ended, wall })
}

/// What came of a run whose process told all of it, or did not.
pub(in crate::engine) fn received(
    told: Result<Vec<u8>, Ended>,
    plan: &Plan,
    engine: &str,
    wall: Duration,
) -> Outcome {
    let read = told.and_then(|told| {
        read(told).ok_or_else(|| Ended::Panicked {
            at_us: 0,
            message: "the run's process did not say all of it".to_owned(),
        })
    });
    let outcome = read.unwrap_or_else(|ended| Outcome::without_trace(plan, engine, ended));
    Outcome { wall, ..outcome }
}

/// What a run's process told, or how it ended if it did not come to that.
pub(in crate::engine) fn told(
    finished: io::Result<Finished>,
    plan: &Plan,
) -> Result<Vec<u8>, Ended> {
    match finished {
        Ok(finished) if finished.end == End::Exited(0) => Ok(finished.bytes),
        Ok(finished) => Err(of_death(&finished, plan)),
        Err(error) => {
            let message = format!("the run has no process of its own: {error}");
            Err(Ended::Panicked { at_us: 0, message })
        }
    }
}

fn of_death(finished: &Finished, plan: &Plan) -> Ended {
    let place = finished.place;
    let at_us = place.at_us;
    let node = place.node.and_then(|node| plan.nodes.get(node));
    let node = node.map_or_else(String::new, |node| node.name.clone());
    match finished.end {
        End::TooSlow => Ended::TooSlow { at_us },
        End::Stuck => Ended::Stuck { at_us, node },
        End::Signal(signal) => Ended::Died {
            at_us,
            node,
            how: format!("signal {signal}"),
        },
        End::Exited(code) => Ended::Died {
            at_us,
            node,
            how: format!("exit code {code}"),
        },
    }
}
