//! When a node is ejected, when not, and how it comes back.

use proptest::prelude::*;

use super::*;

const START: Instant = Instant::from_nanos(1_000_000_000);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Without jitter, so that a test can say when.
fn exact() -> EjectionPolicy {
    EjectionPolicy {
        jitter: 0.0,
        ..EjectionPolicy::default()
    }
}

struct Cluster {
    ward: Arc<Ward>,
    records: Vec<Record>,
    now: Instant,
}

impl Cluster {
    fn of(nodes: usize) -> Self {
        let ward = Ward::new(exact(), 1);
        ward.set_nodes(nodes);
        let records = (0..nodes).map(|_| Record::new(Arc::clone(&ward))).collect();
        Self {
            ward,
            records,
            now: START,
        }
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let records = self.records.iter();
        if self.ward.is_due(self.now) {
            self.ward.begin_trials(records, self.now, |_| {});
        }
    }

    /// A call that begins now, if the node takes it.
    fn call(&self, node: usize) -> Option<Counted> {
        let admission = self.records[node].admit();
        (admission != Admission::Refused).then_some(Counted {
            started: self.now,
            is_trial: admission == Admission::Trial,
        })
    }

    fn end(&self, node: usize, call: Counted, says: Says) {
        self.records[node].count("node", call, self.now, says);
    }

    fn says(&self, node: usize, says: Says) {
        self.end(node, self.call(node).expect("the node takes calls"), says);
    }

    fn fail(&self, node: usize, times: u32) {
        for _ in 0..times {
            self.says(node, Says::Fails);
        }
    }

    fn refused(&self) -> usize {
        let is_refused = |record: &&Record| record.admit() == Admission::Refused;
        self.records.iter().filter(is_refused).count()
    }

    /// How long the node is out from now.
    fn out_for(&self, node: usize) -> Option<Duration> {
        match self.records[node].standing() {
            Standing::Out { until } => Some(until.since(self.now)),
            _ => None,
        }
    }
}

#[test]
fn the_fifth_failure_in_a_row_ejects() {
    let cluster = Cluster::of(3);
    cluster.fail(0, 4);
    cluster.says(0, Says::Works);
    cluster.fail(0, 4);
    assert_eq!(cluster.records[0].standing(), Standing::In);
    cluster.fail(0, 1);
    assert!(cluster.call(0).is_none());
    assert!(cluster.call(1).is_some() && cluster.call(2).is_some());
    assert_eq!(cluster.ward.ejections(), 1);
}

#[test]
fn what_says_nothing_of_a_node_neither_ejects_nor_clears_it() {
    let cluster = Cluster::of(3);
    cluster.fail(0, 4);
    for _ in 0..100 {
        cluster.says(0, Says::Nothing);
    }
    assert_eq!(cluster.records[0].standing(), Standing::In);
    cluster.fail(0, 1);
    assert!(cluster.call(0).is_none());
}

#[test]
fn when_its_time_is_up_one_call_at_a_time_tries_it_and_an_answer_takes_it_back() {
    let mut cluster = Cluster::of(3);
    cluster.fail(0, 5);
    cluster.wait(Duration::from_millis(4_999));
    assert!(cluster.call(0).is_none());
    cluster.wait(Duration::from_millis(1));
    assert_eq!(cluster.records[0].standing(), Standing::OnTrial);
    let trial = cluster.call(0).expect("the first call may try");
    assert!(cluster.call(0).is_none(), "the second may not");
    cluster.end(0, trial, Says::Nothing);
    let trial = cluster.call(0).expect("the first said nothing");
    cluster.end(0, trial, Says::Works);
    assert_eq!(cluster.records[0].standing(), Standing::In);
    cluster.fail(0, 4);
    assert_eq!(cluster.records[0].standing(), Standing::In, "counted anew");
}

#[test]
fn each_time_is_longer_up_to_a_minute_and_forgotten_in_good_times() {
    let mut cluster = Cluster::of(3);
    cluster.fail(0, 5);
    for expected in [5, 10, 20, 40, 60, 60] {
        assert_eq!(cluster.out_for(0), Some(seconds(expected)));
        cluster.wait(seconds(expected));
        cluster.fail(0, 1);
    }
    cluster.wait(seconds(60));
    cluster.says(0, Says::Works);
    // Seven so far, of which four are forgotten; this is the fourth again.
    cluster.wait(seconds(40));
    cluster.fail(0, 5);
    assert_eq!(cluster.out_for(0), Some(seconds(40)));
}

#[test]
fn what_began_before_the_trial_does_not_end_it() {
    let mut cluster = Cluster::of(3);
    let early = cluster.call(0).expect("it is in");
    cluster.fail(0, 5);
    cluster.end(0, early, Says::Works);
    assert!(
        cluster.call(0).is_none(),
        "an old answer does not take it back"
    );
    cluster.wait(seconds(5));
    cluster.end(0, early, Says::Fails);
    assert_eq!(cluster.records[0].standing(), Standing::OnTrial);
    assert_eq!(cluster.ward.ejections(), 1);
}

#[test]
fn when_more_than_half_are_out_ejection_is_ignored_until_one_is_back() {
    let mut cluster = Cluster::of(5);
    cluster.fail(0, 5);
    cluster.fail(1, 5);
    assert_eq!((cluster.refused(), cluster.ward.is_panicking()), (2, false));
    cluster.fail(2, 5);
    assert_eq!((cluster.refused(), cluster.ward.is_panicking()), (0, true));
    cluster.wait(seconds(5));
    cluster.says(0, Says::Works);
    assert!(!cluster.ward.is_panicking());
    assert_eq!(cluster.records[0].standing(), Standing::In);
    cluster.says(1, Says::Fails);
    assert!(cluster.call(1).is_none());
}

#[test]
fn an_only_node_is_never_ejected() {
    let cluster = Cluster::of(1);
    cluster.fail(0, 100);
    assert!(cluster.call(0).is_some());
    assert_eq!(cluster.records[0].standing(), Standing::In);
    assert_eq!(cluster.ward.ejections(), 0);
    assert!(!cluster.ward.is_panicking());
    // It has failed all along, and now there is another.
    cluster.ward.set_nodes(2);
    cluster.fail(0, 1);
    assert!(cluster.call(0).is_none());
}

#[test]
fn the_last_node_that_is_left_is_tried_and_not_ejected_again() {
    let mut cluster = Cluster::of(2);
    cluster.fail(0, 5);
    cluster.wait(seconds(5));
    let trial = cluster.call(0).expect("the first call may try");
    cluster.records[1].retire();
    cluster.ward.set_nodes(1);
    cluster.end(0, trial, Says::Fails);
    cluster.fail(0, 100);
    assert_eq!(cluster.records[0].standing(), Standing::OnTrial);
    assert_eq!(cluster.ward.ejections(), 1);
    // With another beside it, single calls try it, and the first that fails ejects it.
    cluster.ward.set_nodes(2);
    cluster.fail(0, 1);
    assert!(cluster.call(0).is_none());
    assert_eq!(cluster.ward.ejections(), 2);
}

#[test]
fn a_node_that_has_left_the_list_is_out_no_more() {
    let mut cluster = Cluster::of(4);
    cluster.fail(0, 5);
    cluster.fail(1, 5);
    let late = cluster.call(2).expect("it is in");
    for node in [0, 2] {
        cluster.records[node].retire();
    }
    cluster.ward.set_nodes(2);
    for _ in 0..5 {
        cluster.end(2, late, Says::Fails);
    }
    assert!(!cluster.ward.is_panicking(), "one of two is out");
    cluster.wait(seconds(5));
    cluster.says(1, Says::Works);
    assert_eq!(cluster.ward.out.load(Ordering::Relaxed), 0);
}

#[test]
fn only_what_a_node_did_to_a_call_that_reached_it_counts() {
    let counts = |error: Error| Says::of(&Err::<(), _>(error));
    for kind in Kind::ALL {
        let expected = match kind {
            Kind::Unavailable
            | Kind::DeadlineExceeded
            | Kind::Internal
            | Kind::Unknown
            | Kind::DataLoss => (Says::Fails, Says::Nothing),
            _ => (Says::Works, Says::Works),
        };
        let error = Error::new(kind, "");
        let found = (counts(error.clone()), counts(error.unsent()));
        assert_eq!(found, expected, "{kind}");
    }
    assert_eq!(Says::of(&Ok(())), Says::Works);
}

proptest! {
    #[test]
    fn every_time_is_within_its_jitter(seed in any::<u64>(), nth in 1_u32..2_000) {
        let policy = EjectionPolicy::default();
        let lasts = policy.lasts(nth, &Sequence::from_seed(seed)).as_secs_f64();
        let expected = (5.0 * 2_f64.powi(i32::try_from(nth - 1).unwrap())).min(60.0);
        prop_assert!((0.8 * expected - 1e-6..=1.2 * expected + 1e-6).contains(&lasts), "{lasts}");
    }

    #[test]
    fn never_more_than_half_are_refused_and_in_the_end_all_come_back(
        nodes in 1_usize..9,
        steps in proptest::collection::vec((0_usize..8, 0_u64..8_000, 1_u32..8, any::<bool>()), 1..120)
    ) {
        let mut cluster = Cluster::of(nodes);
        for (node, millis, calls, works) in steps {
            cluster.wait(Duration::from_millis(millis));
            for _ in 0..calls {
                if let Some(call) = cluster.call(node % nodes) {
                    let says = if works { Says::Works } else { Says::Fails };
                    cluster.end(node % nodes, call, says);
                }
            }
            let refused = (0..nodes).filter(|&node| {
                matches!(cluster.records[node].standing(), Standing::Out { .. })
                    && cluster.call(node).is_none()
            });
            prop_assert!(refused.count() * 2 <= nodes);
        }
        cluster.wait(seconds(61));
        for node in 0..nodes {
            cluster.says(node, Says::Works);
        }
        prop_assert_eq!(cluster.ward.out.load(Ordering::Relaxed), 0);
        prop_assert_eq!(cluster.refused(), 0);
    }
}
