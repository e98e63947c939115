//! What a seed draws besides: which of the scenario's faults are on, how hard they are, and how
//! tasks take turns. Runs that have less in common find more.
//!
//! Source: Groce and others, "Swarm testing", ISSTA 2012.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::fault::Fault;
use crate::scenario::{
    FaultChoice, FaultKind, NodeFault, Range, Scenario, Schedule, Target, Yields,
};

/// How a plan differs from what its scenario says. It is told, and nothing else: the plan holds
/// what comes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// The faults that are off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub off: Vec<String>,
    /// The faults whose ranges are at their low end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<String>,
    /// The faults whose ranges are at their high end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub high: Vec<String>,
    /// How the schedule differs, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<String>,
}

/// Which end of a fault's ranges is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lean {
    None,
    Low,
    High,
}

impl Lean {
    /// What was drawn, or the end of its range.
    pub(super) fn of<T>(self, drawn: T, range: Range<T>) -> T {
        match self {
            Lean::None => drawn,
            Lean::Low => range.min,
            Lean::High => range.max,
        }
    }
}

impl Swarm {
    /// What a seed draws.
    pub(super) fn draw(scenario: &Scenario, seed: u64) -> Self {
        let mut draw = Draw::new(seed, "swarm/faults");
        // A quarter of the seeds has all faults, so that those that need several find them.
        let share = [1.0, 0.75, 0.75, 0.5][draw.whole(0, 3) as usize];
        let mut swarm = Self::default();
        for fault in &scenario.faults {
            let mut draw = Draw::new(seed, &format!("swarm/fault/{}", fault.id));
            let (is_on, lean) = (draw.chance(share), draw.whole(0, 3));
            match lean {
                _ if !is_on => swarm.off.push(fault.id.clone()),
                0 if has_range(fault) => swarm.low.push(fault.id.clone()),
                1 if has_range(fault) => swarm.high.push(fault.id.clone()),
                _ => {}
            }
        }
        swarm.keep_ends(&scenario.faults);
        swarm
    }

    /// A fault that ends others is on exactly where one of them is: without it they would last,
    /// and it would have nothing to end.
    fn keep_ends(&mut self, faults: &[FaultChoice]) {
        for (index, end) in faults.iter().enumerate() {
            let mut begun = faults
                .iter()
                .filter(|fault| is_ended_by(fault, end))
                .peekable();
            if begun.peek().is_none() {
                continue;
            }
            let is_on = begun.any(|fault| !self.off.contains(&fault.id));
            let is_off = self.off.contains(&end.id);
            if is_on && is_off {
                self.off.retain(|id| *id != end.id);
            } else if !is_on && !is_off {
                let place = faults[..index]
                    .iter()
                    .filter(|f| self.off.contains(&f.id))
                    .count();
                self.off.insert(place, end.id.clone());
                self.low.retain(|id| *id != end.id);
                self.high.retain(|id| *id != end.id);
            }
        }
    }

    pub(super) fn is_off(&self, fault: &str) -> bool {
        self.off.iter().any(|id| id == fault)
    }

    pub(super) fn lean(&self, fault: &str) -> Lean {
        let has = |ids: &[String]| ids.iter().any(|id| id == fault);
        match (has(&self.low), has(&self.high)) {
            (true, _) => Lean::Low,
            (_, true) => Lean::High,
            _ => Lean::None,
        }
    }

    /// Draws how tasks take turns.
    pub(super) fn schedule(&mut self, scenario: &Scenario, seed: u64) -> Schedule {
        let mut draw = Draw::new(seed, "swarm/schedule");
        let mut schedule = scenario.schedule;
        let yields = [None, Some(Yields::Off), Some(Yields::Aggressive)];
        if let Some(yields) = yields[draw.whole(0, 2) as usize]
            && yields != schedule.yields
        {
            schedule.yields = yields;
            let name = Yields::NAMES[yields as usize];
            self.schedule.push(format!("yields {name}"));
        }
        schedule
    }
}

/// Whether low and high are different.
fn has_range(fault: &FaultChoice) -> bool {
    let differs = |range: &Range<f64>| range.min < range.max;
    let signed = |range: &Range<i64>| range.min < range.max;
    let of_kind = match &fault.kind {
        FaultKind::Decided(_) => false,
        FaultKind::Loss { loss, .. } => differs(loss),
        FaultKind::OfNode { what, .. } => match what {
            NodeFault::Crash
            | NodeFault::Stop
            | NodeFault::Restart
            | NodeFault::Pause
            | NodeFault::Resume => false,
            NodeFault::Slow(range) | NodeFault::DiskSlow(range) | NodeFault::DiskCorrupt(range) => {
                differs(range)
            }
            NodeFault::ClockJump(range)
            | NodeFault::ClockOffset(range)
            | NodeFault::ClockDrift(range)
            | NodeFault::DiskFull(range) => signed(range),
            NodeFault::DiskErrors(shares) => shares.iter().any(differs),
        },
    };
    of_kind || fault.for_ms.is_some_and(|range| range.min < range.max)
}

/// Whether a fault lasts until another ends it.
fn is_ended_by(fault: &FaultChoice, end: &FaultChoice) -> bool {
    if fault.for_ms.is_some() {
        return false;
    }
    match (&fault.kind, &end.kind) {
        (FaultKind::Decided(begun), FaultKind::Decided(Fault::Heal)) => {
            matches!(
                begun,
                Fault::Partition { .. } | Fault::PartitionOneWay { .. }
            )
        }
        (FaultKind::Decided(begun), FaultKind::Decided(Fault::Release)) => {
            matches!(begun, Fault::Hold { .. })
        }
        (
            FaultKind::OfNode { target: one, what },
            FaultKind::OfNode {
                target: other,
                what: end,
            },
        ) => {
            let is_pair = matches!(
                (what, end),
                (NodeFault::Crash | NodeFault::Stop, NodeFault::Restart)
                    | (NodeFault::Pause, NodeFault::Resume)
            );
            is_pair && may_be_one(one, other)
        }
        _ => false,
    }
}

/// Whether two faults may be of one node.
fn may_be_one(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Node(one), Target::Node(other)) => one == other,
        _ => true,
    }
}

/// In words; nothing where there is no difference.
impl fmt::Display for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        let lists = [
            ("without", &self.off),
            ("low end of", &self.low),
            ("high end of", &self.high),
        ];
        for (words, ids) in lists {
            if !ids.is_empty() {
                parts.push(format!("{words} {}", ids.join(", ")));
            }
        }
        parts.extend(self.schedule.iter().cloned());
        f.write_str(&parts.join("; "))
    }
}
