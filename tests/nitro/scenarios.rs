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

/// What is broken on purpose, and the invariant that finds it, with which seed.
const BROKEN: [(&str, u64, &str); 4] = [
    (
        "ledger_acks_before_sync_crash",
        7,
        "every answer fits one history",
    ),
    ("locks_unfenced_pause", 7, "no addition is lost"),
    (
        "locks_wall_clock_lease_jump",
        7,
        "no two are sure of one lease",
    ),
    (
        "queue_acks_before_sync_crash",
        2,
        "every acknowledged message is handled",
    ),
];

#[test]
fn what_is_broken_on_purpose_is_found() {
    for (name, seed, invariant) in BROKEN {
        let file = format!("scenarios/{name}.toml");
        let run = || nitro_sim::assert_passes(&file, seed, nitro_sim::builtin::systems);
        let failed = std::panic::catch_unwind(run).expect_err(name);
        let report = failed.downcast_ref::<String>().expect("a report in words");
        assert!(report.contains("verdict     FAIL"), "{report}");
        assert!(report.contains(invariant), "{report}");
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
            let is_broken = BROKEN.iter().any(|(broken, ..)| *broken == name);
            assert!(
                is_broken || NAMES.contains(&&*name),
                "{name} is not run by any test"
            );
        }
    }
}
