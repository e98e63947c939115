//! What leaves the simulation, and what never ends, ends the run with its name.

#![expect(
    clippy::disallowed_methods,
    reason = "what a node must not use is what is tested"
)]

use super::*;

/// How a run of this server ended.
fn ended(
    role: impl Fn(Node) -> BoxFuture<'static, nitro::Result<()>> + Send + Sync + 'static,
) -> Ended {
    let started = move |node: Node| {
        let living = role(node.clone());
        Box::pin(async move {
            node.host().clock.sleep(ms(250)).await;
            living.await
        }) as BoxFuture<'static, _>
    };
    outcome(&duo(2, ""), &lone(started)).ended
}

fn assert_escape(ended: Ended, what_it_did: &str, what_to_use: &str) {
    match &ended {
        Ended::Escaped { at_us, node, what } => {
            assert_eq!((*at_us, node.as_str()), (250_000, "server-1"), "{what}");
            assert!(what.contains(what_it_did), "{what}");
            assert!(what.contains(what_to_use), "{what}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_thread_is_an_escape() {
    let ended = ended(|_| {
        Box::pin(async {
            let thread = std::thread::spawn(|| 1);
            thread.join().unwrap();
            Ok(())
        })
    });
    assert_escape(ended, "thread::spawn", "host.tasks.spawn");
}

#[test]
fn blocking_work_on_a_thread_is_an_escape() {
    let ended = ended(|_| {
        Box::pin(async {
            tokio::task::spawn_blocking(|| 1).await.unwrap();
            Ok(())
        })
    });
    assert_escape(ended, "spawn_blocking", "host.tasks.block");
}

#[test]
fn real_sockets_are_escapes() {
    let tokios = ended(|_| {
        Box::pin(async {
            drop(tokio::net::TcpListener::bind("127.0.0.1:0").await);
            Ok(())
        })
    });
    assert_escape(tokios, "socket", "host.network");
    let stds = ended(|_| {
        Box::pin(async {
            drop(std::net::UdpSocket::bind("127.0.0.1:0"));
            Ok(())
        })
    });
    assert_escape(stds, "socket", "host.network");
}

#[test]
fn a_real_sleep_is_an_escape() {
    let ended = ended(|_| {
        Box::pin(async {
            std::thread::sleep(ms(1));
            Ok(())
        })
    });
    assert_escape(ended, "slept on this machine's clock", "host.clock.sleep");
}

#[test]
fn waiting_for_another_thread_is_an_escape() {
    let channel = ended(|_| {
        Box::pin(async {
            let (_sender, receiver) = std::sync::mpsc::channel::<()>();
            assert_eq!(receiver.recv(), Ok(()));
            Ok(())
        })
    });
    assert_escape(channel, "blocks its thread", "tokio::sync");
    let lock = ended(|_| {
        Box::pin(async {
            let lock = std::sync::Mutex::new(());
            let _one = lock.lock();
            let _other = lock.lock();
            Ok(())
        })
    });
    assert_escape(lock, "a lock it holds already", "tokio::sync");
}

/// Goes on without end once this much time has passed, and waits for nothing.
async fn spin_after(node: Node, at: Duration) {
    node.host().clock.sleep(at).await;
    loop {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_task_that_goes_on_while_time_stands_still_is_named_with_its_node_and_time() {
    for yields in ["off", "default", "aggressive"] {
        let system = lone(|node| {
            Box::pin(async move {
                let spinning = spin_after(node.clone(), ms(250));
                drop(node.host().tasks.spawn("spinner", Box::pin(spinning)));
                spin_after(node, ms(400)).await;
                Ok(())
            })
        });
        let text = duo(1, &format!("[schedule]\nyields = \"{yields}\"\n"));
        let trace = trace(&text, &system);
        let panics = |event: &&crate::trace::Event| match &event.kind {
            EventKind::TaskPanicked { task, message } => {
                task == "spinner" && message.contains("while virtual time stood still")
            }
            _ => false,
        };
        let task = trace.events().iter().find(panics).expect("it is stopped");
        let place = (task.at_us / 1000, task.node.as_deref());
        assert_eq!(place, (250, Some("server-1")));
        let stops = |event: &&crate::trace::Event| match &event.kind {
            EventKind::NodeStopped { error: Some(error) } => error.contains("without waiting"),
            _ => false,
        };
        let role = trace.events().iter().find(stops).expect("it is stopped");
        assert_eq!(role.at_us / 1000, 400);
    }
}

#[test]
fn a_task_of_tokios_that_goes_on_while_time_stands_still_ends_the_run() {
    let ended = ended(|_| {
        Box::pin(async {
            tokio::spawn(async {
                loop {
                    tokio::task::yield_now().await;
                }
            });
            std::future::pending().await
        })
    });
    assert_escape(ended, "tokio::spawn", "a timer");
}

#[test]
fn a_loop_that_never_awaits_is_killed_and_named() {
    let system = lone(|node| {
        Box::pin(async move {
            node.host().clock.sleep(ms(250)).await;
            loop {
                std::hint::spin_loop();
            }
        })
    });
    let short = Event {
        turn_wall_max: Duration::from_secs(1),
        ..Event::default()
    };
    let outcome = short.run(&plan(&duo(2, ""), 1, &system), &system);
    let expected = Ended::Stuck {
        at_us: 250_000,
        node: "server-1".to_owned(),
    };
    assert_eq!(outcome.ended, expected);
}

#[test]
fn a_process_that_dies_says_where_it_was() {
    let died = ended(|_| Box::pin(async { std::process::abort() }));
    let Ended::Died { at_us, node, how } = &died else {
        panic!("{died}");
    };
    assert_eq!((*at_us, node.as_str()), (250_000, "server-1"));
    assert_eq!(how, "signal 6");
    let left = ended(|_| Box::pin(async { std::process::exit(7) }));
    assert!(matches!(left, Ended::Died { .. }), "{left}");
}

#[test]
fn operations_that_wait_while_nothing_is_left_to_happen_are_a_deadlock() {
    let system = System::new("test")
        .role("server", |_| std::future::pending())
        .role("client", |node: Node| async move {
            // No time limit: the operation is called by hand and never answered.
            let name = "ask".to_owned();
            node.record(EventKind::Call {
                operation: 1,
                name,
                key: 0,
                value: 0,
            });
            std::future::pending().await
        });
    let ended = outcome(&duo(2, ""), &system).ended;
    let Ended::Deadlocked { waiting, .. } = &ended else {
        panic!("{ended}");
    };
    assert_eq!(waiting, &["client-1 for operation 1"]);
}

#[test]
fn what_an_escape_leaves_is_a_failed_run_with_its_trace() {
    let system = lone(|node| {
        Box::pin(async move {
            node.note("before", 1);
            std::thread::sleep(ms(1));
            node.note("after", 1);
            Ok(())
        })
    });
    let systems = Systems::new([system.clone()]);
    let plan = plan(&duo(1, ""), 1, &system);
    let run = crate::run::run(&plan, &systems, &Event::default()).unwrap();
    assert_eq!(run.verdict.word(), "fail");
    assert_eq!(noted(&run.outcome.trace, "before").len(), 1);
    assert_eq!(noted(&run.outcome.trace, "after").len(), 0);
}

#[test]
fn a_run_that_takes_too_long_of_this_machines_time_is_killed_where_it_is() {
    let system = lone(|node| {
        Box::pin(async move {
            loop {
                node.host().clock.sleep(ms(1)).await;
            }
        })
    });
    let short = Event {
        wall_max: Duration::from_secs(1),
        ..Event::default()
    };
    let outcome = short.run(&plan(&duo(86_400, ""), 1, &system), &system);
    let Ended::TooSlow { at_us } = outcome.ended else {
        panic!("{}", outcome.ended);
    };
    assert!((1..86_400_000_000).contains(&at_us), "{at_us}");
}

#[test]
fn nodes_that_need_more_files_than_may_be_open_are_refused_with_what_to_raise() {
    assert_eq!(super::super::fits(240, 1024), Ok(()));
    let said = super::super::fits(1000, 1024).unwrap_err();
    let expected = "1000 nodes need 4064 open files, and this process may open 1024";
    assert!(said.starts_with(expected), "{said}");
    assert!(said.contains("ulimit -Hn 4064"), "{said}");
    assert!(said.ends_with("at most 240 nodes"), "{said}");
    struct Small;
    impl Engine for Small {
        fn name(&self) -> &'static str {
            "small"
        }
        fn supports(&self, _: &crate::fault::Fault) -> Result<(), String> {
            Ok(())
        }
        fn supports_nodes(&self, count: usize) -> Result<(), String> {
            super::super::fits(count as u64, 65)
        }
        fn run(&self, _: &Plan, _: &System) -> Outcome {
            unreachable!("it refuses the plan")
        }
    }
    let system = lone(|_| Box::pin(std::future::pending()));
    let refused = crate::engine::accepts(&Small, &plan(&duo(1, ""), 1, &system)).unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("nodes: 2 nodes need 72 open files"), "{said}");
}

/// Servers, the first of which notes how many files its process has open.
fn counting() -> Vec<System> {
    let role = |node: Node| async move {
        if node.index() == 0 {
            let open = std::fs::read_dir("/proc/self/fd")?.count();
            node.note("open", open as u64);
        }
        std::future::pending().await
    };
    vec![System::new("test").role("server", role)]
}

#[test]
fn a_nodes_runtime_has_as_many_files_open_as_are_reckoned() {
    // A process of its own, because other tests open files in this one.
    let worker = crate::engine::Worker::start(counting).unwrap();
    let open = |nodes: u32| {
        let text = format!(
            "name = \"files\"\nsystem = \"test\"\nduration_s = 1\n[nodes]\nserver = {nodes}\n\
             [[fault]]\nkind = \"restart\"\nnode = \"server-1\"\nat_s = 0.5\n"
        );
        let system = counting().remove(0);
        let outcome = worker.run(&plan(&text, 1, &system), &system);
        noted(&outcome.trace, "open")[1].1.as_u64().unwrap()
    };
    let (few, many) = (open(2), open(22));
    assert_eq!(many - few, 20 * super::super::FILES_OF_A_NODE);
    assert!(few - 2 * super::super::FILES_OF_A_NODE <= super::super::FILES_BESIDES);
}
