//! The random steps that every model of a broker takes, and the group that they are made on.
//!
//! For each backend 200 sequences of 50 to 60 steps: 10,000 and more.

use nitro::broker::{Consumer, Slow, Verdict};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

/// How long a message is out before it comes again, in milliseconds.
pub(crate) const VISIBLE: u64 = 50;
/// How often a message is delivered at the most.
pub(crate) const ATTEMPTS: u32 = 3;
/// How many messages a group takes that are not done with.
pub(crate) const BACKLOG: usize = 5;

/// One thing that is done to a broker.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A message is published, with this key.
    Publish(Option<&'static str>),
    /// One that was published before is published again.
    PublishAgain(usize),
    /// So many are asked for.
    Pull(usize),
    /// One of the last that were delivered is answered.
    Settle(usize, Verdict),
    /// So many milliseconds pass.
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![Just(None), Just(Some("k")), Just(Some("l"))];
    let failed = |delay_ms| Verdict::Failed {
        reason: "r".to_owned(),
        delay_ms,
    };
    let returned = |delay_ms| Verdict::Returned { delay_ms };
    let verdict = prop_oneof![
        4 => Just(Verdict::Done),
        2 => (0_u64..60).prop_map(failed),
        1 => (0_u64..60).prop_map(returned),
    ];
    let short = 0_u64..40;
    // Long enough for a node to give back what nobody asks for.
    let long = 900_u64..3_000;
    prop_oneof![
        5 => key.prop_map(Step::Publish),
        1 => (0_usize..8).prop_map(Step::PublishAgain),
        4 => (1_usize..4).prop_map(Step::Pull),
        4 => (0_usize..6, verdict).prop_map(|(which, verdict)| Step::Settle(which, verdict)),
        2 => short.prop_map(Step::Advance),
        1 => long.prop_map(Step::Advance),
    ]
}

/// The group: what is delivered soon comes again, soon dies, and soon there is too much of it.
pub(crate) fn group() -> Consumer {
    Consumer {
        visibility_ms: VISIBLE,
        attempts_max: ATTEMPTS,
        backlog_max: BACKLOG,
        slow: Slow::Refuse,
        ..Consumer::group("t", "g")
    }
}

/// Takes the steps with a broker and its model, which say where they differ.
pub(crate) fn agree(take: impl Fn(Vec<Step>) -> Result<(), TestCaseError>) {
    let config = Config {
        cases: 200,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), 50..60);
    TestRunner::new(config).run(&steps, take).unwrap();
}
