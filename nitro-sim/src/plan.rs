//! A scenario and a seed, with every choice made: what an engine runs, replay repeats and
//! shrinking shortens. It says nothing about how it is to be run, so any engine can.

mod buggify;
mod expand;
mod faults;
mod file;
mod sound;
mod swarm;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::fault::PlannedFault;
use crate::operation::PlannedOperation;
use crate::scenario::{Checks, Network, Scenario, Schedule};

pub use buggify::Buggify;
pub use file::{PlanFileError, comments};
pub use swarm::Swarm;

/// The version of the plan file.
pub const FORMAT: u32 = 1;

/// The most operations of a plan: more than a simulated day of steady traffic, and far from the
/// end of memory.
pub const OPERATIONS_MAX: usize = 500_000;

/// What happens in a run, with nothing left to choose but the fate of single messages, which
/// comes from the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the plan file, [`FORMAT`].
    pub format: u32,
    /// The scenario it was made from, by name.
    pub scenario: String,
    /// The system that runs, by name.
    pub system: String,
    /// The seed it was made from, which also decides the fate of single messages.
    pub seed: u64,
    /// How long it runs, in virtual milliseconds.
    pub duration_ms: u64,
    /// The nodes, in the order they start.
    pub nodes: Vec<PlannedNode>,
    /// What is done to the cluster, by time.
    pub faults: Vec<PlannedFault>,
    /// What is asked of it, by time.
    pub operations: Vec<PlannedOperation>,
    /// The network while nothing is wrong with it.
    pub network: Network,
    /// How the order of a node's tasks is explored.
    #[serde(default)]
    pub schedule: Schedule,
    /// The tricks that nitro and services play; none where the scenario asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buggify: Option<Buggify>,
    /// What the system is told.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// How the run is judged.
    pub checks: Checks,
    /// How it differs from what the scenario says, where its seed drew that too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swarm: Option<Swarm>,
    /// The run that saved it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
    /// What a run of it must show, if it is kept for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// A node of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedNode {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
}

/// What a system is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

/// What came of the run that saved a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The engine that ran it.
    pub engine: String,
    /// The digest of its trace.
    pub trace: String,
    /// Its verdict, in a word.
    pub verdict: String,
}

/// What a run of a plan must show that was kept because it once failed. Either holds the failure's
/// signature, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// This failure: the bug lives, or the system is broken on purpose.
    Failure(String),
    /// A pass: this failure has been mended.
    Mended(String),
}

/// Why no plan can be made of a scenario and a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// Too many operations: the workload that passed the bound.
    Operations(String),
    /// A fault's node is to be chosen and every node of the role is down.
    NobodyUp {
        /// The fault.
        fault: String,
        /// The role.
        role: String,
        /// When.
        at_ms: u64,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Operations(workload) => write!(
                f,
                "{workload} brings the plan above {OPERATIONS_MAX} operations: raise every_ms or \
                 shorten it"
            ),
            PlanError::NobodyUp { fault, role, at_ms } => write!(
                f,
                "{fault} is of any {role}, and at {at_ms} ms every {role} is down: part the \
                 crashes in time, or add nodes"
            ),
        }
    }
}

impl std::error::Error for PlanError {}

impl Plan {
    /// The plan of a scenario and a seed.
    ///
    /// # Errors
    ///
    /// When the scenario asks for too much, or the seed leads to a contradiction.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, PlanError> {
        let faults = faults::expand(scenario, seed, &Swarm::default())?;
        Self::with(scenario, seed, faults)
    }

    /// The plan of a scenario and a seed that also draws which of the faults are on, how hard they
    /// are, and how the nodes' tasks take turns.
    ///
    /// # Errors
    ///
    /// As [`Plan::new`].
    pub fn swarm(scenario: &Scenario, seed: u64) -> Result<Self, PlanError> {
        let mut swarm = Swarm::draw(scenario, seed);
        let faults = faults::expand(scenario, seed, &swarm)?;
        let schedule = swarm.schedule(scenario, seed);
        Ok(Self {
            schedule,
            swarm: Some(swarm),
            ..Self::with(scenario, seed, faults)?
        })
    }

    fn with(scenario: &Scenario, seed: u64, faults: Vec<PlannedFault>) -> Result<Self, PlanError> {
        let draw = || buggify::draw(seed, &faults, scenario.duration_ms);
        let buggify = scenario.buggify.then(draw);
        Ok(Self {
            format: FORMAT,
            scenario: scenario.name.clone(),
            system: scenario.system.clone(),
            seed,
            duration_ms: scenario.duration_ms,
            nodes: expand::nodes(scenario),
            faults,
            operations: expand::operations(scenario, seed)?,
            network: scenario.network.clone(),
            schedule: scenario.schedule,
            buggify,
            parameters: expand::parameters(scenario, seed),
            checks: scenario.checks.clone(),
            swarm: None,
            recorded: None,
            expected: None,
        })
    }

    /// From when on nothing more is done to the cluster, in virtual milliseconds: no fault begins or
    /// ends, and no trick is played.
    pub fn calm_from_ms(&self) -> u64 {
        let faults = self.faults.iter().map(|fault| fault.at_ms);
        let tricks = self.buggify.iter().map(|buggify| buggify.until_ms);
        faults.chain(tricks).max().unwrap_or(0)
    }

    /// The ids of its faults, each once, in the order they set in.
    pub fn fault_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = Vec::new();
        for fault in &self.faults {
            if !ids.contains(&fault.id.as_str()) {
                ids.push(&fault.id);
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests;
