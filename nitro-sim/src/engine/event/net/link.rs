//! The links between nodes: what is wrong with each, and what becomes of a message.
//!
//! A link is made when it is first used, and looks at the faults in force when those have changed
//! since it last did: what it costs does not grow with the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nitro::time::Instant;

use super::settings::{LinkSettings, NetSettings};
use crate::draw::{Draw, Moment, Moments};
use crate::fault::Fault;
use crate::record::Recorder;

/// The links of a cluster and the faults that are in force on them.
pub(super) struct Links {
    seed: u64,
    names: Vec<Arc<str>>,
    usual: LinkSettings,
    special: BTreeMap<(usize, usize), LinkSettings>,
    by_ends: BTreeMap<(usize, usize), usize>,
    links: Vec<Link>,
    in_force: Vec<InForce>,
    /// Changes whenever `in_force` does.
    epoch: u64,
    recorder: Recorder,
}

/// A fault of links.
struct InForce {
    id: Arc<str>,
    effect: Effect,
    sides: Sides,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Block,
    Hold,
    Added([u64; 2]),
    Loss(f64),
}

/// Which links a fault is about; each node's side by its number.
enum Sides {
    /// Between any two different sides.
    Apart(Vec<Option<u32>>),
    /// From those of the first to those of the second.
    OneWay(Vec<[bool; 2]>),
}

/// One direction between two nodes.
struct Link {
    ends: (usize, usize),
    settings: LinkSettings,
    typical: Duration,
    moments: Moments,
    /// Until when it is busy with what was sent before.
    busy_until: Instant,
    epoch: u64,
    blocks: Vec<Arc<str>>,
    holds: Vec<Arc<str>>,
    added: Vec<(Arc<str>, [u64; 2])>,
    losses: Vec<(Arc<str>, f64)>,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives then; a fault has made it later, or none has.
    Arrives(Instant, bool),
    /// It is lost on the way.
    Lost,
    /// Nothing gets through.
    Blocked,
    /// It waits until it is released.
    Held,
}

impl Links {
    pub(super) fn new(
        seed: u64,
        names: Vec<Arc<str>>,
        settings: &NetSettings,
        recorder: Recorder,
    ) -> Self {
        let number = |name: &str| names.iter().position(|known| &**known == name);
        let special = settings.links.iter().filter_map(|(from, to, link)| {
            let ends = (number(from)?, number(to)?);
            Some((ends, *link))
        });
        Self {
            seed,
            usual: settings.link,
            special: special.collect(),
            by_ends: BTreeMap::new(),
            links: Vec::new(),
            in_force: Vec::new(),
            epoch: 1,
            recorder,
            names,
        }
    }

    /// The link from one node to another.
    pub(super) fn between(&mut self, from: usize, to: usize) -> usize {
        if let Some(link) = self.by_ends.get(&(from, to)) {
            return *link;
        }
        let settings = *self.special.get(&(from, to)).unwrap_or(&self.usual);
        let purpose = format!("link/{}/{}", self.names[from], self.names[to]);
        self.links.push(Link {
            ends: (from, to),
            settings,
            typical: settings.latency.typical(),
            moments: Moments::new(self.seed, &purpose),
            busy_until: Instant::ORIGIN,
            epoch: 0,
            blocks: Vec::new(),
            holds: Vec::new(),
            added: Vec::new(),
            losses: Vec::new(),
        });
        let link = self.links.len() - 1;
        self.by_ends.insert((from, to), link);
        link
    }

    /// What a message takes that is not worth a draw.
    pub(super) fn typical(&self, link: usize) -> Duration {
        self.links[link].typical
    }

    pub(super) fn settings(&self, link: usize) -> LinkSettings {
        self.links[link].settings
    }

    pub(super) fn ends(&self, link: usize) -> (usize, usize) {
        self.links[link].ends
    }

    /// Decides what becomes of a message, and counts it for each fault that has a part in it.
    pub(super) fn fate(&mut self, link: usize, bytes: usize, now: Instant) -> Fate {
        if let Some(fate) = self.shut(link) {
            return fate;
        }
        let link = &mut self.links[link];
        let mut draw = link.draw(now);
        let mut later = Duration::ZERO;
        for (id, [least, most]) in &link.added {
            later += Duration::from_micros(draw.whole(*least, *most));
            self.recorder.touch(id);
        }
        let mut is_lost = link.settings.loss > 0.0 && draw.chance(link.settings.loss);
        for (id, loss) in &link.losses {
            if draw.chance(*loss) {
                self.recorder.touch(id);
                is_lost = true;
            }
        }
        if is_lost {
            return Fate::Lost;
        }
        let mut leaves = now;
        if let Some(speed) = link.settings.bytes_per_second {
            let nanos = (bytes as u64).saturating_mul(1_000_000_000) / speed.max(1);
            leaves = link.busy_until.max(now) + Duration::from_nanos(nanos);
            link.busy_until = leaves;
        }
        let latency = link.settings.latency.draw(&mut draw);
        Fate::Arrives(leaves + latency + later, !later.is_zero())
    }

    /// Whether nothing gets through a link now, and why; counted for the faults that are why.
    pub(super) fn shut(&mut self, link: usize) -> Option<Fate> {
        self.refresh(link);
        let link = &self.links[link];
        let (ids, fate) = match (link.blocks.is_empty(), link.holds.is_empty()) {
            (false, _) => (&link.blocks, Fate::Blocked),
            (true, false) => (&link.holds, Fate::Held),
            (true, true) => return None,
        };
        for id in ids {
            self.recorder.touch(id);
        }
        Some(fate)
    }

    /// How long a link is busy with what was sent before.
    pub(super) fn backlog(&self, link: usize, now: Instant) -> Duration {
        self.links[link].busy_until.since(now)
    }

    /// Yes, with this probability, by the link's own draw.
    pub(super) fn chance(&mut self, link: usize, probability: f64, now: Instant) -> bool {
        probability > 0.0 && self.links[link].draw(now).chance(probability)
    }

    /// A duration within bounds, by the link's own draw.
    pub(super) fn duration(
        &mut self,
        link: usize,
        [min, max]: [Duration; 2],
        now: Instant,
    ) -> Duration {
        let nanos = |time: Duration| time.as_nanos() as u64;
        let drawn = self.links[link].draw(now).whole(nanos(min), nanos(max));
        Duration::from_nanos(drawn)
    }

    /// Puts a fault in force, if it is one of links.
    pub(super) fn begin(&mut self, id: &str, fault: &Fault) {
        let effect = match fault {
            Fault::Partition { .. } | Fault::PartitionOneWay { .. } => Effect::Block,
            Fault::Hold { .. } => Effect::Hold,
            Fault::Latency { added_us, .. } => Effect::Added(*added_us),
            Fault::Loss { loss, .. } => Effect::Loss(*loss),
            _ => return,
        };
        let sides = match fault {
            Fault::Partition { groups } => self.apart(groups),
            Fault::Hold { between }
            | Fault::Latency { between, .. }
            | Fault::Loss { between, .. } => self.apart(between),
            Fault::PartitionOneWay { from, to } => {
                let is_in = |group: &[String], name: &str| group.iter().any(|node| node == name);
                let side = |name: &Arc<str>| [is_in(from, name), is_in(to, name)];
                Sides::OneWay(self.names.iter().map(side).collect())
            }
            _ => return,
        };
        let id = Arc::from(id);
        self.in_force.push(InForce { id, effect, sides });
        self.epoch += 1;
    }

    fn apart(&self, groups: &[Vec<String>]) -> Sides {
        let mut side_of: BTreeMap<&str, u32> = BTreeMap::new();
        for (side, group) in groups.iter().enumerate() {
            side_of.extend(group.iter().map(|node| (node.as_str(), side as u32)));
        }
        let sides = self.names.iter().map(|name| side_of.get(&**name).copied());
        Sides::Apart(sides.collect())
    }

    /// Ends a fault: whether it was in force.
    pub(super) fn end(&mut self, id: &str) -> bool {
        self.end_where(|fault| &*fault.id == id)
    }

    /// Ends every hold: whether there was one.
    pub(super) fn release(&mut self) -> bool {
        self.end_where(|fault| fault.effect == Effect::Hold)
    }

    /// Ends every fault of links: whether there was one.
    pub(super) fn heal(&mut self) -> bool {
        self.end_where(|_| true)
    }

    fn end_where(&mut self, ends: impl Fn(&InForce) -> bool) -> bool {
        let before = self.in_force.len();
        self.in_force.retain(|fault| !ends(fault));
        self.epoch += 1;
        self.in_force.len() < before
    }

    /// Lets a link see the faults in force, if they have changed since it last did.
    fn refresh(&mut self, link: usize) {
        let link = &mut self.links[link];
        if link.epoch == self.epoch {
            return;
        }
        link.epoch = self.epoch;
        link.blocks.clear();
        link.holds.clear();
        link.added.clear();
        link.losses.clear();
        let (from, to) = link.ends;
        for fault in self.in_force.iter().filter(|fault| fault.is_on(from, to)) {
            let id = Arc::clone(&fault.id);
            match fault.effect {
                Effect::Block => link.blocks.push(id),
                Effect::Hold => link.holds.push(id),
                Effect::Added(added) => link.added.push((id, added)),
                Effect::Loss(loss) => link.losses.push((id, loss)),
            }
        }
    }
}

impl Link {
    /// What is drawn for the next message: by when it is sent, not by how many were before.
    fn draw(&mut self, now: Instant) -> Draw<Moment> {
        self.moments.at(now.as_nanos())
    }
}

impl InForce {
    fn is_on(&self, from: usize, to: usize) -> bool {
        match &self.sides {
            Sides::Apart(sides) => {
                sides[from].is_some() && sides[to].is_some() && sides[from] != sides[to]
            }
            Sides::OneWay(sides) => sides[from][0] && sides[to][1],
        }
    }
}
