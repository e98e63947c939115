//! The command line: its words, its exit codes, and what it says of wrong input.

mod hunt;
mod kept;
mod report;
mod rough;

use std::path::Path;

use super::*;
use crate::builtin;
use crate::system::Source;

const SCENARIO: &str = r#"
name = "brief"
system = "echo"
duration_s = 3
[nodes]
server = 1
client = 1
[[workload]]
role = "client"
operation = "echo"
every_ms = 50
timeout_ms = 200
[[fault]]
kind = "partition"
groups = [["server"], ["client"]]
at_s = 1
for_s = 0.5
[checks]
converged_within_s = 0.5
"#;

/// A directory with a scenario in it, and the command line beside it.
struct Desk {
    directory: tempfile::TempDir,
    systems: Source,
}

struct Said {
    code: u8,
    out: String,
    err: String,
}

impl Desk {
    fn new(scenario: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("s.toml"), scenario).unwrap();
        Self {
            directory,
            systems: builtin::systems,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Runs a command line; words that begin with `@` are files of the directory.
    fn say(&self, line: &str) -> Said {
        let systems = Systems::made_by(self.systems);
        let words = line.split(' ').map(|word| match word.strip_prefix('@') {
            Some(name) => self.path(name).into(),
            None => OsString::from(word),
        });
        let words = std::iter::once(OsString::from("sim")).chain(words);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = execute(words, &systems, "sim", &mut out, &mut err);
        let directory = self.directory.path().display().to_string();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(&format!("{directory}/"), "")
        };
        Said {
            code,
            out: text(out),
            err: text(err),
        }
    }
}

#[test]
fn a_run_is_saved_and_its_replay_has_the_same_digest() {
    let desk = Desk::new(SCENARIO);
    let ran = desk.say("run @s.toml --seed 7 --save @plan.toml --trace @trace.jsonl");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.ends_with("again       sim run s.toml --seed 7\n"),
        "{}",
        ran.out
    );
    let replayed = desk.say("replay @plan.toml --trace @again.jsonl");
    assert_eq!(replayed.code, 0, "{}", replayed.err);
    assert!(
        replayed
            .out
            .starts_with("replay of plan.toml: the digest is the saved one\n")
    );
    let read = |name: &str| std::fs::read(Path::new(&desk.path(name))).unwrap();
    assert_eq!(read("trace.jsonl"), read("again.jsonl"));
    let trace = crate::trace::Trace::read(&mut read("trace.jsonl").as_slice()).unwrap();
    assert!(ran.out.contains(&trace.digest()));
}

#[test]
fn a_replay_with_another_digest_fails_and_says_so() {
    let desk = Desk::new(SCENARIO);
    desk.say("run @s.toml --seed 7 --save @plan.toml");
    let text = std::fs::read_to_string(desk.path("plan.toml")).unwrap();
    let mut plan = Plan::from_text(&text).unwrap();
    plan.recorded.as_mut().unwrap().trace = "0".repeat(32);
    std::fs::write(desk.path("plan.toml"), plan.to_text()).unwrap();
    let replayed = desk.say("replay @plan.toml");
    assert_eq!(replayed.code, 1);
    assert!(replayed.out.contains("the digest is NOT the saved one"));
    assert!(
        replayed
            .out
            .contains("verdict     FAIL\n            same digest")
    );
}

#[test]
fn a_plan_is_printed_and_can_be_replayed_though_no_run_saved_it() {
    let desk = Desk::new(SCENARIO);
    let printed = desk.say("plan @s.toml --seed 9");
    assert_eq!(printed.code, 0);
    std::fs::write(desk.path("plan.toml"), &printed.out).unwrap();
    let replayed = desk.say("replay @plan.toml");
    assert_eq!(replayed.code, 0);
    assert!(replayed.out.contains("there is no digest to compare"));
}

#[test]
fn a_fault_that_touches_nothing_exits_two() {
    let late = SCENARIO
        .replace("at_s = 1\n", "at_s = 2.9\n")
        .replace("for_s = 0.5", "for_s = 0.1");
    let late = late.replace("timeout_ms = 200", "timeout_ms = 200\nuntil_s = 2");
    let desk = Desk::new(&late.replace("converged_within_s = 0.5", ""));
    let said = desk.say("run @s.toml --seed 7");
    assert_eq!(said.code, 2);
    assert!(said.out.contains("INCONCLUSIVE"), "{}", said.out);
    assert!(
        said.out
            .contains("fault-1 touched nothing (partition server-1 | client-1)")
    );
}

#[test]
fn seeds_files_and_engines_that_are_wrong_exit_two_with_the_reason() {
    let desk = Desk::new(SCENARIO);
    for (line, expected) in [
        ("run @s.toml --seed -1", "'-1'"),
        (
            "run @s.toml --seed seven",
            "expected a whole number from 0 to 18446744073709551615",
        ),
        (
            "run @s.toml --seed 18446744073709551616",
            "expected a whole number",
        ),
        ("run @s.toml", "--seed <SEED>"),
        ("run @missing.toml --seed 1", "missing.toml cannot be read"),
        (
            "run @s.toml --seed 1 --engine madsim",
            "this program was built without the engine madsim",
        ),
        (
            "verify @s.toml --seed 1 --engine madsim",
            "RUSTFLAGS=\"--cfg madsim\" cargo run --release --target-dir target/madsim -p nitro-sim",
        ),
        (
            "explore @s.toml --seeds 9 --engine madsim",
            "this program was built without the engine madsim",
        ),
        (
            "run @s.toml --seed 1 --engine real",
            "there is no engine \"real\"; there are: event, turmoil",
        ),
        (
            "run @s.toml --seed 1 --save @no/where",
            "no/where cannot be written",
        ),
        ("replay @s.toml", "s.toml is not a plan"),
        ("check @s.toml @missing.toml", "missing.toml cannot be read"),
        ("dance", "unrecognized subcommand"),
        ("explore @s.toml", "--seeds <SEEDS>"),
        ("explore @s.toml --seeds 0", "\"0\" holds no seed"),
        ("explore @s.toml --seeds 9..3", "\"9..3\" holds no seed"),
        (
            "explore @s.toml --seeds 9 --jobs 0",
            "expected how many runs go on at a time, 1 or more",
        ),
        (
            "explore @s.toml --seeds 9 --shard 2/2",
            "there is no part 2 of 2: they are 0/2 to 1/2",
        ),
        (
            "explore @s.toml --seeds 9 --json @no/where.json",
            "no/where.json cannot be written",
        ),
        (
            "explore @s.toml --seeds 9 --engine real",
            "there is no engine \"real\"",
        ),
        (
            "merge @s.toml",
            "s.toml does not hold the results of a sweep",
        ),
        ("merge @missing.json", "missing.json cannot be read"),
    ] {
        let said = desk.say(line);
        assert_eq!(said.code, 2, "{line}");
        assert!(said.err.contains(expected), "{line}: {}", said.err);
    }
}

#[test]
fn a_fault_the_engine_lacks_is_refused_before_the_run() {
    let slow =
        "[[fault]]\nkind = \"slow\"\nnode = \"server-1\"\nfactor = [2, 4]\nat_s = 1\n[checks]";
    let desk = Desk::new(&SCENARIO.replace("[checks]", slow));
    let mut lines = vec!["run @s.toml --seed 1 --save @plan.toml".to_owned()];
    // Whether or not the first seed draws that fault.
    for seeds in (0..16).map(|first| format!("{first}..{}", first + 2)) {
        lines.push(format!("explore @s.toml --seeds {seeds}"));
        lines.push(format!("hunt @s.toml --seeds {seeds} --into @found"));
    }
    for line in lines {
        let said = desk.say(&format!("{line} --engine turmoil"));
        assert_eq!(said.code, 2, "{line}: {}", said.out);
        let why = "fault-2: turmoil cannot slow a node down";
        assert!(said.err.contains(why), "{line}: {}", said.err);
    }
}

#[test]
fn help_and_lists_exit_zero() {
    let desk = Desk::new(SCENARIO);
    assert_eq!(desk.say("--help").code, 0);
    assert_eq!(desk.say("check @s.toml").out, "s.toml: right\n");
    let listed = desk.say("systems");
    assert!(
        listed.out.contains("echo\n  roles       client, server\n"),
        "{}",
        listed.out
    );
}

#[test]
fn a_test_runs_a_scenario_in_one_line_and_shows_the_report_when_it_fails() {
    let desk = Desk::new(SCENARIO);
    crate::assert_passes(&desk.path("s.toml"), 7, builtin::systems);
    let strict = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    let file = strict.path("s.toml");
    let failed = std::panic::catch_unwind(|| crate::assert_passes(&file, 7, builtin::systems));
    let message = nitro::host::tasks::panic_message(&*failed.unwrap_err());
    assert!(
        message.contains("verdict     FAIL\n            max_failed"),
        "{message}"
    );
}

#[test]
fn the_parts_of_a_sweep_merge_and_one_that_is_given_twice_counts_once() {
    let desk = Desk::new(SCENARIO);
    let whole = desk.say("explore @s.toml --seeds 4 --jobs 1 --json @whole.json");
    assert_eq!(whole.code, 0, "{}{}", whole.out, whole.err);
    for part in [0, 1] {
        let line = format!("explore @s.toml --seeds 4 --shard {part}/2 --json @part-{part}.json");
        assert_eq!(desk.say(&line).code, 0);
    }
    let merged = desk.say("merge @part-0.json @part-1.json @part-0.json --json @merged.json");
    let head = "part-0.json is part-0.json again: it counts once\n2 results of one sweep\n\n";
    assert_eq!(merged.out, format!("{head}{}", whole.out));
    let read = |name: &str| std::fs::read(desk.path(name)).unwrap();
    assert_eq!(read("merged.json"), read("whole.json"));
    let shared = desk.say("merge @whole.json @part-1.json");
    assert_eq!(shared.code, 2);
    assert!(
        shared
            .err
            .contains("part-1.json has the seeds 2..4, which another file has too"),
        "{}",
        shared.err
    );
    let half = desk.say("merge @part-0.json");
    assert_eq!(half.code, 0);
}

#[test]
fn a_failure_that_a_sweep_finds_is_the_one_that_its_command_repeats() {
    let desk = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    let found = desk.say("explore @s.toml --seeds 9 --stop-at 1");
    assert_eq!(found.code, 1, "{}", found.err);
    let again = found
        .out
        .lines()
        .find_map(|line| line.trim().strip_prefix("again   sim "));
    let again = again.unwrap().replace("s.toml", "@s.toml");
    assert!(again.ends_with(" --swarm"), "{again}");
    assert!(found.err.contains(" fails: max_failed"), "{}", found.err);
    let ran = desk.say(&again);
    assert_eq!(ran.code, 1);
    let said = ran
        .out
        .lines()
        .find(|line| line.contains("operations failed; most 0"))
        .unwrap();
    assert!(found.out.contains(said.trim()), "{said}: {}", found.out);
    let swarm = ran
        .out
        .lines()
        .find(|line| line.starts_with("  swarm     "));
    assert!(swarm.is_some(), "{}", ran.out);
    let plan = desk.say(&again.replace("run ", "plan "));
    assert!(plan.out.contains("\n[swarm]\n"), "{}", plan.out);
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_do_not_fit_on_the_disk_are_kept_elsewhere_and_shown() {
    let desk = Desk::new(SCENARIO);
    let said = desk.say("explore @s.toml --seeds 2 --json /dev/full");
    assert_eq!(said.code, 2);
    assert!(
        said.out.contains("\n  passed               2\n"),
        "{}",
        said.out
    );
    let (_, elsewhere) = said.err.rsplit_once("the results are in ").unwrap();
    assert!(
        said.err
            .contains("/dev/full cannot be written: No space left"),
        "{}",
        said.err
    );
    let text = std::fs::read_to_string(elsewhere.trim()).unwrap();
    std::fs::remove_file(elsewhere.trim()).unwrap();
    assert!(crate::explore::results::Results::from_text(&text).is_ok());
}

#[test]
fn a_test_runs_many_seeds_in_one_line_and_says_how_to_see_its_failure_again() {
    let desk = Desk::new(SCENARIO);
    crate::assert_passes_seeds(&desk.path("s.toml"), 4, builtin::systems);
    let strict = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    let file = strict.path("s.toml");
    let failed =
        std::panic::catch_unwind(|| crate::assert_passes_seeds(&file, 9, builtin::systems));
    let message = nitro::host::tasks::panic_message(&*failed.unwrap_err());
    let test = "command::tests::a_test_runs_many_seeds_in_one_line";
    let again = message
        .lines()
        .find(|line| line.starts_with("again "))
        .unwrap();
    assert!(
        again.contains("NITRO_SEEDS=") && again.contains(test),
        "{again}"
    );
    assert!(message.contains("fails: max_failed"), "{message}");
    for (title, head) in [
        ("report", "brief, seed "),
        ("plan", "format = "),
        ("trace", "{\"format\""),
    ] {
        let line = message
            .lines()
            .find(|line| line.starts_with(&format!("{title} ")));
        let path = line.unwrap()[12..].to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(head), "{path}: {text:.40}");
        std::fs::remove_file(path).unwrap();
    }
    let none = std::panic::catch_unwind(|| crate::assert_passes_seeds("none.toml", 9, Vec::new));
    let message = nitro::host::tasks::panic_message(&*none.unwrap_err());
    assert!(message.contains("none.toml cannot be read"), "{message}");
}

#[test]
fn a_run_that_is_refused_leaves_no_empty_file() {
    let desk = Desk::new(
        &SCENARIO
            .replace("kind = \"partition\"", "kind = \"pause\"")
            .replace(
                "groups = [[\"server\"], [\"client\"]]",
                "node = \"server-1\"",
            ),
    );
    let files = "--save @plan.toml --trace @trace.jsonl --html @page.html";
    let said = desk.say(&format!("run @s.toml --seed 7 --engine turmoil {files}"));
    assert_eq!(said.code, 2, "{}", said.out);
    assert!(said.err.contains("pause"), "{}", said.err);
    for name in ["plan.toml", "trace.jsonl", "page.html"] {
        assert!(!Path::new(&desk.path(name)).exists(), "{name}");
    }
    std::fs::write(desk.path("page.html"), "before").unwrap();
    desk.say(&format!("run @s.toml --seed 7 --engine turmoil {files}"));
    let kept = std::fs::read_to_string(desk.path("page.html")).unwrap();
    assert_eq!(kept, "before");
}
