//! From a failing seed to a small plan that is kept, replayed, and one day mended.

use super::*;
use crate::plan::Expected;

/// A partition in which operations fail, of which none may.
fn strict() -> Desk {
    Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"))
}

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap()
}

/// The plan of a file, changed and sealed anew, with the comments above it.
fn change(desk: &Desk, name: &str, change: impl FnOnce(&mut Plan)) {
    let text = read(desk, name);
    let mut plan = Plan::from_text(&text).unwrap();
    change(&mut plan);
    let text = format!("{}{}", crate::plan::comments(&text), plan.to_text());
    std::fs::write(desk.path(name), text).unwrap();
}

#[test]
fn a_failing_seed_is_shrunk_and_what_comes_of_it_shows_the_same_when_replayed() {
    let desk = strict();
    let said = desk.say("shrink @s.toml --seed 7 --save @small.toml");
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.out.contains("  faults                   1 -> 1\n"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("verified    3 runs, one trace"),
        "{}",
        said.out
    );
    assert!(
        said.out.ends_with("saved       small.toml\n"),
        "{}",
        said.out
    );
    assert!(said.err.contains("trying operations"), "{}", said.err);
    let text = read(&desk, "small.toml");
    assert!(text.starts_with("# Shrunk from brief, seed 7"), "{text}");
    let plan = Plan::from_text(&text).unwrap();
    assert_eq!(
        plan.expected,
        Some(Expected::Failure("max_failed".to_owned()))
    );
    assert_eq!(plan.operations.len(), 1);

    let again = desk.say("shrink @s.toml --seed 7 --save @small.toml");
    assert_eq!(again.code, 2);
    assert!(
        again.err.contains("small.toml is there already: --force"),
        "{}",
        again.err
    );
    desk.say("shrink @s.toml --seed 7 --save @small.toml --force");
    assert_eq!(
        read(&desk, "small.toml"),
        text,
        "one seed comes to one plan"
    );

    let replayed = desk.say("replay @small.toml");
    assert_eq!(replayed.code, 0, "{}{}", replayed.out, replayed.err);
    let first = "replay of small.toml: it shows what it must: max_failed\n";
    assert!(replayed.out.starts_with(first), "{}", replayed.out);

    let smaller = desk.say("shrink @small.toml");
    assert_eq!(smaller.code, 0, "{}", smaller.err);
    assert!(
        smaller.out.contains("  operations               1 -> 1\n"),
        "{}",
        smaller.out
    );
}

#[test]
fn a_failure_that_no_longer_shows_is_told_and_accepted_when_it_was_mended() {
    let desk = strict();
    desk.say("shrink @s.toml --seed 7 --save @small.toml");
    // As if the system had learnt to bear a partition.
    change(&desk, "small.toml", |plan| plan.checks.max_failed = Some(1));
    change(&desk, "small.toml", |plan| plan.faults.clear());
    let gone = desk.say("replay @small.toml");
    assert_eq!(gone.code, 1);
    assert!(
        gone.out
            .contains("it no longer shows the failure: it passes"),
        "{}",
        gone.out
    );
    assert!(gone.out.contains("--accept"), "{}", gone.out);
    let accepted = desk.say("replay @small.toml --accept");
    assert_eq!(accepted.code, 0, "{}", accepted.err);
    assert!(
        accepted
            .out
            .ends_with("it must pass: mended is max_failed\n"),
        "{}",
        accepted.out
    );
    assert!(read(&desk, "small.toml").starts_with("# Shrunk from brief, seed 7"));
    assert!(
        desk.say("replay @small.toml")
            .out
            .contains("it passes, as it must")
    );
    change(&desk, "small.toml", |plan| plan.checks.min_ok = Some(1.0));
    change(&desk, "small.toml", |plan| plan.operations.clear());
    let nothing = desk.say("replay @small.toml --accept");
    assert_eq!(nothing.code, 2);
    assert!(
        nothing.err.contains("small.toml: it proves nothing"),
        "{}",
        nothing.err
    );
}

#[test]
fn a_test_runs_all_that_is_kept_and_names_what_does_not_show_what_it_must() {
    let desk = strict();
    std::fs::remove_file(desk.path("s.toml")).unwrap();
    let scenario = Desk::new(&SCENARIO.replace("[checks]", "[checks]\nmax_failed = 0"));
    let (scenario, kept) = (scenario.path("s.toml"), desk.path("a.toml"));
    let shrunk = desk.say(&format!("shrink {scenario} --seed 7 --save {kept}"));
    assert_eq!(shrunk.code, 0, "{}", shrunk.err);
    let directory = desk.directory.path().display().to_string();
    crate::assert_kept(&directory, builtin::systems);

    std::fs::copy(&kept, desk.path("b.toml")).unwrap();
    change(&desk, "b.toml", |plan| plan.checks.max_failed = None);
    std::fs::write(
        desk.path("c.toml"),
        read(&desk, "a.toml").replace("= 7", "= 8"),
    )
    .unwrap();
    let all = std::panic::catch_unwind(|| crate::assert_kept(&directory, builtin::systems));
    let message = nitro::host::tasks::panic_message(&*all.unwrap_err());
    assert!(message.contains("2 of 3 kept plans"), "{message}");
    assert!(
        message.contains("b.toml: ") && message.contains("c.toml has been edited"),
        "{message}"
    );
}

#[test]
fn what_cannot_be_shrunk_or_kept_is_refused_with_the_reason() {
    let desk = Desk::new(SCENARIO);
    desk.say("run @s.toml --seed 7 --save @plan.toml");
    std::fs::write(desk.path("file"), "").unwrap();
    for (line, expected) in [
        (
            "shrink @s.toml --seed 7",
            "there is no failure to shrink: the run shows pass",
        ),
        ("shrink @plan.toml", "there is no failure to shrink"),
        ("shrink @s.toml", "s.toml is not a plan"),
        ("shrink @missing.toml", "missing.toml cannot be read"),
        (
            "shrink @plan.toml --engine none",
            "there is no engine \"none\"",
        ),
        (
            "shrink @plan.toml --save @file/x.toml",
            "file/x.toml cannot be written",
        ),
        (
            "shrink @plan.toml --name Odd/Name",
            "expected a name of a-z",
        ),
        (
            "replay @plan.toml --accept",
            "plan.toml is a plan that is kept for nothing",
        ),
    ] {
        let said = desk.say(line);
        assert_eq!(said.code, 2, "{line}");
        assert!(said.err.contains(expected), "{line}: {}", said.err);
    }
}

#[test]
fn a_plan_that_was_edited_into_nonsense_is_told_what_is_wrong_with_it() {
    let desk = Desk::new(SCENARIO);
    desk.say("run @s.toml --seed 7 --save @plan.toml");
    change(&desk, "plan.toml", |plan| {
        plan.nodes.retain(|node| node.role == "server");
        plan.faults.remove(0);
        plan.operations.truncate(2);
    });
    let said = desk.say("replay @plan.toml");
    assert_eq!(said.code, 2);
    for expected in [
        "plan.toml holds a plan that cannot be run:\n",
        "fault-1 ends at 1500 ms and has not begun",
        "is no node of it",
    ] {
        assert!(said.err.contains(expected), "{}", said.err);
    }
}
