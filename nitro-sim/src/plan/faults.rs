//! The faults of a plan: times, nodes and numbers decided, durations turned into begin and end.

use super::PlanError;
use super::swarm::{Lean, Swarm};
use crate::draw::Draw;
use crate::fault::{Fault, Phase, PlannedFault};
use crate::scenario::{FaultChoice, FaultKind, NodeFault, Range, Scenario, Target, node_names};

/// A fault whose times are decided.
struct Timed<'a> {
    choice: &'a FaultChoice,
    index: usize,
    draw: Draw,
    lean: Lean,
    at_ms: u64,
    until_ms: Option<u64>,
}

/// A time during which a node is down.
struct Down {
    node: String,
    from_ms: u64,
    until_ms: u64,
}

pub(super) fn expand(
    scenario: &Scenario,
    seed: u64,
    swarm: &Swarm,
) -> Result<Vec<PlannedFault>, PlanError> {
    let mut timed = timed(scenario, seed, swarm);
    timed.sort_by_key(|fault| (fault.at_ms, fault.index));
    let mut down = down_by_name(&timed, scenario.duration_ms);
    let mut planned = Vec::new();
    for fault in timed {
        let (at_ms, until_ms) = (fault.at_ms, fault.until_ms);
        let id = fault.choice.id.clone();
        let fault = decide(fault, scenario, &mut down)?;
        let entry = |at_ms, phase| PlannedFault {
            id: id.clone(),
            at_ms,
            phase,
            fault: fault.clone(),
        };
        planned.push(entry(at_ms, Phase::Begin));
        planned.extend(until_ms.map(|until_ms| entry(until_ms, Phase::End)));
    }
    // What ends comes before what begins at the same time, so that one crash may follow another.
    planned.sort_by_key(|fault| (fault.at_ms, fault.phase == Phase::Begin));
    Ok(planned)
}

fn timed<'a>(scenario: &'a Scenario, seed: u64, swarm: &Swarm) -> Vec<Timed<'a>> {
    let mut timed = Vec::new();
    for (index, choice) in scenario.faults.iter().enumerate() {
        let mut draw = Draw::new(seed, &format!("fault/{}", stream(scenario, index)));
        let is_planned = draw.chance(choice.probability);
        let at_ms = draw.whole(choice.at_ms.min, choice.at_ms.max);
        let lean = swarm.lean(&choice.id);
        let until_ms = choice
            .for_ms
            .map(|last| at_ms + lean.of(draw.whole(last.min, last.max), last));
        if is_planned && !swarm.is_off(&choice.id) {
            timed.push(Timed {
                choice,
                index,
                draw,
                lean,
                at_ms,
                until_ms,
            });
        }
    }
    timed
}

/// What a fault's choices are drawn for: its name, or where it has none its place among the
/// faults of its kind. Removing a fault of another kind moves nothing.
fn stream(scenario: &Scenario, index: usize) -> String {
    let choice = &scenario.faults[index];
    if choice.id != format!("fault-{}", index + 1) {
        return choice.id.clone();
    }
    let kind = kind(&choice.kind);
    let before = scenario.faults[..index].iter();
    let nth = before
        .filter(|earlier| self::kind(&earlier.kind) == kind)
        .count();
    format!("{kind}/{nth}")
}

fn kind(kind: &FaultKind) -> &'static str {
    match kind {
        FaultKind::Decided(fault) => fault.kind(),
        FaultKind::Loss { .. } => "loss",
        FaultKind::OfNode { what, .. } => match what {
            NodeFault::Crash => "crash",
            NodeFault::Stop => "stop",
            NodeFault::Restart => "restart",
            NodeFault::Slow(_) => "slow",
            NodeFault::Pause => "pause",
            NodeFault::Resume => "resume",
            NodeFault::ClockJump(_) => "clock_jump",
            NodeFault::ClockOffset(_) => "clock_offset",
            NodeFault::ClockDrift(_) => "clock_drift",
            NodeFault::DiskFull(_) => "disk_full",
            NodeFault::DiskErrors(_) => "disk_errors",
            NodeFault::DiskSlow(_) => "disk_slow",
            NodeFault::DiskCorrupt(_) => "disk_corrupt",
        },
    }
}

/// When nodes that are given by name are down, so that a choice among others avoids them.
fn down_by_name(timed: &[Timed<'_>], duration_ms: u64) -> Vec<Down> {
    let mut down = Vec::new();
    for (index, fault) in timed.iter().enumerate() {
        let Some((node, NodeFault::Crash | NodeFault::Stop)) = named(fault) else {
            continue;
        };
        let restart = timed[index + 1..]
            .iter()
            .find(|later| matches!(named(later), Some((name, NodeFault::Restart)) if name == node));
        let restart_ms = restart.map(|restart| restart.at_ms);
        down.push(Down {
            node: node.to_owned(),
            from_ms: fault.at_ms,
            until_ms: fault.until_ms.or(restart_ms).unwrap_or(duration_ms),
        });
    }
    down
}

fn named<'a>(fault: &Timed<'a>) -> Option<(&'a str, NodeFault)> {
    match &fault.choice.kind {
        FaultKind::OfNode {
            target: Target::Node(node),
            what,
        } => Some((node, *what)),
        _ => None,
    }
}

fn decide(
    mut timed: Timed<'_>,
    scenario: &Scenario,
    down: &mut Vec<Down>,
) -> Result<Fault, PlanError> {
    match &timed.choice.kind {
        FaultKind::Decided(fault) => Ok(fault.clone()),
        FaultKind::Loss { between, loss } => Ok(Fault::Loss {
            between: between.clone(),
            loss: timed.lean.of(timed.draw.number(loss.min, loss.max), *loss),
        }),
        FaultKind::OfNode { target, what } => {
            let node = match target {
                Target::Node(node) => node.clone(),
                Target::AnyOf(role) => any_of(&mut timed, role, *what, scenario, down)?,
            };
            Ok(of_node(&mut timed.draw, timed.lean, node, *what))
        }
    }
}

fn any_of(
    timed: &mut Timed<'_>,
    role: &str,
    what: NodeFault,
    scenario: &Scenario,
    down: &mut Vec<Down>,
) -> Result<String, PlanError> {
    let is_crash = matches!(what, NodeFault::Crash | NodeFault::Stop);
    let open_end = if is_crash {
        scenario.duration_ms
    } else {
        timed.at_ms
    };
    let (from_ms, until_ms) = (timed.at_ms, timed.until_ms.unwrap_or(open_end));
    let is_up = |node: &String| {
        let mut of_node = down.iter().filter(|down| down.node == *node);
        !of_node.any(|down| down.from_ms <= until_ms && from_ms <= down.until_ms)
    };
    let roles = scenario.nodes.iter().filter(|(name, _)| name == role);
    let names = roles.flat_map(|role| node_names(std::slice::from_ref(role)));
    let up: Vec<String> = names.filter(is_up).collect();
    if up.is_empty() {
        return Err(PlanError::NobodyUp {
            fault: timed.choice.id.clone(),
            role: role.to_owned(),
            at_ms: from_ms,
        });
    }
    let chosen = timed.draw.whole(0, up.len() as u64 - 1);
    let node = up[chosen as usize].clone();
    if is_crash {
        down.push(Down {
            node: node.clone(),
            from_ms,
            until_ms,
        });
    }
    Ok(node)
}

fn of_node(draw: &mut Draw, lean: Lean, node: String, what: NodeFault) -> Fault {
    let signed =
        |draw: &mut Draw, range: Range<i64>| lean.of(draw.signed(range.min, range.max), range);
    let mut number = |range: Range<f64>| lean.of(draw.number(range.min, range.max), range);
    match what {
        NodeFault::Crash => Fault::Crash { node },
        NodeFault::Stop => Fault::Stop { node },
        NodeFault::Restart => Fault::Restart { node },
        NodeFault::Pause => Fault::Pause { node },
        NodeFault::Resume => Fault::Resume { node },
        NodeFault::ClockJump(by) => Fault::ClockJump {
            node,
            by_ms: signed(draw, by),
        },
        NodeFault::ClockOffset(by) => Fault::ClockOffset {
            node,
            by_ms: signed(draw, by),
        },
        NodeFault::ClockDrift(by) => Fault::ClockDrift {
            node,
            parts_per_million: signed(draw, by),
        },
        NodeFault::DiskFull(free) => Fault::DiskFull {
            node,
            free_bytes: signed(draw, free).unsigned_abs(),
        },
        NodeFault::DiskErrors(shares) => {
            let [reads, writes, syncs] = shares.map(number);
            Fault::DiskErrors {
                node,
                reads,
                writes,
                syncs,
            }
        }
        NodeFault::DiskSlow(factor) => Fault::DiskSlow {
            node,
            factor: number(factor),
        },
        NodeFault::DiskCorrupt(share) => Fault::DiskCorrupt {
            node,
            share: number(share),
        },
        NodeFault::Slow(factor) => Fault::Slow {
            node,
            factor: number(factor),
        },
    }
}
