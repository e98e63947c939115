//! A page holds what a run said as text, whatever it said.

use super::*;
use crate::engine::by_name;
use crate::plan::Plan;
use crate::run::{Run, run};
use crate::scenario::Scenario;
use crate::system::{Breach, Node, System, Systems};
use crate::trace::Blame;

/// What would be markup if it were not text.
const HOSTILE: &str =
    "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> {{script}}";

fn hostile() -> Run {
    let system = System::new("test")
        .role("server", |node: Node| async move {
            node.note("said", HOSTILE);
            tracing::warn!("{HOSTILE}");
            std::future::pending().await
        })
        .invariant("nothing <b>bold</b>", |_| {
            vec![Breach::of(HOSTILE, [Blame::Event(1)])]
        });
    let systems = Systems::new([system]);
    let text = "name = \"hostile\"\nsystem = \"test\"\nduration_s = 1\n[nodes]\nserver = 1\n";
    let scenario = Scenario::parse("test.toml", text, &systems.catalogue()).unwrap();
    let plan = Plan::new(&scenario, 1).unwrap();
    run(&plan, &systems, &*by_name("turmoil").unwrap()).unwrap()
}

fn page(run: &Run) -> String {
    let mut out = Vec::new();
    let report = Report::new(run, format!("replay {HOSTILE}"));
    write(run, &report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn what_a_run_says_is_never_markup() {
    let page = page(&hostile());
    assert!(!page.contains("alert(1)</script>") && !page.contains("<img") && !page.contains("<b>"));
    // Its own two script elements, and no comment.
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<!--"));
}

#[test]
fn the_data_of_a_page_is_what_the_run_said() {
    let page = page(&hostile());
    let (_, rest) = page.split_once("id=\"account\">").unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let run = &data["runs"][0];
    let strings = run["strings"].as_array().unwrap();
    assert!(strings.iter().any(|text| text == HOSTILE));
    assert_eq!(run["account"]["reasons"][0]["what"], HOSTILE);
    assert_eq!(run["account"]["command"], format!("replay {HOSTILE}"));
    assert_eq!(run["slice"]["blamed"], serde_json::json!([1]));
}

#[test]
fn a_page_reaches_for_nothing_outside_of_it() {
    let page = page(&hostile());
    for reach in [
        "http:", "https:", "src=", "url(", "@import", "fetch(", "import(",
    ] {
        let own = page.replace(&harmless(HOSTILE), "");
        assert!(!own.contains(reach), "{reach}");
    }
    assert!(page.contains("default-src 'none'"));
}
