//! Every scenario file passes.

use std::path::Path;

fn passes(name: &str) {
    let file = format!("scenarios/{name}.toml");
    nitro_sim::assert_passes(&file, 7, nitro_sim::builtin::systems);
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                passes(stringify!($name));
            }
        )*
    };
}

scenarios! {
    balance_ejection,
    balance_even,
    balance_overload,
    balance_panic,
    balance_retry_budget,
    balance_slow_node,
    counter_crash,
    counter_name_lost,
    counter_partition,
    echo_crash,
    echo_hold_loss,
    echo_one_way,
    echo_partition,
    election_faults,
    feed_crash,
    feed_disk,
    greeter_crash,
    greeter_one_way,
    greeter_partition,
    greeter_registry_lost,
    greeter_rolling,
    greeter_slow_node,
    leader_partition,
    ledger_crash,
    ledger_disk,
    locks_crash,
    locks_disk,
    locks_pause,
    queue_crash,
    queue_disk,
}

/// What is broken on purpose, and the invariant that finds it.
const BROKEN: [(&str, &str); 6] = [
    (
        "feed_acks_before_sync_crash",
        "every acknowledged message is handled",
    ),
    (
        "ledger_acks_before_sync_crash",
        "every answer fits one history",
    ),
    ("leader_unfenced_partition", "fenced"),
    ("locks_unfenced_pause", "linearizable counter"),
    (
        "locks_wall_clock_lease_jump",
        "no two are sure of one lease",
    ),
    (
        "queue_acks_before_sync_crash",
        "every acknowledged message is handled",
    ),
];

/// An invariant that lets one of these pass under every seed has stopped biting.
#[test]
fn what_is_broken_on_purpose_is_found_within_a_few_seeds() {
    for (name, invariant) in BROKEN {
        let file = format!("scenarios/{name}.toml");
        let is_found = |seed: u64| {
            let run = || nitro_sim::assert_passes(&file, seed, nitro_sim::builtin::systems);
            let report = std::panic::catch_unwind(run).err();
            let report = report.and_then(|report| report.downcast::<String>().ok());
            let has = |words: &str| report.as_ref().is_some_and(|text| text.contains(words));
            has("verdict     FAIL") && has(invariant)
        };
        assert!((1..=10).any(is_found), "{name} is not found");
    }
}

/// Each plan shows the failure that its file says, or passes if that has been mended.
#[test]
fn what_was_found_once_shows_what_its_file_says() {
    nitro_sim::assert_kept("scenarios/found", nitro_sim::builtin::systems);
}

#[test]
fn no_scenario_is_left_out() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let is_broken = BROKEN.iter().any(|(broken, ..)| *broken == name);
            assert!(
                is_broken || NAMES.contains(&&*name),
                "{name} is not run by any test"
            );
        }
    }
}
