//! What a run that goes wrong says of it in its report, for whoever has to mend it.

use nitro::address::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::report::Report;
use crate::run::run;

/// The report of a run on an engine.
fn report(engine: Event, text: &str, system: System) -> String {
    let plan = plan(text, 1, &system);
    let ran = run(&plan, &Systems::new([system]), &engine).unwrap();
    let mut said = Vec::new();
    let report = Report::new(&ran, "again".to_owned());
    report.write_text(&mut said).unwrap();
    // It is broken into lines as a terminal needs it.
    let said = String::from_utf8(said).unwrap();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The report of a run of this server, which begins after 250 ms.
fn of_server(
    engine: Event,
    role: impl Fn(Node) -> BoxFuture<'static, nitro::Result<()>> + Send + Sync + 'static,
) -> String {
    let later = move |node: Node| {
        let living = role(node.clone());
        Box::pin(async move {
            node.host().clock.sleep(ms(250)).await;
            living.await
        }) as BoxFuture<'static, _>
    };
    report(engine, &duo(1, ""), lone(later))
}

fn assert_says(said: &str, expected: &[&str]) {
    for expected in expected {
        assert!(said.contains(expected), "{expected}\n\n{said}");
    }
}

#[test]
fn a_panic_is_told_with_its_words_node_and_time() {
    let said = of_server(Event::default(), |node| {
        Box::pin(async move {
            let breaking = async { panic!("the task is in pieces") };
            drop(node.host().tasks.spawn("fragile", Box::pin(breaking)));
            node.host().clock.sleep(ms(10)).await;
            panic!("the role is in pieces")
        })
    });
    let expected = [
        "verdict FAIL",
        "task panicked server-1 at 0.250 s, task fragile: the task is in pieces",
        "node stopped server-1 at 0.260 s: panicked: the role is in pieces",
    ];
    assert_says(&said, &expected);
}

#[test]
fn a_spinning_task_is_told_with_its_name_and_what_to_wait_for() {
    let said = of_server(Event::default(), |node| {
        Box::pin(async move {
            let spinning = async {
                loop {
                    tokio::task::yield_now().await;
                }
            };
            drop(node.host().tasks.spawn("spinner", Box::pin(spinning)));
            std::future::pending().await
        })
    });
    let expected = "task panicked server-1 at 0.250 s, task spinner: polled 50001 times while \
                    virtual time stood still: it loops without waiting for a timer or a message";
    assert_says(&said, &[expected]);
}

#[test]
fn a_loop_without_an_await_is_told_with_its_node() {
    let short = Event {
        turn_wall_max: Duration::from_secs(1),
        ..Event::default()
    };
    let said = of_server(short, |_| {
        Box::pin(async {
            loop {
                std::hint::spin_loop();
            }
        })
    });
    let expected = "finished server-1 does not come back from its turn at 0.250 s: a task loops \
                    without awaiting";
    assert_says(&said, &["verdict FAIL", expected]);
}

#[test]
fn a_run_without_end_is_told_with_the_time_it_reached() {
    let short = Event {
        wall_max: Duration::from_secs(1),
        ..Event::default()
    };
    let system = lone(|node| {
        Box::pin(async move {
            loop {
                node.host().clock.sleep(ms(1)).await;
            }
        })
    });
    let said = report(short, &duo(86_400, ""), system);
    let expected = [
        "verdict INCONCLUSIVE",
        "finished the run reached ",
        "of this machine's time, the most it may take: shorten it or take fewer nodes",
    ];
    assert_says(&said, &expected);
}

#[test]
fn an_operation_that_does_not_end_in_time_is_told_with_its_node() {
    let system = System::new("test")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            node.workload(|_| std::future::pending()).await
        })
        .operation("ask");
    let asking = "[[workload]]\nrole = \"client\"\noperation = \"ask\"\nevery_ms = 500\n\
                  timeout_ms = 100\n";
    let said = report(Event::default(), &duo(3, asking), system);
    let expected = "answered operation 1 (ask by client-1 at ";
    assert_says(
        &said,
        &[
            "verdict FAIL",
            expected,
            "had not returned 100 ms after its call",
        ],
    );
}

#[test]
fn a_deadlock_is_told_with_who_waits() {
    let system = System::new("test")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            node.host().clock.sleep(ms(250)).await;
            node.record(EventKind::Call {
                operation: 1,
                name: "ask".to_owned(),
                key: 0,
                value: 0,
            });
            std::future::pending().await
        });
    let said = report(Event::default(), &duo(3, ""), system);
    let expected = "finished nothing is left to happen at 0.250 s, and these wait for ever: \
                    client-1 for operation 1";
    assert_says(&said, &["verdict FAIL", expected]);
}

#[test]
fn nodes_that_answer_one_another_while_time_stands_still_are_told() {
    const PORT: u16 = 7000;
    let system = System::new("test")
        .role("server", |node: Node| async move {
            let at = Address::tcp("0.0.0.0", PORT);
            let mut listener = node.host().network.listen(&at).await?;
            let (mut stream, _) = listener.accept().await?;
            loop {
                let byte = stream.read_u8().await?;
                stream.write_u8(byte).await?;
            }
        })
        .role("client", |node: Node| async move {
            node.host().clock.sleep(ms(250)).await;
            let to = Address::tcp("server-1", PORT);
            let mut stream = node.host().network.connect(&to).await?;
            loop {
                stream.write_u8(1).await?;
                stream.read_u8().await?;
            }
        });
    let text = duo(1, "").replace("latency_ms = 2", "latency_ms = 0");
    let said = report(Event::default(), &text, system);
    let expected = "they answer one another while virtual time stands still; give the network a \
                    latency, or wait for a timer";
    assert_says(
        &said,
        &[
            "verdict FAIL",
            "finished nodes took ",
            " turns at 0.250 s",
            expected,
        ],
    );
}

#[test]
fn a_run_that_records_too_much_is_told() {
    let system = lone(|node| {
        Box::pin(async move {
            loop {
                node.host().clock.sleep(ms(1)).await;
                for _ in 0..10_000 {
                    node.note("n", ());
                }
            }
        })
    });
    let ended = outcome(&duo(3, ""), &system).ended.to_string();
    let expected = "the run recorded 1000000 events by 0.10";
    assert_says(&ended, &[expected, "does something loop without waiting?"]);
}
