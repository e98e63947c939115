//! Every bug that is there on purpose is found within a few seeds, by the check that is to find it,
//! and the same system without it passes.

use std::path::Path;

use nitro_sim::Systems;
use nitro_sim::builtin::{self, broken};
use nitro_sim::check::Verdict;
use nitro_sim::engine::NAMES as ENGINES;
use nitro_sim::plan::Plan;
use nitro_sim::run::{Pool, Summary, Twice};
use nitro_sim::scenario::Scenario;

/// The seeds that the right form is run with; exploration runs it with many more.
const RIGHT: [u64; 2] = [1, 2];

/// How many seeds it may take from the one that is known to find it: more than one, because what a
/// seed means changes with how plans are drawn.
const SEEDS_MAX: usize = 50;

fn plan(name: &str, seed: u64) -> Plan {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/broken/{name}.toml"));
    let text = std::fs::read_to_string(file).unwrap();
    let catalogue = Systems::new(builtin::systems()).catalogue();
    let scenario =
        Scenario::parse(name, &text, &catalogue).unwrap_or_else(|wrong| panic!("{wrong}"));
    Plan::new(&scenario, seed).unwrap()
}

fn run(plan: Plan) -> Summary {
    let systems = Systems::made_by(builtin::systems);
    let pool = Pool::new(&systems, ENGINES[0], 1);
    pool.one(plan, Twice::No).unwrap()
}

/// Whether a seed finds the bug, and by that check.
fn finds(name: &str, check: &str, seed: u64) -> bool {
    let Verdict::Fail(reasons) = run(plan(name, seed)).verdict else {
        return false;
    };
    let is_by_check = reasons.iter().any(|reason| reason.check.starts_with(check));
    assert!(is_by_check, "{name}, seed {seed}: {reasons:?}");
    true
}

fn is_found_and_the_right_form_passes(name: &str, check: &str, known: u64) {
    let mut seeds = (known..).take(SEEDS_MAX);
    let found = seeds.find(|seed| finds(name, check, *seed));
    let seed = found.unwrap_or_else(|| panic!("{name}: no seed from {known} on finds it"));
    for seed in RIGHT.into_iter().chain([seed]) {
        let right = broken::mended(&plan(name, seed)).unwrap();
        let verdict = run(right).verdict;
        assert!(
            !matches!(verdict, Verdict::Fail(_)),
            "{name}, seed {seed}, mended: {verdict:?}"
        );
    }
}

macro_rules! bugs {
    ($($name:ident, $check:literal, $seed:literal;)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                is_found_and_the_right_form_passes(stringify!($name), $check, $seed);
            }
        )*
    };
}

// The check that finds each, and a seed that does.
bugs! {
    cache_filled_late, "linearizable", 6;
    calls_retried_in_a_storm, "converged", 1;
    chief_by_wall_clock, "fenced", 2;
    connections_kept, "leaked", 2;
    counter_add_retried, "linearizable", 1;
    counter_update_lost, "linearizable", 2;
    directory_cached, "converged", 2;
    duty_write_skew, "linearizable", 2;
    gate_wakeup_lost, "max_failed", 9;
    jobs_acked_before_handling, "delivered", 7;
    jobs_taken_twice, "delivered once", 1;
    leader_deposed_reads, "linearizable", 11;
    payment_key_forgotten, "linearizable", 1;
    permits_not_returned, "converged", 1;
    quorum_of_one, "linearizable", 3;
    quorum_reads_once, "linearizable", 4;
    quota_applied_twice, "agreed", 3;
    registration_forgotten, "converged", 3;
    replica_applies_as_it_comes, "agreed", 2;
    replica_read_behind, "monotonic reads", 3;
    snapshot_loses_tail, "linearizable", 36;
    stream_deadline_on_head, "answered", 4;
    subscriptions_left, "leaked", 1;
    swap_timeout_is_no, "linearizable", 2;
    tickets_reused, "unique", 6;
    transfer_in_two_commits, "linearizable", 6;
    transfer_not_resumed, "agreed", 5;
    view_misses_changes, "agreed", 1;
    votes_forgotten, "one leader per term", 2;
    wire_reused_after_half_close, "converged", 1;
    wire_reused_after_timeout, "linearizable", 1;
}

#[test]
fn no_bug_is_left_out() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/broken");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(NAMES.contains(&&*name), "{name} is not run by any test");
    }
}
