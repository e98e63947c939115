//! What comes of a run, as bytes from its process to the one that asked for it.

use std::io::{BufRead, BufWriter, Write};
use std::time::Duration;

use super::process::{End, Finished};
use crate::engine::{Ended, Outcome};
use crate::plan::Plan;
use crate::trace::Trace;

/// Writes how a run ended and how long it took, then its trace.
pub(super) fn write(
    out: impl Write,
    ended: &Ended,
    wall: Duration,
    trace: &Trace,
) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    serde_json::to_writer(&mut out, &(ended, wall))?;
    writeln!(out)?;
    trace.write(&mut out)?;
    out.flush()
}

/// What came of a process, with the trace if it got so far.
pub(super) fn of(finished: &Finished, plan: &Plan, empty: Trace, wall: Duration) -> Outcome {
    let read = match finished.end {
        End::Exited(0) => read(&finished.bytes),
        _ => None,
    };
    let of_death = || Outcome {
        trace: empty,
        ended: of_death(finished, plan),
        wall,
    };
    read.map_or_else(of_death, |read| Outcome { wall, ..read })
}

/// Reads what [`write`] wrote.
pub(super) fn read(mut bytes: &[u8]) -> Option<Outcome> {
    let mut line = String::new();
    bytes.read_line(&mut line).ok()?;
    let (ended, wall) = serde_json::from_str(&line).ok()?;
    let trace = Trace::read(&mut bytes).ok()?;
    Some(Outcome { trace, ended, wall })
}

fn of_death(finished: &Finished, plan: &Plan) -> Ended {
    let place = finished.place;
    let at_us = place.at_us;
    let node = plan.nodes.get(place.node);
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
