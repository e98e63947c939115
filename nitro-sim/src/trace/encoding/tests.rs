//! Every kind of event, there and back.

use serde_json::json;

use super::*;

fn outcome(outcome: OperationOutcome) -> EventKind {
    EventKind::Outcome {
        operation: 300,
        outcome,
    }
}

fn text() -> String {
    "a \"text\" with \u{fc} and \u{0}".to_owned()
}

fn name() -> Arc<str> {
    "server-1".into()
}

/// Events of every kind that streams and messages have.
fn of_streams() -> Vec<EventKind> {
    let message = |outcome| EventKind::Message {
        from: name(),
        to: "client-1".into(),
        bytes: u64::MAX,
        outcome,
    };
    let mut kinds: Vec<EventKind> = MESSAGE_OUTCOMES.map(message).into();
    kinds.extend([
        EventKind::Received { message: 70_000 },
        EventKind::Connect { to: name() },
        EventKind::Connected { to: name() },
        EventKind::ConnectFailed {
            to: name(),
            error: text(),
        },
        EventKind::Accepted { from: name() },
        EventKind::Broken {
            peer: name(),
            error: text(),
        },
    ]);
    kinds
}

/// Events of every kind that operations have.
fn of_operations() -> Vec<EventKind> {
    let reply = json!({ "list": [1, -2, 0.1, null, true], "text": text() });
    let (kind, message) = (text(), text());
    let outcomes = [
        OperationOutcome::Ok { reply },
        OperationOutcome::Failed { kind, message },
        OperationOutcome::Unfinished,
        OperationOutcome::Crashed,
        OperationOutcome::Skipped,
    ];
    let mut kinds = vec![EventKind::Call {
        operation: 128,
        name: text(),
        key: 0,
        value: 127,
    }];
    kinds.extend(outcomes.map(outcome));
    kinds
}

/// Events of every other kind.
fn of_nodes() -> Vec<EventKind> {
    let mut kinds = vec![
        EventKind::NodeStarted {
            incarnation: u32::MAX,
        },
        EventKind::NodeCrashed,
        EventKind::TaskPanicked {
            task: text(),
            message: text(),
        },
        EventKind::Note {
            name: text(),
            value: json!([0.1, text()]),
        },
        EventKind::Trick { site: text() },
        EventKind::Leaked {
            task: text(),
            count: 1,
        },
        EventKind::Touched {
            fault: text(),
            count: 16_384,
        },
    ];
    kinds.extend(Kind::ALL.map(|says| EventKind::Point {
        says,
        holds: says == Kind::Sometimes,
        name: text(),
        module: text(),
        found: String::new(),
    }));
    kinds.extend(LEVELS.map(|level| EventKind::Log {
        level,
        target: text(),
        message: text(),
    }));
    kinds.extend([Phase::Begin, Phase::End].map(|phase| EventKind::Fault {
        fault: text(),
        phase,
        what: text(),
    }));
    let errors = [None, Some(String::new()), Some(text())];
    kinds.extend(errors.map(|error| EventKind::NodeStopped { error }));
    kinds
}

fn kinds() -> impl Iterator<Item = EventKind> {
    [of_streams(), of_operations(), of_nodes()]
        .into_iter()
        .flatten()
}

#[test]
fn every_event_comes_back_as_it_was_and_none_comes_of_less_than_its_bytes() {
    for kind in kinds() {
        for node in [None, Some("server-1")] {
            let mut bytes = Vec::new();
            encode(&mut bytes, 1_234_567, node, &kind);
            let (mut left, mut names) = (&*bytes, Names::new());
            let event = decode(&mut left, &mut names).unwrap();
            assert!(left.is_empty());
            assert_eq!(event.at_us, 1_234_567);
            assert_eq!(event.node.as_deref(), node);
            assert_eq!(event.kind, kind);
            for end in 0..bytes.len() {
                assert_eq!(decode(&mut &bytes[..end], &mut names), None, "{kind:?}");
            }
        }
    }
}

#[test]
fn a_name_is_kept_once_however_often_it_stands_in_a_trace() {
    let mut bytes = Vec::new();
    let to: Arc<str> = "server-1".into();
    for at_us in 0..3 {
        let to = Arc::clone(&to);
        encode(
            &mut bytes,
            at_us,
            Some("server-1"),
            &EventKind::Connect { to },
        );
    }
    let (mut left, mut names) = (&*bytes, Names::new());
    let events: Vec<Event> = std::iter::from_fn(|| decode(&mut left, &mut names)).collect();
    assert_eq!((events.len(), names.len()), (3, 1));
}
