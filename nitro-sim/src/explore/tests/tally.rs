//! Every count of a sweep, and that those of parts add up.

use std::time::Duration;

use super::super::tally::Tally;
use super::*;
use crate::check::Verdict;
use crate::engine::Ended;
use crate::run::PointMet;
use crate::trace::Blame;

/// A run that is judged so, with what else there is to count.
fn run(verdict: Verdict) -> Summary {
    Summary {
        verdict,
        ended: Ended::Finished,
        digest: "d".to_owned(),
        events: 0,
        touches: Vec::new(),
        behaviours: Vec::new(),
        points: Vec::new(),
        is_compared: false,
        wall: Duration::ZERO,
    }
}

fn fails(check: &str, what: &str) -> Summary {
    run(Verdict::Fail(vec![Reason::new(check, what)]))
}

fn proves_nothing(checks: &[&str]) -> Summary {
    let reasons = checks.iter().map(|check| Reason::new(*check, "what"));
    run(Verdict::Inconclusive(reasons.collect()))
}

fn point(name: &str, holds: bool) -> PointMet {
    PointMet {
        module: "shop".to_owned(),
        name: name.to_owned(),
        holds,
    }
}

fn touched(faults: &[(&str, u64)]) -> Vec<(String, u64)> {
    let faults = faults.iter();
    faults
        .map(|(id, count)| ((*id).to_owned(), *count))
        .collect()
}

/// Runs of every kind, no two counts of which are equal.
fn runs() -> Vec<Result<Summary, String>> {
    let passes = |events| Summary {
        events,
        is_compared: true,
        touches: touched(&[("fault-1", 3), ("fault-2", 0)]),
        behaviours: vec![7, 8],
        points: vec![point("an order is sent twice", true)],
        ..run(Verdict::Pass)
    };
    let lost = Summary {
        events: 1_000,
        touches: touched(&[("fault-1", 1)]),
        behaviours: vec![8, 9],
        points: vec![point("an order is sent twice", false)],
        ..fails("lost", "at 4")
    };
    vec![
        Ok(passes(1)),
        Ok(lost),
        Ok(passes(10)),
        Ok(proves_nothing(&["touched", "answered", "touched"])),
        Err("nobody is up".to_owned()),
        Ok(fails("lost", "at 9")),
        Ok(proves_nothing(&["touched"])),
        Err("nobody is up".to_owned()),
        Ok(passes(100)),
        Ok(fails("stale", "at 2")),
        Ok(passes(0)),
        Ok(proves_nothing(&["touched"])),
        Err("too many operations".to_owned()),
        Ok(proves_nothing(&["touched"])),
        Ok(passes(0)),
        Ok(proves_nothing(&["answered"])),
        Ok(passes(0)),
        Ok(fails("stale", "at 3")),
    ]
}

fn tally_of(runs: impl IntoIterator<Item = (u64, Result<Summary, String>)>) -> Tally {
    let mut tally = Tally::default();
    for (seed, run) in runs {
        tally.add(seed, run);
    }
    tally
}

fn all() -> Tally {
    tally_of((0..).zip(runs()))
}

fn kinds(kinds: &BTreeMap<String, Kind>) -> Vec<(&str, u64, u64)> {
    let kinds = kinds.iter();
    kinds
        .map(|(name, kind)| (name.as_str(), kind.count, kind.first))
        .collect()
}

#[test]
fn every_run_is_counted_once_in_each_count_that_it_is_of() {
    let tally = all();
    assert_eq!(tally.done.to_string(), "0..18");
    let verdicts = [
        tally.passed,
        tally.failed,
        tally.inconclusive,
        tally.refused,
    ];
    assert_eq!(verdicts, [6, 4, 5, 3]);
    assert_eq!((tally.compared, tally.events), (6, 1_111));
    assert_eq!(kinds(&tally.failures), [("lost", 2, 1), ("stale", 2, 9)]);
    let doubts = [
        ("answered", 1, 15),
        ("answered; touched", 1, 3),
        ("touched", 3, 6),
    ];
    assert_eq!(kinds(&tally.doubts), doubts);
    let refusals = [("nobody is up", 2, 4), ("too many operations", 1, 12)];
    assert_eq!(kinds(&tally.refusals), refusals);
    let fault = |id: &str| {
        let count = tally.faults[id];
        (count.planned, count.touched)
    };
    assert_eq!((fault("fault-1"), fault("fault-2")), ((7, 7), (6, 0)));
    assert_eq!(tally.behaviours.count(), 3);
    assert_eq!(
        tally.behaviours.growth(&tally.done),
        [(2, 3), (4, 3), (9, 3), (18, 3)]
    );
    let asked = nitro::assertion::Point {
        kind: nitro::assertion::Kind::Sometimes,
        name: "an order is sent twice",
        module: "shop",
        file: "src/shop.rs",
        line: 7,
    };
    assert_eq!(tally.points.met(&asked), Met { held: 6, failed: 1 });
}

#[test]
fn a_kind_has_what_its_least_seed_said_whichever_came_first() {
    let mut tally = Tally::default();
    assert_eq!(
        tally.add(7, Ok(fails("lost", "at 7"))),
        Some("lost".to_owned())
    );
    assert_eq!(tally.add(3, Ok(fails("lost", "at 3"))), None);
    assert_eq!(tally.add(9, Ok(fails("lost", "at 9"))), None);
    assert_eq!(tally.add(1, Ok(run(Verdict::Pass))), None);
    let kind = tally.kind("lost").unwrap();
    assert_eq!((kind.count, kind.first), (3, 3));
    assert_eq!(kind.reasons, [Reason::new("lost", "at 3")]);
    assert_eq!(kind.digest, "d");
}

#[test]
fn a_kind_points_at_nothing_as_the_trace_is_not_kept() {
    let pointing = Reason {
        blames: vec![Blame::Operation(4)],
        ..Reason::new("lost", "at 4")
    };
    let mut tally = Tally::default();
    tally.add(0, Ok(run(Verdict::Fail(vec![pointing]))));
    let kind = tally.kind("lost").unwrap();
    assert_eq!(kind.reasons, [Reason::new("lost", "at 4")]);
}

#[test]
fn behaviours_and_points_past_the_bound_are_not_kept() {
    let many = Summary {
        behaviours: (0..100_001).collect(),
        points: (0..10_001)
            .map(|number| point(&number.to_string(), true))
            .collect(),
        ..run(Verdict::Pass)
    };
    let tally = tally_of([(0, Ok(many))]);
    assert_eq!(tally.behaviours.count(), 100_000);
    let points = serde_json::to_value(&tally.points).unwrap();
    assert_eq!(points.as_object().map(serde_json::Map::len), Some(10_000));
}

#[test]
fn the_tallies_of_any_two_parts_add_up_to_that_of_the_whole() {
    let whole = all();
    for parted in [1, 2, 3, 5, 7] {
        let is_of_one = |seed: u64| seed % (parted + 1) < parted;
        let part = |of_one| {
            let runs = (0..).zip(runs());
            tally_of(runs.filter(move |(seed, _)| is_of_one(*seed) == of_one))
        };
        let (mut one, mut other) = (part(true), part(false));
        let first = one.clone();
        one.merge(&other);
        assert_eq!(one, whole);
        other.merge(&first);
        assert_eq!(other, whole);
    }
}

#[test]
fn kinds_past_the_bound_count_as_one() {
    let mut tally = Tally::default();
    for seed in 0..1_010 {
        tally.add(seed, Ok(fails(&format!("check {seed}"), "what")));
    }
    // One that is known is still told apart.
    tally.add(1_010, Ok(fails("check 0", "what")));
    assert_eq!(tally.failures.len(), 1_001);
    let others = tally.kind("other failures").unwrap();
    assert_eq!((others.count, others.first), (10, 1_000));
    assert_eq!(tally.kind("check 0").unwrap().count, 2);
    assert_eq!(tally.failed, 1_011);
}
