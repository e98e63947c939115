//! What is tried, in which order: first what makes the rest cheap, then what one wants to be rid
//! of, and last what makes it easy to read.
//!
//! What would make any system fail is not tried. It has as long to start as it had, each role keeps
//! a node, one that is there in the end if it had one, and a fault that ends does so as long as the
//! run goes on. Where calls that fail are the failure, none has less time.

use std::collections::BTreeSet;

use super::{Search, less};
use crate::fault::{Fault, Phase, PlannedFault};
use crate::latency::Latency;
use crate::plan::{Buggify, Plan, PlannedNode};
use crate::scenario::{Network, Yields};
use crate::shrink::minimize::minimize;

/// A time is not shortened below this. Shorter ones say no more, and what hangs by a millisecond
/// is lost with the next change to the code.
const TIME_LEAST_MS: u64 = 100;

/// Times between events are shortened while there are so few: with more it is not worth the runs.
const EVENTS_MOST: usize = 40;

/// The checks that find calls that fail: with little enough time, any does.
const CALLS_THAT_FAIL: [&str; 3] = ["converged", "min_ok", "max_failed"];

impl Search<'_> {
    /// Goes through all once.
    pub(super) fn pass(&mut self) {
        // A quiet network first: on it, what is left out changes little else.
        self.quieten();
        self.end_sooner();
        self.drop_tricks();
        self.drop_faults();
        self.drop_nodes();
        self.drop_operations();
        self.drop_idle_check();
        self.shorten_faults();
        self.shorten_timeouts();
        self.close_gaps();
        self.round();
    }

    fn quieten(&mut self) {
        self.doing = "network and schedule";
        let quiet = quiet(&self.best.network);
        let mut all = self.best.clone();
        all.network = quiet.clone();
        all.schedule.yields = Yields::Off;
        if self.accepts(all) {
            return;
        }
        let steps: [fn(&mut Plan, &Network); 6] = [
            |plan, _| plan.schedule.yields = Yields::Off,
            |plan, quiet| plan.network.latency = quiet.latency,
            |plan, _| plan.network.loss = 0.0,
            |plan, _| (plan.network.duplicate, plan.network.reorder) = (0.0, 0.0),
            |plan, _| (plan.network.bytes_per_second, plan.network.mtu_bytes) = (None, None),
            |plan, _| plan.network.links.clear(),
        ];
        for step in steps {
            let mut quieter = self.best.clone();
            step(&mut quieter, &quiet);
            self.accepts(quieter);
        }
    }

    /// Finds the earliest end by halving: what comes after the failure goes in a few runs.
    fn end_sooner(&mut self) {
        self.doing = "the end of the run";
        let plan = self.best.clone();
        let faults = plan.faults.iter().map(|fault| fault.at_ms);
        let operations = plan.operations.iter();
        let operations = operations.map(|operation| operation.at_ms + operation.timeout_ms);
        let ends: BTreeSet<u64> = faults.chain(operations).collect();
        let ends: Vec<u64> = ends.into_iter().collect();
        let (mut early, mut late) = (0, ends.len());
        while early < late {
            let middle = early.midpoint(late);
            match self.accepts(less::until(&plan, ends[middle])) {
                true => late = middle,
                false => early = middle + 1,
            }
        }
    }

    fn drop_tricks(&mut self) {
        self.doing = "tricks";
        let plan = self.best.clone();
        let Some(buggify) = &plan.buggify else {
            return;
        };
        minimize(buggify.sites.clone(), |left| {
            let mut less = plan.clone();
            less.buggify = (!left.is_empty()).then(|| Buggify {
                sites: left.to_vec(),
                ..buggify.clone()
            });
            self.accepts(less)
        });
    }

    fn drop_faults(&mut self) {
        self.doing = "faults";
        let plan = self.best.clone();
        let ids = plan.fault_ids().into_iter().map(str::to_owned).collect();
        minimize(ids, |left| self.accepts(less::with_faults(&plan, left)));
    }

    fn drop_nodes(&mut self) {
        self.doing = "nodes";
        let plan = self.best.clone();
        let names = plan.nodes.iter().map(|node| node.name.clone()).collect();
        minimize(names, |left| {
            let less = less::with_nodes(&plan, left);
            roles(&less) == roles(&plan) && self.accepts(less)
        });
    }

    /// First by workload, then one by one.
    fn drop_operations(&mut self) {
        self.doing = "operations";
        let plan = self.best.clone();
        let operations = || plan.operations.iter();
        let workloads: BTreeSet<&str> = operations().map(|one| one.workload.as_str()).collect();
        minimize(workloads.into_iter().collect(), |left| {
            let of_them = operations().filter(|one| left.contains(&one.workload.as_str()));
            let ids = of_them.map(|one| one.id).collect();
            self.accepts(less::with_operations(&plan, &ids))
        });
        let plan = self.best.clone();
        let ids = plan.operations.iter().map(|operation| operation.id);
        minimize(ids.collect(), |left| {
            let ids = left.iter().copied().collect();
            self.accepts(less::with_operations(&plan, &ids))
        });
    }

    /// A check that is not of the failure and has nothing left to hold of goes: with it, a run in
    /// which the failure is mended could not pass.
    fn drop_idle_check(&mut self) {
        self.doing = "checks";
        let Some(within_ms) = self.best.checks.converged_within_ms else {
            return;
        };
        let from_ms = self.best.calm_from_ms() + within_ms;
        let is_idle = self.best.operations.iter().all(|one| one.at_ms <= from_ms);
        if is_idle && !self.failure.is_of("converged") {
            let mut less = self.best.clone();
            less.checks.converged_within_ms = None;
            self.accepts(less);
        }
    }

    fn shorten_faults(&mut self) {
        self.doing = "how long faults last";
        let ends = self
            .best
            .faults
            .iter()
            .filter(|fault| fault.phase == Phase::End);
        let ids: Vec<String> = ends.map(|fault| fault.id.clone()).collect();
        for id in ids {
            let mut of_fault = self.best.faults.iter().filter(|fault| fault.id == id);
            let begin_ms = of_fault.next().map_or(0, |fault| fault.at_ms);
            let end_ms = of_fault.next().map_or(begin_ms, |fault| fault.at_ms);
            for for_ms in rounder(end_ms - begin_ms) {
                if !self.accepts(less::lasting(&self.best, &id, for_ms)) {
                    break;
                }
            }
        }
    }

    fn shorten_timeouts(&mut self) {
        if CALLS_THAT_FAIL
            .iter()
            .any(|check| self.failure.is_of(check))
        {
            return;
        }
        self.doing = "how long operations may take";
        let timeouts = self
            .best
            .operations
            .iter()
            .map(|operation| operation.timeout_ms);
        for timeout_ms in rounder(timeouts.max().unwrap_or(0)) {
            if !self.accepts(less::within(&self.best, timeout_ms)) {
                break;
            }
        }
    }

    /// What happens after a while in which nothing happens, happens sooner.
    fn close_gaps(&mut self) {
        self.doing = "times between events";
        let mut from_ms = self.start_ms;
        for _ in 0..EVENTS_MOST {
            let times = times(&self.best);
            if times.len() > EVENTS_MOST {
                return;
            }
            let Some(next_ms) = times.into_iter().find(|at_ms| *at_ms > from_ms) else {
                return;
            };
            let mut gap_ms = next_ms - from_ms;
            for shorter_ms in rounder(gap_ms) {
                if !self.accepts(less::sooner(&self.best, from_ms, gap_ms - shorter_ms)) {
                    break;
                }
                gap_ms = shorter_ms;
            }
            from_ms += gap_ms;
        }
    }

    /// Round numbers, where they do as well.
    fn round(&mut self) {
        self.doing = "odd times";
        for to_ms in [1000, 500, 100, 10] {
            if self.accepts(less::rounded(&self.best, to_ms)) {
                return;
            }
        }
    }
}

/// A network on which every message takes as long as most did, and none is lost.
fn quiet(network: &Network) -> Network {
    let us = u64::try_from(network.latency.typical().as_micros()).unwrap_or(u64::MAX);
    Network::new(Latency::Constant { us })
}

/// The roles that have a node, and those that have one at the end of all faults.
fn roles(plan: &Plan) -> [BTreeSet<&str>; 2] {
    let is_left = |node: &&PlannedNode| {
        let of_node = |planned: &&PlannedFault| planned.fault.node() == Some(node.name.as_str());
        let is_start = |planned: &PlannedFault| match (&planned.fault, planned.phase) {
            (Fault::Crash { .. } | Fault::Stop { .. }, phase) => Some(phase == Phase::End),
            (Fault::Restart { .. }, _) => Some(true),
            _ => None,
        };
        let mut starts = plan.faults.iter().filter(of_node).filter_map(is_start);
        starts.next_back().unwrap_or(true)
    };
    let (all, left) = (plan.nodes.iter(), plan.nodes.iter().filter(is_left));
    [
        all.map(|node| node.role.as_str()).collect(),
        left.map(|node| node.role.as_str()).collect(),
    ]
}

/// When something begins, ends or is asked, or the run ends.
pub(super) fn times(plan: &Plan) -> BTreeSet<u64> {
    let faults = plan.faults.iter().map(|fault| fault.at_ms);
    let operations = plan.operations.iter().map(|operation| operation.at_ms);
    faults.chain(operations).chain([plan.duration_ms]).collect()
}

/// Round numbers of milliseconds below one, falling: each digit once.
fn rounder(below_ms: u64) -> impl Iterator<Item = u64> {
    let tens = (0..=u64::MAX.ilog10()).rev().map(|power| 10u64.pow(power));
    let round = tens.flat_map(|ten| [5, 3, 2, 1].map(|digit| ten.saturating_mul(digit)));
    round.filter(move |ms| (TIME_LEAST_MS..below_ms).contains(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers_fall() {
        let below: Vec<u64> = rounder(450).collect();
        assert_eq!(below, [300, 200, 100]);
        assert_eq!(rounder(100).count(), 0);
    }
}
