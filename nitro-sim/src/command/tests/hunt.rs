//! From a scenario to the picture of its first failure, in one line.

use super::*;
use crate::plan::Expected;

/// What was said, without how long it took of this machine's time.
fn without_wall(said: &str) -> String {
    let untimed = |line: &str| match line.split_once(" in ").or(line.split_once(", after ")) {
        Some((before, _)) if line.starts_with("shrunk") || line.starts_with("broken") => {
            before.to_owned()
        }
        _ => line.to_owned(),
    };
    let lines: Vec<String> = said.lines().map(untimed).collect();
    lines.join("\n")
}

#[test]
fn a_hunt_goes_from_a_scenario_to_the_picture_of_its_first_failure() {
    let desk = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    let said = desk.say("hunt @s.toml --seeds 3..9 --no-swarm --jobs 1 --into @found");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    insta::assert_snapshot!(without_wall(&said.out));
    assert!(said.out.lines().count() <= 50, "it fits on a screen");
    let read = |name: &str| std::fs::read_to_string(desk.path(name)).unwrap();
    assert!(read("found/brief.html").starts_with("<!doctype html>"));
    let plan = Plan::from_text(&read("found/brief.toml")).unwrap();
    let expected = Expected::Failure("max_failed".to_owned());
    assert_eq!(plan.expected, Some(expected));
    let replayed = desk.say("replay @found/brief.toml");
    assert_eq!(replayed.code, 0, "{}{}", replayed.out, replayed.err);
    let reported = desk.say("report @found/brief.jsonl");
    assert!(
        reported.out.contains("verdict     FAIL"),
        "{}",
        reported.out
    );
}

#[test]
fn a_hunt_that_finds_nothing_says_so_and_leaves_nothing() {
    let desk = Desk::new(SCENARIO);
    let said = desk.say("hunt @s.toml --seeds 2 --no-swarm --jobs 1 --into @found");
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    let kept = "kept        by 2 of 2 seeds, and broken by none, in ";
    assert!(said.out.contains(kept), "{}", said.out);
    let left = std::fs::read_dir(desk.path("found")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn what_a_hunt_finds_is_kept_by_name_and_no_other_is_written_over() {
    let desk = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    for (line, expected) in [
        (
            "hunt @s.toml --name Lost!",
            "expected a name of a-z, 0-9 and _",
        ),
        ("hunt @s.toml --force", "--name <NAME>"),
        (
            "hunt @s.toml --jobs 0",
            "expected how many runs go on at a time, 1 or more",
        ),
        ("hunt @none.toml", "none.toml cannot be read"),
        ("hunt @s.toml --into @s.toml", "s.toml cannot be made"),
        ("hunt @s.toml --engine none", "there is no engine \"none\""),
        (
            "hunt @s.toml --name locks_unfenced_pause",
            "is there already: --force",
        ),
    ] {
        let said = desk.say(line);
        assert_eq!(said.code, 2, "{line}: {}", said.out);
        assert!(said.err.contains(expected), "{line}: {}", said.err);
    }
}
