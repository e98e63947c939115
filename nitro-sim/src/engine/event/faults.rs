//! What a planned fault does to a cluster.

use super::cluster::Cluster;
use crate::fault::{Fault, Phase, PlannedFault};
use crate::trace::EventKind;

impl Cluster<'_> {
    /// Does the next fault, whose time has come.
    pub(super) fn apply_next_fault(&mut self) {
        let plan = self.plan;
        if let Some(planned) = plan.faults.get(self.next_fault) {
            self.next_fault += 1;
            self.apply(planned);
            // Whatever changed, every node may look: one that has nothing to do does nothing.
            for node in 0..self.nodes.len() {
                self.look(node);
            }
        }
    }

    fn apply(&mut self, planned: &PlannedFault) {
        let (id, phase) = (planned.id.as_str(), planned.phase);
        let kind = EventKind::Fault {
            fault: id.to_owned(),
            phase,
            what: planned.fault.to_string(),
        };
        self.recorder.record(self.now_us(), None, kind);
        let name = planned.fault.node();
        let node = name.and_then(|name| self.nodes.iter().position(|n| *n.part.name == *name));
        let node = node.filter(|_| !matches!(planned.fault, Fault::StaleName { .. }));
        match (&planned.fault, node) {
            (Fault::Heal, _) => self.touch_if(id, self.net.heal()),
            (Fault::Release, _) => self.touch_if(id, self.net.release()),
            (fault, Some(node)) if phase == Phase::Begin => self.begin_of_node(id, fault, node),
            (fault, Some(node)) => self.end_of_node(id, fault, node),
            (fault, None) if phase == Phase::Begin => self.net.begin_fault(id, fault),
            (_, None) => self.net.end_fault(id),
        }
    }

    fn begin_of_node(&mut self, id: &str, fault: &Fault, node: usize) {
        let now = self.now;
        let seat = &mut self.nodes[node];
        let own = id.to_owned();
        match fault {
            Fault::Crash { .. } => self.crash(node, id),
            Fault::Stop { .. } => {
                let asked = seat.running.as_ref();
                let is_new = asked.is_some_and(|(_, life)| !life.stop.set(true));
                self.touch_if(id, is_new);
            }
            Fault::Restart { .. } => {
                self.crash(node, id);
                self.start(node);
                self.recorder.touch(id);
            }
            Fault::Pause { .. } => seat.pauses.push(own),
            Fault::Resume { .. } => {
                let was_paused = !seat.pauses.is_empty();
                seat.pauses.clear();
                self.touch_if(id, was_paused);
            }
            Fault::Slow { factor, .. } => seat.slows.push((own, *factor)),
            Fault::ClockJump { by_ms, .. } => {
                seat.clock.jump(*by_ms);
                seat.clock_faults.push((own, true));
            }
            Fault::ClockOffset { by_ms, .. } => {
                seat.clock.offset(id, *by_ms);
                seat.clock_faults.push((own, true));
            }
            Fault::ClockDrift {
                parts_per_million, ..
            } => {
                seat.clock.drift(now, id, *parts_per_million);
                seat.clock_faults.push((own, false));
            }
            _ => {
                seat.part.machines.begin_fault(id, fault);
                self.net.begin_fault(id, fault);
            }
        }
    }

    fn end_of_node(&mut self, id: &str, fault: &Fault, node: usize) {
        match fault {
            Fault::Crash { .. } => self.start(node),
            Fault::Stop { .. } | Fault::Restart { .. } => {
                // One that has not ended by then is killed, as a supervisor would.
                self.crash(node, id);
                self.start(node);
            }
            _ => {
                let now = self.now;
                let seat = &mut self.nodes[node];
                seat.part.machines.end_fault(id, fault);
                seat.pauses.retain(|fault| fault != id);
                seat.slows.retain(|(fault, _)| fault != id);
                seat.clock_faults.retain(|(fault, _)| fault != id);
                seat.clock.end(now, id);
                seat.part.machines.end_fault(id, fault);
                self.net.end_fault(id);
            }
        }
    }

    fn touch_if(&self, fault: &str, is_touched: bool) {
        if is_touched {
            self.recorder.touch(fault);
        }
    }
}
