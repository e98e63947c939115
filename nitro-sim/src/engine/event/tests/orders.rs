//! Seeds explore the orders inside a node.

use std::collections::BTreeSet;

use super::*;

/// A server whose tasks note themselves twice, with a way round between.
fn crowd() -> System {
    lone(|node| {
        Box::pin(async move {
            let tasks = (0u64..4).map(|number| {
                let noting = node.clone();
                let work = async move {
                    noting.note("at", number);
                    tokio::task::yield_now().await;
                    noting.note("at", number);
                };
                node.host().tasks.spawn("note", Box::pin(work))
            });
            for task in tasks.collect::<Vec<_>>() {
                task.join().await;
            }
            std::future::pending().await
        })
    })
}

fn orders(yields: &str) -> BTreeSet<String> {
    let system = crowd();
    let text = duo(1, &format!("[schedule]\nyields = \"{yields}\"\n"));
    let order = |seed| {
        let run = Event::default().run(&plan(&text, seed, &system), &system);
        let noted = noted(&run.trace, "at").into_iter();
        noted.map(|(_, number)| number.to_string()).collect()
    };
    (1..=30).map(order).collect()
}

#[test]
fn without_yields_tasks_have_one_order_and_with_them_many() {
    let one = orders("off");
    assert_eq!(one.len(), 1, "{one:?}");
    let (some, many) = (orders("default"), orders("aggressive"));
    assert!(some.len() > 3, "{some:?}");
    assert!(many.len() > 20, "{many:?}");
}

#[test]
fn yields_stand_in_the_plan_and_wrong_ones_are_refused() {
    let text = duo(1, "[schedule]\nyields = \"aggressive\"\n");
    let saved = plan(&text, 1, &crowd()).to_text();
    assert!(
        saved.contains("[schedule]\nyields = \"aggressive\"\n"),
        "{saved}"
    );
    let silent = plan(&duo(1, ""), 1, &crowd()).to_text();
    assert!(silent.contains("yields = \"default\""), "{silent}");
    let wrong = duo(1, "[schedule]\nyields = \"agressive\"\n");
    let systems = Systems::new([crowd()]);
    let problems = Scenario::parse("test.toml", &wrong, &systems.catalogue()).unwrap_err();
    let said = problems.to_string();
    assert!(said.contains("one of off, default, aggressive"), "{said}");
    assert!(said.contains("did you mean \"aggressive\"?"), "{said}");
}
