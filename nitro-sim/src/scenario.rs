//! The scenario file: which system runs on which nodes, what is asked of it and what is done to
//! it, with ranges where a seed is to choose.
//!
//! [`Scenario::parse`] reports all errors of a file in one go, each with its line, what was wrong,
//! what was expected and what to do.
//!
//! All that a file may say; a range may be a single number:
//!
//! ```toml
//! name = "greeter_partition"
//! system = "greeter"                  # as registered
//! duration_s = 30
//! buggify = false                     # true: nitro and services play tricks, up to the last fault
//!
//! [nodes]                             # the nodes are server-1, server-2, client-1
//! server = 2
//! client = 1
//!
//! [network]                           # while nothing is wrong with it
//! latency_ms = [1, 5]
//! loss = 0.0                          # share of writes and datagrams
//! duplicate = 0.0                     # share of datagrams that arrive twice
//! reorder = 0.0                       # share of datagrams that later ones overtake
//! mtu_bytes = 1500                    # a longer datagram is lost if any piece of it is
//! bytes_per_second = 125_000_000      # of each link, one way; any number where it is missing
//!
//! [[network.link]]                    # links that are different, both ways
//! between = [["server-1"], ["client"]]
//! latency = { distribution = "log_normal", median_ms = 2, p99_ms = 20 }
//!
//! [schedule]
//! yields = "default"                  # how often tasks let others go first: off, aggressive
//!
//! [parameters]                        # for the system: numbers, ranges, texts, true, false
//! work_ms = [1, 3]
//!
//! [[workload]]                        # name = "..." names it; every node of the role makes it
//! role = "client"
//! operation = "hello"
//! every_ms = [20, 60]                 # the gap before each, drawn anew
//! from_s = 1                          # 0 where it is missing
//! until_s = 29                        # the end less timeout_ms where it is missing
//! timeout_ms = 1000
//! keys = 10                           # each is about a key of 0..10
//!
//! [[fault]]                           # name = "..." names it; probability = 0.5 may drop it
//! kind = "partition"
//! groups = [["server-1"], ["server-2", "client"]]     # a role stands for all of its nodes
//! at_s = [5, 8]
//! for_s = [3, 5]                      # until healed or the end where it is missing
//!
//! [[fault]]
//! kind = "crash"
//! nodes = "any server"                # or node = "server-1"
//! at_s = 15
//! restart_after_s = [1, 3]
//!
//! [checks]
//! replayed = true                     # two runs give equal traces
//! answered = true                     # one outcome an operation, in time
//! converged_within_s = 5              # so long after the last fault all succeed
//! min_ok = 0.5
//! max_failed = 100
//! tasks_max = 30                      # of each node in the end: connections, calls
//! subscriptions_max = 3               # of the broker of each node in the end
//!
//! [[measure]]                         # a figure within bounds; name = "..." names it
//! what = "goodput"                    # operations that succeed in a second
//! workload = "workload-1"             # of all where it is missing
//! from_s = 10                         # what has happened between these; the whole run where
//! until_s = 20                        # they are missing
//! min = 90                            # or max, or both
//! ```
//!
//! The other figures: `ok`, the share of the operations called that succeed (`workload`); of what
//! nodes note (`note`) `count` (`of`, a node or a role), `share` (`of`, a node: 1 is as much as
//! every other of its role), `spread` (`of`, a role: the most of them, where 1 is their mean) and
//! `repeats` (notes beyond one for each operation, to an operation; `free_per_s` of them in a
//! second for each caller are not counted).
//!
//! The other distributions are `constant` (`ms`), `uniform` (`min_ms`, `max_ms`, which is what
//! `latency_ms` means), `exponential` (`min_ms`, `mean_ms`) and `bimodal` (`usual_ms` and `rare_ms`,
//! ranges, and `rare_share`).
//!
//! The other faults: `partition_one_way` (`from`, `to`), `heal`, `hold` (`between`, two groups),
//! `release`, `latency` (`between`, `latency_ms`), `loss` (`between`, `loss`), `restart`, `slow`
//! (`factor`), `pause`, `resume`, `clock_jump` and `clock_offset` (`by_ms`), `clock_drift`
//! (`parts_per_million`), `stale_name` (`node`, `answer`: `nothing`, `old_address` or a node), and of
//! a node's disk `disk_full` (`free_bytes`), `disk_errors` (shares of `reads`, `writes`, `syncs`),
//! `disk_slow` (`factor`) and `disk_corrupt` (`share` of reads). Where an engine cannot do one, it refuses the plan.

mod bounds;
mod clashes;
mod faults;
mod measures;
mod network;
mod problem;
mod read;
mod section;
mod workloads;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
pub use bounds::{CAPACITY_BYTES, DURATION_S_MAX, LATENCY_MS_MAX, NODES_MAX};
pub use measures::{Measure, Quantity};
pub use problem::{Problem, Problems};

/// Least and most; a single number is both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T> {
    /// The least it may be.
    pub min: T,
    /// The most it may be.
    pub max: T,
}

/// A scenario as its file describes it, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The system that runs, by name.
    pub system: String,
    /// How long it runs, in virtual milliseconds.
    pub duration_ms: u64,
    /// The roles in the order of the file, each with how many nodes have it.
    pub nodes: Vec<(String, u32)>,
    /// The network while nothing is wrong with it.
    pub network: Network,
    /// How the order of a node's tasks is explored.
    pub schedule: Schedule,
    /// Whether nitro and services play the tricks that they have, up to the last fault.
    pub buggify: bool,
    /// What the system is told.
    pub parameters: BTreeMap<String, Choice>,
    /// What is asked of the system.
    pub workloads: Vec<Workload>,
    /// What is done to it.
    pub faults: Vec<FaultChoice>,
    /// How the run is judged.
    pub checks: Checks,
}

/// The network while nothing is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How long a message takes.
    pub latency: Latency,
    /// The share of messages lost, 0 to 1.
    pub loss: f64,
    /// The share of datagrams that arrive twice, 0 to 1.
    #[serde(default, skip_serializing_if = "is_none")]
    pub duplicate: f64,
    /// The share of datagrams that later ones overtake, 0 to 1.
    #[serde(default, skip_serializing_if = "is_none")]
    pub reorder: f64,
    /// The longest datagram that travels in one piece; none for the engine's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u64>,
    /// How many bytes a link carries in a second, one way; none for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// The links that are different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

fn is_none(share: &f64) -> bool {
    *share == 0.0
}

/// Links between two sides, both ways, that are not as the others; what is none is as theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The two sides.
    pub between: [Vec<String>; 2],
    /// How long a message takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// The share of messages lost, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// How many bytes it carries in a second, one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
}

impl Network {
    /// A network with this latency and nothing else to it.
    pub fn new(latency: Latency) -> Self {
        Self {
            latency,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            mtu_bytes: None,
            bytes_per_second: None,
            links: Vec::new(),
        }
    }
}

/// How the order of a node's tasks is explored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// How often a task lets the others go first where it need not.
    pub yields: Yields,
}

/// How often a task lets the others go first where it need not, as the seed says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Yields {
    /// Never: every seed has the same order.
    Off,
    /// Now and then.
    #[default]
    Default,
    /// Often.
    Aggressive,
}

impl Yields {
    /// All of them, as a scenario file writes them.
    pub const NAMES: [&'static str; 3] = ["off", "default", "aggressive"];

    /// The one of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Yields::Off),
            "default" => Some(Yields::Default),
            "aggressive" => Some(Yields::Aggressive),
            _ => None,
        }
    }

    /// How probable it is that a task yields when it could go on.
    pub const fn probability(self) -> f64 {
        match self {
            Yields::Off => 0.0,
            Yields::Default => 0.05,
            Yields::Aggressive => 0.4,
        }
    }
}

/// A parameter of the system: a value, or the range it is drawn from.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// A text.
    Text(String),
    /// Yes or no.
    Boolean(bool),
    /// A whole number.
    Integer(Range<i64>),
    /// A number.
    Number(Range<f64>),
}

/// Operations that every node of a role makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Its id: the name it was given, or `workload-1` and so on.
    pub id: String,
    /// The role whose nodes make the operations.
    pub role: String,
    /// What they do, by a name the system knows.
    pub operation: String,
    /// The gap before each, in milliseconds.
    pub every_ms: Range<u64>,
    /// When it begins, in milliseconds.
    pub from_ms: u64,
    /// When it ends, in milliseconds.
    pub until_ms: u64,
    /// How long each may take, in milliseconds.
    pub timeout_ms: u64,
    /// How many keys they choose from.
    pub keys: u64,
}

/// A fault with what is left to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultChoice {
    /// Its id: the name it was given, or `fault-1` and so on.
    pub id: String,
    /// What it is.
    pub kind: FaultKind,
    /// When it sets in, in milliseconds.
    pub at_ms: Range<u64>,
    /// How long it lasts, in milliseconds; none for until healed or the end.
    pub for_ms: Option<Range<u64>>,
    /// How probable it is that the plan has it.
    pub probability: f64,
}

/// A fault's kind, with what is left to choose.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// Nothing is left to choose.
    Decided(crate::fault::Fault),
    /// The share lost is left to choose.
    Loss {
        /// The two sides.
        between: [Vec<String>; 2],
        /// The share lost.
        loss: Range<f64>,
    },
    /// The node or a number is left to choose.
    OfNode {
        /// Which node.
        target: Target,
        /// What happens to it.
        what: NodeFault,
    },
}

/// Which node a fault is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// This one.
    Node(String),
    /// Any one of a role that is up at the time.
    AnyOf(String),
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeFault {
    /// It crashes; `for_ms` is how long it stays down.
    Crash,
    /// It is asked to stop; `for_ms` is how long until it starts again.
    Stop,
    /// It starts, or starts anew.
    Restart,
    /// It works this many times slower.
    Slow(Range<f64>),
    /// It stands still.
    Pause,
    /// It goes on.
    Resume,
    /// Its wall clock jumps by this many milliseconds.
    ClockJump(Range<i64>),
    /// Its wall clock is off by this many milliseconds.
    ClockOffset(Range<i64>),
    /// Its clocks run fast by this many parts per million.
    ClockDrift(Range<i64>),
    /// Its disk has this many bytes left.
    DiskFull(Range<i64>),
    /// These shares of the reads, writes and syncs of its disk fail.
    DiskErrors([Range<f64>; 3]),
    /// Its disk is this many times slower.
    DiskSlow(Range<f64>),
    /// This share of the reads of its disk meets a flipped bit.
    DiskCorrupt(Range<f64>),
}

/// How a run is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Two runs give equal traces.
    pub replayed: bool,
    /// Every operation has one outcome, none after its deadline.
    pub answered: bool,
    /// So long after the last fault, every operation succeeds; in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged_within_ms: Option<u64>,
    /// The least share of operations that succeed, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ok: Option<f64>,
    /// The most operations that may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<u64>,
    /// The most tasks that a node may have in the end, those of its connections included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks_max: Option<u64>,
    /// The most subscriptions that the broker of a node may have in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriptions_max: Option<u64>,
    /// Figures within bounds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Measure>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            replayed: true,
            answered: true,
            converged_within_ms: None,
            min_ok: None,
            max_failed: None,
            tasks_max: None,
            subscriptions_max: None,
            measures: Vec::new(),
        }
    }
}

/// What a scenario may name of a registered system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The roles it has.
    pub roles: Vec<String>,
    /// The operations it knows.
    pub operations: Vec<String>,
}

/// The registered systems by name, with what a scenario may name of each.
pub type Catalogue = BTreeMap<String, Known>;

impl Scenario {
    /// Reads a scenario. `file` is its name, for the errors.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(file: &str, text: &str, catalogue: &Catalogue) -> Result<Self, Problems> {
        read::scenario(file, text, catalogue)
    }

    /// The nodes by name, in the order of the file.
    pub fn node_names(&self) -> Vec<String> {
        node_names(&self.nodes)
    }
}

/// The nodes of roles by name: `server-1` to `server-3` for three servers.
pub(crate) fn node_names(roles: &[(String, u32)]) -> Vec<String> {
    let of_role = |(role, count): &(String, u32)| {
        let role = role.clone();
        (1..=*count).map(move |index| format!("{role}-{index}"))
    };
    roles.iter().flat_map(of_role).collect()
}

#[cfg(test)]
mod tests;
