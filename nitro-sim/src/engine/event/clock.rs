//! The clocks of a node: what they say at a time of the cluster, and when they will say a time.

use std::cell::Cell;

use nitro::host::{Clock, Timer};
use nitro::time::{Instant, WallTime};

use super::shim;
use super::timers::Timers;
use crate::engine::EPOCH_UNIX_SECONDS;

/// The civil time at which every run begins.
const EPOCH_UNIX_NANOS: u64 = EPOCH_UNIX_SECONDS * 1_000_000_000;

/// What the monotonic clock says when a run begins, at least: a machine that has been up for a
/// while, so that code which looks back a little does not fall off the beginning.
const UP_BEFORE_NANOS: u64 = 1_000_000 * 1_000_000_000;

thread_local! {
    /// What the monotonic clock said when the run of this thread began.
    static UP_BEFORE: Cell<u64> = const { Cell::new(UP_BEFORE_NANOS) };
}

/// A run begins on this thread. The monotonic clock begins with `random`, because some code takes
/// its seed from there.
pub(super) fn begin(random: u64) {
    UP_BEFORE.set(UP_BEFORE_NANOS + random % UP_BEFORE_NANOS);
}

const MILLION: i128 = 1_000_000;

/// A node's clocks. All times are nanoseconds since the start of the run: on the cluster's clock,
/// which no fault touches, or on the node's own.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeClock {
    /// A time of the cluster, and what the node's clock said then: where the drift set in.
    since: (u64, u64),
    drifts: Vec<(String, i64)>,
    offsets: Vec<(String, i64)>,
    /// How far the wall clock has jumped in all.
    jumped: i64,
}

impl NodeClock {
    fn parts_per_million(&self) -> i64 {
        self.drifts.iter().map(|(_, drift)| drift).sum()
    }

    /// What the node's clock says.
    pub(super) fn local(&self, cluster: u64) -> u64 {
        let (cluster_since, local_since) = self.since;
        if self.drifts.is_empty() {
            return local_since + (cluster - cluster_since);
        }
        let passed = i128::from(cluster - cluster_since);
        let rate = MILLION + i128::from(self.parts_per_million());
        local_since + u64::try_from(passed * rate / MILLION).unwrap_or(u64::MAX / 2)
    }

    /// When the node's clock will say `local`, at the earliest.
    pub(super) fn cluster(&self, local: u64) -> u64 {
        let (cluster_since, local_since) = self.since;
        if self.drifts.is_empty() {
            return cluster_since.saturating_add(local.saturating_sub(local_since));
        }
        let left = i128::from(local.saturating_sub(local_since));
        let rate = MILLION + i128::from(self.parts_per_million());
        let passed = (left * MILLION + rate - 1) / rate;
        cluster_since.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// When the node's monotonic clock, as its programs see it, will say so.
    pub(super) fn wakes(&self, monotonic: u64) -> u64 {
        self.cluster(monotonic.saturating_sub(UP_BEFORE.get()))
    }

    /// What the node sees at a time of the cluster.
    pub(super) fn view(&self, cluster: u64, random: u64) -> shim::View {
        let local = self.local(cluster);
        let offsets = self.offsets.iter().map(|(_, offset)| offset);
        let off_ms: i64 = self.jumped + offsets.sum::<i64>();
        let right = i128::from(EPOCH_UNIX_NANOS) + i128::from(local);
        let wall = right + i128::from(off_ms) * MILLION;
        shim::View {
            monotonic: UP_BEFORE.get() + local,
            wall: u64::try_from(wall).unwrap_or_default(),
            random,
        }
    }

    /// Sets a drift in.
    pub(super) fn drift(&mut self, cluster: u64, fault: &str, parts_per_million: i64) {
        self.since = (cluster, self.local(cluster));
        self.drifts.push((fault.to_owned(), parts_per_million));
    }

    /// Puts the wall clock off.
    pub(super) fn offset(&mut self, fault: &str, by_ms: i64) {
        self.offsets.push((fault.to_owned(), by_ms));
    }

    /// Moves the wall clock.
    pub(super) fn jump(&mut self, by_ms: i64) {
        self.jumped += by_ms;
    }

    /// Ends a drift or an offset.
    pub(super) fn end(&mut self, cluster: u64, fault: &str) {
        self.since = (cluster, self.local(cluster));
        self.drifts.retain(|(id, _)| id != fault);
        self.offsets.retain(|(id, _)| id != fault);
    }
}

/// The clock of a host: what the shim says to whoever runs. It is the same as `std::time` and
/// tokio see, without the way through them.
#[derive(Clone, Debug)]
pub(super) struct EventClock(Timers);

impl EventClock {
    /// The clock of a life that begins now.
    pub(super) fn begin() -> Self {
        Self(Timers::begin(now()))
    }

    /// Its timers.
    pub(super) fn timers(&self) -> &Timers {
        &self.0
    }
}

fn now() -> Instant {
    Instant::from_nanos(shim::monotonic().saturating_sub(UP_BEFORE.get()))
}

impl Clock for EventClock {
    fn now(&self) -> Instant {
        now()
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_nanos(shim::wall())
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        Box::new(self.0.timer(at, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_drifting_clock_reaches_a_time_when_it_says_so_and_never_goes_back() {
        let mut clock = NodeClock::default();
        clock.drift(SECOND, "slow", -100_000);
        assert_eq!(clock.local(2 * SECOND), SECOND + 900_000_000);
        for local in [SECOND, SECOND + 1, SECOND + 7, 5 * SECOND + 3] {
            let at = clock.cluster(local);
            assert!(clock.local(at) >= local);
            assert!(at == SECOND || clock.local(at - 1) < local);
        }
        let before = clock.local(3 * SECOND);
        clock.end(3 * SECOND, "slow");
        assert_eq!(clock.local(3 * SECOND), before);
        assert_eq!(clock.local(4 * SECOND), before + SECOND);
    }

    #[test]
    fn jumps_and_offsets_move_the_wall_clock_alone() {
        let mut clock = NodeClock::default();
        let right = clock.view(SECOND, 0);
        clock.offset("off", -5000);
        clock.jump(2000);
        let wrong = clock.view(SECOND, 0);
        assert_eq!(wrong.monotonic, right.monotonic);
        assert_eq!(wrong.wall + 3 * SECOND, right.wall);
        clock.end(SECOND, "off");
        assert_eq!(clock.view(SECOND, 0).wall, right.wall + 2 * SECOND);
    }
}
