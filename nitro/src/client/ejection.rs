//! Takes a node that fails every call out of the choice, tries it after a while, and takes it back.
//!
//! | a node is | until | calls |
//! |---|---|---|
//! | in | it has failed [`EjectionPolicy::failures`] times in a row | go to it as the selector says |
//! | out | its time is up: longer each time, with jitter | go elsewhere |
//! | on trial | a call that began since is answered: in again; or fails: out again, for longer | one at a time |
//!
//! **What counts.** That a node could not be reached counts for nothing here: the connection has
//! a back-off of its own, far shorter, after which the node is found again. Nor does a call that a
//! node turned away unseen, because it is overloaded or about to stop: to take it out would push
//! its load onto the others, and them over. All else that speaks against a node counts: no answer
//! in time, a connection that broke off, an error of the kinds that a caller cannot have caused.
//!
//! **Panic.** Once more than half of the nodes are out, ejection is ignored, and so never more than
//! half are ejected. So many failures at once are more likely the caller's or the network's than
//! the nodes', and the few that are left would not bear the load of all. A node that is alone is
//! not ejected to begin with: there is nowhere else to go.
//!
//! **Source.** Five failures in a row, time that grows with each ejection, one of which is forgotten
//! every 10 s, and panic below 50 % are Envoy's outlier detection; gRPC's (A50) has the same shape.
//! There a node returns unseen when its time is up, after 30 s at the least. Here it is tried by one
//! call, as by Finagle's failure accrual and Linkerd's breaker, so that a mistake costs one call,
//! and times can be theirs: from 5 s, doubling, to a minute.
//!
//! The way of a call to a node that is in, and its answer, take no lock: two loads each.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::host::entropy::Sequence;
use crate::time::Instant;

/// When a node is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EjectionPolicy {
    /// Failures in a row that eject a node.
    pub failures: u32,
    /// How long a node is out the first time.
    pub first: Duration,
    /// By how much each time is longer than the one before.
    pub multiplier: f64,
    /// The longest time, before jitter.
    pub longest: Duration,
    /// Each time is made longer or shorter by up to this share, so that clients disperse.
    pub jitter: f64,
    /// For each such time that a node has been in, one ejection is forgotten.
    pub forgotten_after: Duration,
}

impl Default for EjectionPolicy {
    /// After 5 failures; 5 s, 10 s, 20 s up to a minute, each 20 % more or less; one is forgotten
    /// every 10 s.
    fn default() -> Self {
        Self {
            failures: 5,
            first: Duration::from_secs(5),
            multiplier: 2.0,
            longest: Duration::from_secs(60),
            jitter: 0.2,
            forgotten_after: Duration::from_secs(10),
        }
    }
}

impl EjectionPolicy {
    /// No node is ever ejected.
    pub fn never() -> Self {
        Self {
            failures: u32::MAX,
            ..Self::default()
        }
    }

    /// How long the `nth` ejection of a node lasts, the first being number 1.
    fn lasts(&self, nth: u32, jitter: &Sequence) -> Duration {
        let exponent = i32::try_from(nth.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.first.as_secs_f64() * self.multiplier.powi(exponent);
        let time = grown.min(self.longest.as_secs_f64());
        let spread = 1.0 + self.jitter * (2.0 * jitter.unit() - 1.0);
        Duration::try_from_secs_f64(time * spread).unwrap_or(self.longest)
    }
}

/// What an answer says of the node that it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The node does its work, be it with an error of the caller's making.
    Works,
    /// The node does not do its work.
    Fails,
    /// Nothing: no handler saw the call, or its caller gave up.
    Nothing,
}

impl Says {
    pub(super) fn of<T>(answer: &Result<T, Error>) -> Self {
        match answer {
            Err(error) if !speaks_against(error) => Says::Works,
            Err(error) if error.is_unsent() => Says::Nothing,
            Err(_) => Says::Fails,
            Ok(_) => Says::Works,
        }
    }
}

/// Whether an error speaks against the node rather than against the call.
pub(super) fn speaks_against(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Unavailable
            | Kind::DeadlineExceeded
            | Kind::Internal
            | Kind::Unknown
            | Kind::DataLoss
    )
}

/// Whether a call may go to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// As to any other.
    Free,
    /// To see how the node does: no other may until it has ended.
    Trial,
    /// Not while there are others.
    Refused,
}

/// How a node stands, for whoever operates the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Calls go to it.
    In,
    /// It is ejected until then, unless more than half are.
    Out {
        /// When it is tried again, on the clock of this host.
        until: Instant,
    },
    /// Its time is up, and single calls try it.
    OnTrial,
}

/// What the nodes of a cluster have in common: how many are out, and when the next trial is due.
pub(super) struct Ward {
    policy: EjectionPolicy,
    jitter: Sequence,
    nodes: AtomicUsize,
    /// Those that are not in.
    out: AtomicUsize,
    /// When a node's time is up, in nanoseconds; never later than the next.
    due: AtomicU64,
    ejections: AtomicU64,
}

impl Ward {
    pub(super) fn new(policy: EjectionPolicy, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            policy,
            jitter: Sequence::from_seed(seed),
            nodes: AtomicUsize::new(0),
            out: AtomicUsize::new(0),
            due: AtomicU64::new(u64::MAX),
            ejections: AtomicU64::new(0),
        })
    }

    /// Sets how many nodes there are.
    pub(super) fn set_nodes(&self, nodes: usize) {
        self.nodes.store(nodes, Ordering::Relaxed);
    }

    /// Whether so many are out that it is ignored.
    pub(super) fn is_panicking(&self) -> bool {
        self.out.load(Ordering::Relaxed) * 2 > self.nodes.load(Ordering::Relaxed)
    }

    /// Whether a node may be ejected: not the only one there is.
    fn may_eject(&self) -> bool {
        self.nodes.load(Ordering::Relaxed) > 1
    }

    /// Ejections so far.
    pub(super) fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Whether some node's time is up.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.load(Ordering::Relaxed) <= now.as_nanos()
    }

    /// Puts those whose time is up on trial; `begun` is told the place of each.
    #[cold]
    pub(super) fn begin_trials<'a>(
        &self,
        records: impl Iterator<Item = &'a Record>,
        now: Instant,
        mut begun: impl FnMut(usize),
    ) {
        // Before any phase is looked at: an ejection made meanwhile is seen below or sets it later.
        self.due.store(u64::MAX, Ordering::SeqCst);
        for (index, record) in records.enumerate() {
            if record.phase.load(Ordering::SeqCst) == IN {
                continue;
            }
            let mut state = record.lock();
            if record.phase.load(Ordering::Relaxed) != OUT {
                continue;
            }
            if state.until <= now {
                state.tried_since = now;
                record.phase.store(TRIAL_OPEN, Ordering::Relaxed);
                begun(index);
            } else {
                self.due.fetch_min(state.until.as_nanos(), Ordering::SeqCst);
            }
        }
    }

    fn add_out(&self) {
        let was = self.is_panicking();
        self.out.fetch_add(1, Ordering::Relaxed);
        if !was && self.is_panicking() {
            tracing::warn!("more than half of the nodes fail: ejection is ignored");
        }
    }

    fn remove_out(&self) {
        let was = self.is_panicking();
        self.out.fetch_sub(1, Ordering::Relaxed);
        if was && !self.is_panicking() {
            tracing::info!("half of the nodes work: ejection holds again");
        }
    }
}

const IN: u8 = 0;
const OUT: u8 = 1;
/// On trial, and the next call may try it.
const TRIAL_OPEN: u8 = 2;
/// On trial, and a call is trying it.
const TRIAL_TAKEN: u8 = 3;

/// How one node does.
pub(super) struct Record {
    ward: Arc<Ward>,
    /// Since the last answer.
    failures: AtomicU32,
    /// Written only while `state` is held, but for the step from a trial that is open to one that
    /// is taken.
    phase: AtomicU8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The end of the ejection.
    until: Instant,
    /// The beginning of the trial.
    tried_since: Instant,
    /// Ejections that are not forgotten.
    ejections: u32,
    /// When it was last taken back.
    back_at: Instant,
    /// It has left the list: nothing counts any more.
    is_gone: bool,
}

impl Record {
    pub(super) fn new(ward: Arc<Ward>) -> Self {
        Self {
            ward,
            failures: AtomicU32::new(0),
            phase: AtomicU8::new(IN),
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way while it is held, so that a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call may go to the node now.
    pub(super) fn admit(&self) -> Admission {
        match self.phase.load(Ordering::Relaxed) {
            IN => Admission::Free,
            _ if self.ward.is_panicking() => Admission::Free,
            TRIAL_OPEN => {
                let (order, phase) = (Ordering::Relaxed, &self.phase);
                let taken = phase.compare_exchange(TRIAL_OPEN, TRIAL_TAKEN, order, order);
                taken.map_or(Admission::Refused, |_| Admission::Trial)
            }
            _ => Admission::Refused,
        }
    }

    /// Counts a call that has ended. `id` is the node's, for the log.
    pub(super) fn count(&self, id: &str, call: Counted, now: Instant, says: Says) {
        let is_outlier = match says {
            Says::Nothing => false,
            Says::Works => {
                if self.failures.load(Ordering::Relaxed) != 0 {
                    self.failures.store(0, Ordering::Relaxed);
                }
                false
            }
            Says::Fails => {
                let before = self.failures.fetch_add(1, Ordering::Relaxed);
                before.saturating_add(1) >= self.ward.policy.failures && self.ward.may_eject()
            }
        };
        if is_outlier || self.phase.load(Ordering::Relaxed) != IN {
            self.judge(id, call, now, says);
        }
    }

    #[cold]
    fn judge(&self, id: &str, call: Counted, now: Instant, says: Says) {
        let mut state = self.lock();
        let phase = self.phase.load(Ordering::Relaxed);
        // One that began earlier tells of the time before.
        let is_trial = phase >= TRIAL_OPEN && call.started >= state.tried_since;
        match (phase, says) {
            _ if state.is_gone => {}
            (IN, Says::Fails) => {
                self.ward.add_out();
                self.eject(&mut state, id, now);
            }
            (_, Says::Fails) if is_trial && self.ward.may_eject() => {
                self.eject(&mut state, id, now);
            }
            (_, Says::Works) if is_trial => {
                state.back_at = now;
                self.phase.store(IN, Ordering::Relaxed);
                self.ward.remove_out();
                tracing::info!(node = id, "works again");
            }
            // It says nothing of the node, or the node is the last one: the next may try.
            _ if is_trial && call.is_trial => self.phase.store(TRIAL_OPEN, Ordering::Relaxed),
            _ => {}
        }
    }

    fn eject(&self, state: &mut State, id: &str, now: Instant) {
        let policy = &self.ward.policy;
        if self.phase.load(Ordering::Relaxed) == IN {
            let been_in = now.since(state.back_at).as_nanos();
            let forgotten = been_in / policy.forgotten_after.as_nanos().max(1);
            let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
            state.ejections = state.ejections.saturating_sub(forgotten);
        }
        state.ejections = state.ejections.saturating_add(1);
        let lasts = policy.lasts(state.ejections, &self.ward.jitter);
        state.until = now + lasts;
        self.failures.store(0, Ordering::Relaxed);
        self.phase.store(OUT, Ordering::SeqCst);
        let until = state.until.as_nanos();
        self.ward.due.fetch_min(until, Ordering::SeqCst);
        self.ward.ejections.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(node = id, ?lasts, "ejected: it fails every call");
    }

    /// The node has left the list.
    pub(super) fn retire(&self) {
        let mut state = self.lock();
        if !state.is_gone && self.phase.load(Ordering::Relaxed) != IN {
            self.ward.remove_out();
        }
        state.is_gone = true;
    }

    /// How the node stands.
    pub(super) fn standing(&self) -> Standing {
        match self.phase.load(Ordering::Relaxed) {
            IN => Standing::In,
            OUT => Standing::Out {
                until: self.lock().until,
            },
            _ => Standing::OnTrial,
        }
    }
}

/// A call, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// When it began.
    pub(super) started: Instant,
    /// Whether it holds the place of the one that tries the node.
    pub(super) is_trial: bool,
}

#[cfg(test)]
mod tests;
