//! What can be done to a cluster: faults as plain data, every choice made.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing done to the cluster. Whether an engine can do it is for the engine to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Silence between the groups, both ways. Nodes in no group reach everybody.
    Partition {
        /// Two groups or more, each of one node or more.
        groups: Vec<Vec<String>>,
    },
    /// Silence one way.
    PartitionOneWay {
        /// The nodes whose messages are lost.
        from: Vec<String>,
        /// The nodes they do not reach.
        to: Vec<String>,
    },
    /// The end of every partition, hold, latency and loss that is in force.
    Heal,
    /// Messages wait, both ways, until they are released.
    Hold {
        /// The two sides.
        between: [Vec<String>; 2],
    },
    /// The end of every hold that is in force.
    Release,
    /// Messages take longer, both ways.
    Latency {
        /// The two sides.
        between: [Vec<String>; 2],
        /// What is added to each message, in microseconds: at least and at most.
        added_us: [u64; 2],
    },
    /// Messages are lost, both ways: a stream's are sent again later, a datagram is gone.
    Loss {
        /// The two sides.
        between: [Vec<String>; 2],
        /// The share of messages lost, 0 to 1.
        loss: f64,
    },
    /// The node's name is answered wrongly when it is looked up.
    StaleName {
        /// The node.
        node: String,
        /// What is answered.
        answer: StaleAnswer,
    },
    /// The node's power is cut: nothing of it runs, nobody is told. What it synced survives.
    Crash {
        /// The node.
        node: String,
    },
    /// The node is asked to stop, as by SIGTERM, and ends in its own good order.
    Stop {
        /// The node.
        node: String,
    },
    /// A crashed node starts; a running one crashes and starts.
    Restart {
        /// The node.
        node: String,
    },
    /// The node's work takes longer.
    Slow {
        /// The node.
        node: String,
        /// How many times longer, above 1.
        factor: f64,
    },
    /// The node stands still; its sockets stay open.
    Pause {
        /// The node.
        node: String,
    },
    /// A paused node goes on.
    Resume {
        /// The node.
        node: String,
    },
    /// The node's wall clock jumps once.
    ClockJump {
        /// The node.
        node: String,
        /// How far, in milliseconds; negative is back.
        by_ms: i64,
    },
    /// The node's wall clock is off for a while.
    ClockOffset {
        /// The node.
        node: String,
        /// How far, in milliseconds; negative is behind.
        by_ms: i64,
    },
    /// The node's clocks run fast or slow.
    ClockDrift {
        /// The node.
        node: String,
        /// Parts per million; negative is slow.
        parts_per_million: i64,
    },
    /// The node's disk is full: no file grows by more than what is left.
    DiskFull {
        /// The node.
        node: String,
        /// How many bytes are left.
        free_bytes: u64,
    },
    /// Calls to the node's disk fail. What a failed sync was to write is neither on the disk nor
    /// written by the next one.
    DiskErrors {
        /// The node.
        node: String,
        /// The share of reads that fail, 0 to 1.
        reads: f64,
        /// The share of writes that fail, 0 to 1; any part may have been written.
        writes: f64,
        /// The share of syncs that fail, 0 to 1.
        syncs: f64,
    },
    /// The node's disk takes longer.
    DiskSlow {
        /// The node.
        node: String,
        /// How many times longer, above 1.
        factor: f64,
    },
    /// Bits on the node's disk flip, and stay so.
    DiskCorrupt {
        /// The node.
        node: String,
        /// The share of reads that meet one, 0 to 1.
        share: f64,
    },
}

/// What is answered when a stale name is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleAnswer {
    /// That there is no such name.
    Nothing,
    /// An address that nobody has any more.
    OldAddress,
    /// The address of another node.
    AddressOf(String),
}

impl Fault {
    /// The kinds by name, as a scenario file writes them.
    pub const KINDS: [&'static str; 21] = [
        "partition",
        "partition_one_way",
        "heal",
        "hold",
        "release",
        "latency",
        "loss",
        "stale_name",
        "crash",
        "stop",
        "restart",
        "slow",
        "pause",
        "resume",
        "clock_jump",
        "clock_offset",
        "clock_drift",
        "disk_full",
        "disk_errors",
        "disk_slow",
        "disk_corrupt",
    ];

    /// The kind by name.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Partition { .. } => "partition",
            Fault::PartitionOneWay { .. } => "partition_one_way",
            Fault::Heal => "heal",
            Fault::Hold { .. } => "hold",
            Fault::Release => "release",
            Fault::Latency { .. } => "latency",
            Fault::Loss { .. } => "loss",
            Fault::StaleName { .. } => "stale_name",
            Fault::Crash { .. } => "crash",
            Fault::Stop { .. } => "stop",
            Fault::Restart { .. } => "restart",
            Fault::Slow { .. } => "slow",
            Fault::Pause { .. } => "pause",
            Fault::Resume { .. } => "resume",
            Fault::ClockJump { .. } => "clock_jump",
            Fault::ClockOffset { .. } => "clock_offset",
            Fault::ClockDrift { .. } => "clock_drift",
            Fault::DiskFull { .. } => "disk_full",
            Fault::DiskErrors { .. } => "disk_errors",
            Fault::DiskSlow { .. } => "disk_slow",
            Fault::DiskCorrupt { .. } => "disk_corrupt",
        }
    }

    /// The directed links it is about, as pairs of node names; none for a fault of a node.
    pub fn links(&self) -> Vec<(&str, &str)> {
        let mut links = Vec::new();
        match self {
            Fault::Partition { groups } => {
                for (index, one) in groups.iter().enumerate() {
                    for other in &groups[index + 1..] {
                        cross(&mut links, one, other);
                        cross(&mut links, other, one);
                    }
                }
            }
            Fault::PartitionOneWay { from, to } => cross(&mut links, from, to),
            Fault::Hold { between: [a, b] }
            | Fault::Latency {
                between: [a, b], ..
            }
            | Fault::Loss {
                between: [a, b], ..
            } => {
                cross(&mut links, a, b);
                cross(&mut links, b, a);
            }
            _ => {}
        }
        links
    }

    /// The node it is about; none for a fault of links.
    pub fn node(&self) -> Option<&str> {
        match self {
            Fault::StaleName { node, .. }
            | Fault::Crash { node }
            | Fault::Stop { node }
            | Fault::Restart { node }
            | Fault::Slow { node, .. }
            | Fault::Pause { node }
            | Fault::Resume { node }
            | Fault::ClockJump { node, .. }
            | Fault::ClockOffset { node, .. }
            | Fault::ClockDrift { node, .. }
            | Fault::DiskFull { node, .. }
            | Fault::DiskErrors { node, .. }
            | Fault::DiskSlow { node, .. }
            | Fault::DiskCorrupt { node, .. } => Some(node),
            _ => None,
        }
    }
}

fn cross<'a>(links: &mut Vec<(&'a str, &'a str)>, from: &'a [String], to: &'a [String]) {
    for a in from {
        links.extend(to.iter().map(|b| (a.as_str(), b.as_str())));
    }
}

/// In a few words, as reports show it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |nodes: &[String]| nodes.join(" ");
        match self {
            Fault::Partition { groups } => {
                let groups: Vec<String> = groups.iter().map(|group| list(group)).collect();
                write!(f, "partition {}", groups.join(" | "))
            }
            Fault::PartitionOneWay { from, to } => {
                write!(f, "partition one way {} -> {}", list(from), list(to))
            }
            Fault::Heal => f.write_str("heal"),
            Fault::Hold { between: [a, b] } => write!(f, "hold {} - {}", list(a), list(b)),
            Fault::Release => f.write_str("release"),
            Fault::Latency {
                between: [a, b],
                added_us: [least, most],
            } => {
                let ms = |us: &u64| *us as f64 / 1000.0;
                let (least, most) = (ms(least), ms(most));
                write!(f, "latency +{least}-{most} ms {} - {}", list(a), list(b))
            }
            Fault::Loss {
                between: [a, b],
                loss,
            } => {
                let percent = loss * 100.0;
                write!(f, "loss {percent:.1} % {} - {}", list(a), list(b))
            }
            Fault::StaleName { node, answer } => match answer {
                StaleAnswer::Nothing => write!(f, "stale name {node}: nothing"),
                StaleAnswer::OldAddress => write!(f, "stale name {node}: its old address"),
                StaleAnswer::AddressOf(other) => write!(f, "stale name {node}: that of {other}"),
            },
            Fault::Slow { node, factor } => write!(f, "slow {node} x{factor:.1}"),
            Fault::ClockJump { node, by_ms } => write!(f, "clock jump {node} {by_ms:+} ms"),
            Fault::ClockOffset { node, by_ms } => write!(f, "clock offset {node} {by_ms:+} ms"),
            Fault::ClockDrift {
                node,
                parts_per_million,
            } => write!(f, "clock drift {node} {parts_per_million:+} ppm"),
            Fault::DiskFull { node, free_bytes } => {
                write!(f, "disk full {node}: {free_bytes} bytes left")
            }
            Fault::DiskErrors {
                node,
                reads,
                writes,
                syncs,
            } => {
                let [reads, writes, syncs] = [reads, writes, syncs].map(|share| share * 100.0);
                write!(f, "disk errors {node}: {reads:.1} % of reads, ")?;
                write!(f, "{writes:.1} % of writes, {syncs:.1} % of syncs")
            }
            Fault::DiskSlow { node, factor } => write!(f, "disk slow {node} x{factor:.1}"),
            Fault::DiskCorrupt { node, share } => {
                let percent = share * 100.0;
                write!(f, "disk corrupt {node}: {percent:.1} % of reads")
            }
            Fault::Crash { node }
            | Fault::Stop { node }
            | Fault::Restart { node }
            | Fault::Pause { node }
            | Fault::Resume { node } => write!(f, "{} {node}", self.kind()),
        }
    }
}

/// Whether a fault sets in or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It sets in.
    Begin,
    /// It ends: a partition heals, what was held is released, a crashed node starts.
    End,
}

/// A fault at its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Its id, the same where it begins and where it ends.
    pub id: String,
    /// When, in virtual milliseconds since the start.
    pub at_ms: u64,
    /// Whether it sets in or ends.
    pub phase: Phase,
    /// What it is.
    pub fault: Fault,
}
