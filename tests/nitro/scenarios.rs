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
    counter_crash,
    counter_partition,
    echo_crash,
    echo_hold_loss,
    echo_one_way,
    echo_partition,
    election_faults,
    greeter_crash,
    greeter_one_way,
    greeter_partition,
    greeter_registry_lost,
    greeter_rolling,
    greeter_slow_node,
    ledger_crash,
    locks_crash,
    locks_pause,
    queue_crash,
}

/// Scenarios of systems that are broken on purpose.
const BROKEN: &[&str] = &[
    "ledger_acks_before_sync_crash",
    "locks_unfenced_pause",
    "locks_wall_clock_lease_jump",
    "queue_acks_before_sync_crash",
];

/// A check that lets one of these pass under every seed has stopped biting.
#[test]
fn what_is_broken_on_purpose_is_found_within_a_few_seeds() {
    for name in BROKEN {
        let file = format!("scenarios/{name}.toml");
        let fails = |seed: u64| {
            let run = || nitro_sim::assert_passes(&file, seed, nitro_sim::builtin::systems);
            let report = std::panic::catch_unwind(run).err();
            let report = report.and_then(|report| report.downcast::<String>().ok());
            report.is_some_and(|report| report.contains("verdict     FAIL"))
        };
        assert!((1..=5).any(fails), "{name} passed under every seed");
    }
}

/// Bugs that a seed has found, each with seeds that find it.
#[test]
fn what_was_found_once_stays_mended() {
    for seed in 1..=4 {
        let file = "scenarios/found/counter_name_lost.toml";
        nitro_sim::assert_passes(file, seed, nitro_sim::builtin::systems);
    }
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
            let is_run = NAMES.contains(&&*name) || BROKEN.contains(&&*name);
            assert!(is_run, "{name} is not run by any test");
        }
    }
}
