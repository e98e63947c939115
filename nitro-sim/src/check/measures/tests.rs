//! Each figure of a run in which it is known, and the verdicts on it.

use super::*;
use crate::check::Verdict;
use crate::check::tests::{call, ended, event, failed, failing, ok, plan, trace, verdict};
use crate::plan::PlannedNode;
use crate::scenario::Checks;
use crate::trace::{Event, EventKind};

/// Three servers beside the client, and one measure, from 0 to 10 s.
fn measuring(what: Quantity) -> Plan {
    let server = |number: u32| PlannedNode {
        name: format!("server-{number}"),
        role: "server".to_owned(),
    };
    let mut plan = plan();
    plan.faults.clear();
    plan.nodes.extend((1..=3).map(server));
    plan.checks = Checks::default();
    plan.checks.measures.push(Measure {
        id: "it".to_owned(),
        what,
        from_ms: 0,
        until_ms: 10_000,
        min: None,
        max: None,
    });
    plan
}

fn noted(at_ms: u64, node: &str) -> Event {
    let kind = EventKind::Note {
        name: "call".to_owned(),
        value: 0.into(),
    };
    Event {
        node: Some(node.into()),
        ..event(at_ms, kind)
    }
}

/// Two operations, of which the second fails; the servers note 4, 1 and 1.
fn events() -> Vec<Event> {
    let mut events = vec![call(1_000, 1)];
    for at_ms in [1_001, 1_002, 1_003, 1_004] {
        events.push(noted(at_ms, "server-1"));
    }
    events.push(noted(1_005, "server-2"));
    events.push(ended(1_010, 1, ok()));
    events.push(call(8_000, 2));
    events.push(noted(8_001, "server-3"));
    events.push(ended(8_010, 2, failed()));
    events
}

fn figure_of(plan: &Plan) -> Option<f64> {
    let trace = trace(&events());
    measured(plan, &trace, &History::new(plan, &trace))[0].figure
}

fn servers() -> Vec<String> {
    (1..=3).map(|number| format!("server-{number}")).collect()
}

fn note() -> String {
    "call".to_owned()
}

fn of_all() -> [Quantity; 6] {
    let (workload, node) = (None, "server-1".to_owned());
    [
        Quantity::Goodput {
            workload: workload.clone(),
        },
        Quantity::Ok { workload },
        Quantity::Count {
            note: note(),
            nodes: servers(),
        },
        Quantity::Share { note: note(), node },
        Quantity::Spread {
            note: note(),
            nodes: servers(),
        },
        Quantity::Repeats {
            note: note(),
            free_per_s: 0.2,
        },
    ]
}

#[test]
fn every_figure_is_what_it_says() {
    // One success in ten seconds; one of two; six notes; four where the mean is two, twice; and of
    // the four that are more than one an operation two are free.
    let expected = [0.1, 0.5, 6.0, 2.0, 2.0, 1.0];
    let figures = of_all().map(|what| figure_of(&measuring(what)).unwrap());
    assert_eq!(figures, expected);
}

#[test]
fn only_the_stretch_counts() {
    let mut figures = Vec::new();
    for what in of_all() {
        let mut plan = measuring(what);
        plan.checks.measures[0].from_ms = 1_004;
        plan.checks.measures[0].until_ms = 8_002;
        figures.push(figure_of(&plan));
    }
    // Notes at 1.004, 1.005 and 8.001 s, of one operation, which failed later.
    let goodput = 1.0 / 6.998;
    let repeats = 3.0 - 1.0 - 0.2 * 6.998;
    let expected = [goodput, 0.0, 3.0, 1.0, 1.0, repeats].map(Some);
    for (figure, expected) in figures.iter().zip(expected) {
        let apart = (figure.unwrap() - expected.unwrap()).abs();
        assert!(apart < 1e-9, "{figures:?}");
    }
}

#[test]
fn a_figure_out_of_bounds_fails_by_its_name_and_one_of_nothing_is_in_doubt() {
    let mut plan = measuring(Quantity::Ok { workload: None });
    for (min, max, is_within) in [
        (Some(0.5), Some(0.5), true),
        (Some(0.51), None, false),
        (None, Some(0.49), false),
    ] {
        plan.checks.measures[0].min = min;
        plan.checks.measures[0].max = max;
        let expected: &[&str] = if is_within { &[] } else { &["it"] };
        assert_eq!(failing(&plan, &events()), expected);
    }
    plan.checks.measures[0].from_ms = 9_000;
    let doubt = verdict(&plan, &events());
    assert_eq!(doubt.word(), "inconclusive");
    assert!(doubt.reasons().iter().all(|reason| reason.check == "it"));
    let Verdict::Inconclusive(reasons) = doubt else {
        panic!("{doubt:?}")
    };
    assert_eq!(reasons[0].what, "nothing to measure, most 0.49");
}

#[test]
fn a_workload_that_is_named_is_the_only_one_that_counts() {
    let of = |name: &str| Quantity::Ok {
        workload: Some(name.to_owned()),
    };
    let mut plan = measuring(of("workload-1"));
    plan.operations[1].workload = "workload-2".to_owned();
    assert_eq!(figure_of(&plan), Some(1.0));
    plan.checks.measures[0].what = of("workload-2");
    assert_eq!(figure_of(&plan), Some(0.0));
}
