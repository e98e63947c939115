//! The verbs that tell of traces, and what they say of traces that are none.

use serde_json::Value;

use super::{Desk, SCENARIO};
use crate::trace::Trace;

/// A desk with the traces of two seeds, which differ by how long their messages take.
fn desk() -> Desk {
    let network = "[network]\nlatency_ms = [1, 5]\n[[workload]]";
    let desk = Desk::new(&SCENARIO.replace("[[workload]]", network));
    for seed in [7, 8] {
        let ran = desk.say(&format!("run @s.toml --seed {seed} --trace @{seed}.jsonl"));
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }
    desk
}

fn read(desk: &Desk, name: &str) -> String {
    std::fs::read_to_string(desk.path(name)).unwrap()
}

fn trace(desk: &Desk) -> Trace {
    Trace::read(&mut read(desk, "7.jsonl").as_bytes()).unwrap()
}

#[test]
fn a_trace_alone_is_told_as_text_as_json_and_as_a_page() {
    let desk = desk();
    let digest = trace(&desk).digest();
    let text = desk.say("report @7.jsonl");
    assert_eq!(text.code, 0, "{}", text.err);
    assert!(text.out.contains("verdict     PASS") && text.out.contains(&digest));
    assert!(text.out.ends_with("again       sim replay 7.jsonl\n"));
    let json = desk.say("report @7.jsonl --json");
    let account: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(account["format"], 1);
    assert_eq!(account["digest"], Value::from(digest));
    let page = desk.say("report @7.jsonl --html @page.html");
    assert_eq!((page.code, page.out.as_str()), (0, ""));
    assert!(read(&desk, "page.html").starts_with("<!doctype html>"));
}

#[test]
fn a_run_and_a_replay_write_the_page_beside_their_report() {
    let desk = desk();
    let ran = desk.say("run @s.toml --seed 7 --html @run.html");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let replayed = desk.say("replay @7.jsonl --html @replay.html");
    assert!(
        replayed
            .out
            .contains("7.jsonl: the digest is the saved one")
    );
    for page in ["run.html", "replay.html"] {
        assert!(read(&desk, page).contains("\"scenario\":\"brief\""));
    }
}

#[test]
fn two_traces_are_told_apart_and_one_is_equal_to_itself() {
    let desk = desk();
    let same = desk.say("diff @7.jsonl @7.jsonl");
    assert!(
        same.out.starts_with("every event is equal\n"),
        "{}",
        same.out
    );
    let parted = desk.say("diff @7.jsonl @8.jsonl --html @diff.html");
    assert_eq!(parted.code, 0, "{}", parted.err);
    assert!(parted.out.contains("    one:   {\"at_us\""));
    assert!(parted.out.contains("* seed "));
    let page = read(&desk, "diff.html");
    assert!(page.contains("\"difference\":{\"words\":\"the first "));
}

#[test]
fn a_trace_that_is_cut_edited_or_of_another_version_is_refused_by_line() {
    let desk = desk();
    let whole = read(&desk, "7.jsonl");
    let lines = whole.lines().count();
    let cut: String = whole
        .lines()
        .take(lines - 1)
        .map(|line| format!("{line}\n"))
        .collect();
    let cases = [
        (cut, format!("line {}: the file ends here", lines - 1)),
        (
            whole.replacen("\"key\":0", "\"key\":1", 1),
            format!("line {lines}: the lines before this footer"),
        ),
        (
            whole.replacen("\"at_us\":", "\"at_us\":x", 1),
            "line 2: ".to_owned(),
        ),
        (
            whole.replacen("\"format\":2", "\"format\":1", 1),
            "line 1: is a trace of format 1".to_owned(),
        ),
        (SCENARIO.to_owned(), "line 1: is no header".to_owned()),
    ];
    for (text, problem) in cases {
        std::fs::write(desk.path("bad.jsonl"), text).unwrap();
        for line in ["report @bad.jsonl", "diff @7.jsonl @bad.jsonl"] {
            let said = desk.say(line);
            assert_eq!(said.code, 2);
            let expected = format!("bad.jsonl: {problem}");
            assert!(said.err.starts_with(&expected), "{}", said.err);
        }
    }
}

#[test]
fn a_trace_without_its_plan_takes_one_and_no_other() {
    let desk = desk();
    let whole = trace(&desk);
    let mut copy = Trace::new(whole.header().plan.clone(), whole.header().engine.clone());
    for event in whole.events() {
        copy.push(event.clone());
    }
    let mut bare = Vec::new();
    copy.write(&mut bare).unwrap();
    std::fs::write(desk.path("bare.jsonl"), bare).unwrap();
    let said = desk.say("report @bare.jsonl");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("give it with --plan"), "{}", said.err);
    for seed in [7, 8] {
        let plan = desk.say(&format!("plan @s.toml --seed {seed}")).out;
        std::fs::write(desk.path(&format!("{seed}.toml")), plan).unwrap();
    }
    let told = desk.say("report @bare.jsonl --plan @7.toml");
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.ends_with("again       sim replay 7.toml\n"));
    let other = desk.say("report @bare.jsonl --plan @8.toml");
    assert!(
        other.err.contains("is a trace of another plan"),
        "{}",
        other.err
    );
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_run() {
    let desk = desk();
    for line in [
        "run @s.toml --seed 7",
        "report @7.jsonl",
        "diff @7.jsonl @8.jsonl",
    ] {
        let said = desk.say(&format!("{line} --html @nowhere/page.html"));
        assert_eq!((said.code, said.out.as_str()), (2, ""));
        assert!(said.err.contains("page.html cannot be written"));
    }
}
