//! What came of the runs of a sweep, in numbers and by kind. All of it adds up, so that the
//! tallies of parts are that of the whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::growth::Behaviours;
use super::points::Points;
use super::seeds::SeedSet;
use crate::check::{Reason, Signature, Verdict};
use crate::run::Summary;

/// How many kinds of failure are told apart; those past it count as one. Whoever has so many has
/// one cause, and signatures that do not show it.
const KINDS_MAX: usize = 1000;

/// The signature of the failures past [`KINDS_MAX`].
const OTHERS: &str = "other failures";

/// What came of the runs of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// The seeds that have run.
    pub done: SeedSet,
    /// How many passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many proved nothing.
    pub inconclusive: u64,
    /// How many could not be run.
    pub refused: u64,
    /// How many were run twice and compared.
    pub compared: u64,
    /// How many events they recorded.
    pub events: u64,
    /// The failures by signature.
    pub failures: BTreeMap<String, Kind>,
    /// The doubts of runs that proved nothing, by the checks that had them.
    pub doubts: BTreeMap<String, Kind>,
    /// Why seeds could not be run.
    pub refusals: BTreeMap<String, Kind>,
    /// The faults by id.
    pub faults: BTreeMap<String, FaultCount>,
    /// What was new, and with which seed.
    pub behaviours: Behaviours,
    /// The points of the program that runs came by.
    pub points: Points,
}

/// Runs that are of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// How many there are.
    pub count: u64,
    /// The least seed.
    pub first: u64,
    /// What the checks said of that one.
    pub reasons: Vec<Reason>,
    /// The digest of its trace.
    pub digest: String,
}

/// How often a fault was planned, and did something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultCount {
    /// In how many runs it was planned.
    pub planned: u64,
    /// In how many it touched something.
    pub touched: u64,
}

impl Tally {
    /// Adds a run: the signature of its failure, if it is the first of its kind.
    pub(super) fn add(&mut self, seed: u64, judged: Result<Summary, String>) -> Option<String> {
        self.done.add(seed);
        let summary = match judged {
            Ok(summary) => summary,
            Err(why) => {
                self.refused += 1;
                add_kind(&mut self.refusals, why, Kind::of(seed, Vec::new(), ""));
                return None;
            }
        };
        self.compared += u64::from(summary.is_compared);
        self.events += summary.events as u64;
        for (fault, touched) in &summary.touches {
            let count = self.faults.entry(fault.clone()).or_default();
            count.planned += 1;
            count.touched += u64::from(*touched > 0);
        }
        self.behaviours.add(seed, &summary.behaviours);
        self.points.add(&summary);
        let signature = summary.signature();
        let kind = |reasons| Kind::of(seed, reasons, &summary.digest);
        match summary.verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::Inconclusive(reasons) => {
                self.inconclusive += 1;
                let checks: BTreeSet<&str> = reasons.iter().map(|r| r.check.as_str()).collect();
                let checks = checks.into_iter().collect::<Vec<_>>().join("; ");
                add_kind(&mut self.doubts, checks, kind(reasons));
            }
            Verdict::Fail(reasons) => {
                self.failed += 1;
                let signature = signature.as_ref().map_or("", Signature::as_str).to_owned();
                let is_new = add_kind(&mut self.failures, signature.clone(), kind(reasons));
                return is_new.then_some(signature);
            }
        }
        None
    }

    /// Adds what came of other seeds.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            done,
            passed,
            failed,
            inconclusive,
            refused,
            compared,
            events,
            failures,
            doubts,
            refusals,
            faults,
            behaviours,
            points,
        } = other;
        self.done.merge(done);
        self.passed += passed;
        self.failed += failed;
        self.inconclusive += inconclusive;
        self.refused += refused;
        self.compared += compared;
        self.events += events;
        let kinds = [
            (&mut self.failures, failures),
            (&mut self.doubts, doubts),
            (&mut self.refusals, refusals),
        ];
        for (own, others) in kinds {
            for (name, kind) in others {
                add_kind(own, name.clone(), kind.clone());
            }
        }
        for (fault, count) in faults {
            let own = self.faults.entry(fault.clone()).or_default();
            own.planned += count.planned;
            own.touched += count.touched;
        }
        self.behaviours.merge(behaviours);
        self.points.merge(points);
    }

    /// The failures of a signature.
    pub fn kind(&self, signature: &str) -> Option<&Kind> {
        self.failures.get(signature)
    }
}

impl Kind {
    fn of(seed: u64, reasons: Vec<Reason>, digest: &str) -> Self {
        // What they point at is in a trace, which is not kept.
        let reasons = reasons.into_iter();
        Self {
            count: 1,
            first: seed,
            reasons: reasons.map(|r| Reason::new(r.check, r.what)).collect(),
            digest: digest.to_owned(),
        }
    }
}

/// Adds runs of a kind: whether it is new.
fn add_kind(kinds: &mut BTreeMap<String, Kind>, name: String, kind: Kind) -> bool {
    let is_known = kinds.contains_key(&name);
    let name = match is_known || kinds.len() < KINDS_MAX {
        true => name,
        false => OTHERS.to_owned(),
    };
    match kinds.get_mut(&name) {
        None => {
            kinds.insert(name, kind);
            true
        }
        Some(own) => {
            let count = own.count + kind.count;
            if kind.first < own.first {
                *own = kind;
            }
            own.count = count;
            false
        }
    }
}
