//! Plans: what a seed decides, what moves what, and what a file says of itself.

use proptest::prelude::*;

use super::*;
use crate::fault::{Fault, Phase};
use crate::scenario::{Catalogue, Known};

const TEXT: &str = r#"
name = "x"
system = "echo"
duration_s = 20
[nodes]
server = 3
client = 2
[parameters]
size = [1, 1000]
[[workload]]
role = "client"
operation = "echo"
every_ms = [10, 90]
timeout_ms = 100
keys = 5
[[workload]]
role = "server"
operation = "echo"
every_ms = 200
timeout_ms = 100
[[fault]]
kind = "partition"
groups = [["server-1"], ["client"]]
at_s = [1, 4]
for_s = [1, 3]
[[fault]]
kind = "loss"
between = [["server"], ["client"]]
loss = [0.1, 0.9]
at_s = [1, 9]
probability = 0.5
[[fault]]
kind = "crash"
nodes = "any server"
at_s = [2, 9]
restart_after_s = [1, 5]
[[fault]]
kind = "crash"
nodes = "any server"
at_s = [2, 9]
[[fault]]
kind = "crash"
node = "server-3"
at_s = [8, 12]
restart_after_s = 2
[[measure]]
what = "share"
of = "server-2"
note = "call"
max = 0.25
[[measure]]
what = "goodput"
workload = "workload-1"
from_s = 5
min = 10
max = 20
"#;

fn scenario(text: &str) -> Scenario {
    let known = Known {
        roles: vec!["client".to_owned(), "server".to_owned()],
        operations: vec!["echo".to_owned()],
    };
    let catalogue = Catalogue::from([("echo".to_owned(), known)]);
    Scenario::parse("x.toml", text, &catalogue).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(seed: u64) -> Option<Plan> {
    match Plan::new(&scenario(TEXT), seed) {
        Ok(plan) => Some(plan),
        Err(PlanError::NobodyUp { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #[test]
    fn a_plan_is_decided_ordered_and_within_its_ranges(seed: u64) {
        let Some(plan) = plan(seed) else { return Ok(()) };
        prop_assert_eq!(Some(plan.clone()), self::plan(seed));
        prop_assert!(plan.faults.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        prop_assert!(plan.operations.windows(2).all(|pair| pair[0].at_ms <= pair[1].at_ms));
        for (index, operation) in plan.operations.iter().enumerate() {
            prop_assert_eq!(operation.id, index as u64 + 1);
            prop_assert!(operation.at_ms + operation.timeout_ms <= plan.duration_ms);
            prop_assert!(operation.key < 5);
        }
        let mut down: Vec<&str> = Vec::new();
        for planned in &plan.faults {
            prop_assert!(planned.at_ms <= plan.duration_ms);
            match (&planned.fault, planned.phase) {
                (Fault::Crash { node }, Phase::Begin) => {
                    prop_assert!(!down.contains(&node.as_str()), "{} crashes twice", node);
                    down.push(node);
                }
                (Fault::Crash { node }, Phase::End) => down.retain(|other| other != node),
                (Fault::Loss { loss, .. }, _) => prop_assert!((0.1..=0.9).contains(loss)),
                _ => {}
            }
        }
    }

    #[test]
    fn a_plan_comes_back_from_its_file(seed: u64) {
        let Some(plan) = plan(seed) else { return Ok(()) };
        let back = Plan::from_text(&plan.to_text());
        prop_assert_eq!(back.as_ref(), Ok(&plan));
        prop_assert_eq!(back.unwrap().digest(), plan.digest());
    }
}

#[test]
fn dropping_a_fault_or_a_workload_moves_no_other() {
    let whole = plan(7).unwrap();
    let without = |text: &str, from: &str, until: &str| {
        let start = text.find(from).unwrap();
        let end = start + text[start..].find(until).unwrap();
        [&text[..start], &text[end..]].concat()
    };
    let loss = "[[fault]]\nkind = \"loss\"";
    let text = without(TEXT, loss, "[[fault]]\nkind = \"crash\"");
    let text = without(&text, "[[workload]]\nrole = \"server\"", "[[fault]]");
    let less = Plan::new(&scenario(&text), 7).unwrap();
    assert_eq!(less.faults.len() + 1, whole.faults.len());
    let partition = |plan: &Plan| {
        let mut faults = plan.faults.iter();
        faults
            .find(|planned| planned.fault.kind() == "partition")
            .map(|planned| planned.at_ms)
    };
    let crash = |plan: &Plan| {
        let crashes = plan
            .faults
            .iter()
            .filter(|planned| planned.fault.kind() == "crash");
        crashes
            .map(|planned| (planned.at_ms, planned.fault.clone()))
            .collect::<Vec<_>>()
    };
    let of_clients = |plan: &Plan| {
        let of = plan
            .operations
            .iter()
            .filter(|operation| operation.node.starts_with("client"));
        of.map(|operation| (operation.at_ms, operation.key))
            .collect::<Vec<_>>()
    };
    assert_eq!(partition(&whole), partition(&less));
    assert_eq!(crash(&whole), crash(&less));
    assert_eq!(of_clients(&whole), of_clients(&less));
    assert_eq!(whole.parameters, less.parameters);
}

#[test]
fn a_fault_that_is_half_probable_is_in_half_of_the_plans() {
    let has_loss = |plan: &Plan| plan.faults.iter().any(|fault| fault.fault.kind() == "loss");
    let plans: Vec<Plan> = (0..400).filter_map(plan).collect();
    let with = plans.iter().filter(|plan| has_loss(plan)).count();
    assert!(
        (plans.len() * 2 / 5..plans.len() * 3 / 5).contains(&with),
        "{with}"
    );
}

#[test]
fn every_cut_every_edit_and_another_version_is_told_apart() {
    let mut plan = plan(7).unwrap();
    plan.operations.truncate(3);
    let text = plan.to_text();
    for end in 0..text.len() {
        assert!(Plan::from_text(&text[..end]).is_err(), "{end}");
    }
    let middle = Plan::from_text(&text[..text.len() / 2]);
    assert_eq!(middle, Err(PlanFileError::Truncated));
    let edited = text.replace("duration_ms = 20000", "duration_ms = 10000");
    assert_eq!(Plan::from_text(&edited), Err(PlanFileError::Edited));
    let newer = text.replace("format = 1", "format = 2");
    assert_eq!(
        Plan::from_text(&newer),
        Err(PlanFileError::Format("2".to_owned()))
    );
    assert_eq!(Plan::from_text("[nodes]\n"), Err(PlanFileError::NotAPlan));
    let (body, _) = edited.rsplit_once("[seal]").unwrap();
    let on_purpose = format!("{body}[seal]\ndigest = \"edited\"\n");
    assert_eq!(Plan::from_text(&on_purpose).unwrap().duration_ms, 10_000);
    let misspelt = on_purpose.replace("duration_ms", "durration_ms");
    assert!(matches!(
        Plan::from_text(&misspelt),
        Err(PlanFileError::Wrong(_))
    ));
}

#[test]
fn the_largest_seed_is_a_seed() {
    let plan = Plan::new(&scenario(TEXT), u64::MAX).unwrap();
    assert_eq!(Plan::from_text(&plan.to_text()).unwrap().seed, u64::MAX);
}

#[test]
fn too_many_operations_are_refused() {
    let text = TEXT.replace("duration_s = 20", "duration_s = 80000");
    let text = text.replace("every_ms = [10, 90]", "every_ms = 1");
    let error = Plan::new(&scenario(&text), 1).unwrap_err();
    assert_eq!(error, PlanError::Operations("workload-1".to_owned()));
}

#[test]
fn a_seed_draws_which_tricks_are_played_where_the_scenario_asks_for_them() {
    let scenario = scenario(TEXT);
    assert_eq!(Plan::new(&scenario, 7).unwrap().buggify, None);
    let scenario = Scenario {
        buggify: true,
        ..scenario
    };
    let known = nitro::buggify::sites().len();
    let mut active = 0;
    for seed in 0..400 {
        let plan = Plan::new(&scenario, seed).unwrap();
        let buggify = plan.buggify.clone().unwrap();
        active += buggify.sites.len();
        let last = plan.faults.iter().map(|fault| fault.at_ms).max();
        assert_eq!(Some(buggify.until_ms), last);
        if seed < 3 {
            assert_eq!(Plan::from_text(&plan.to_text()).unwrap(), plan);
        }
        assert_eq!(
            Plan::swarm(&scenario, seed).unwrap().buggify.unwrap().sites,
            buggify.sites
        );
    }
    let share = active as f64 / (400 * known) as f64;
    assert!((0.2..0.3).contains(&share), "{share} of {known}");
}

#[test]
fn a_network_with_links_and_odd_names_survives_its_file() {
    let text = TEXT.replace("[parameters]\n", "[network]\n\
        latency = { distribution = \"bimodal\", usual_ms = 1, rare_ms = [50, 90], rare_share = 0.1 }\n\
        bytes_per_second = 1000\n[[network.link]]\nbetween = [[\"server\"], [\"client\"]]\nloss = 0.5\n\
        [parameters]\n\"an odd name\" = \"x\"\n");
    let plan = Plan::new(&scenario(&text), 1).unwrap();
    assert_eq!(plan.network.links.len(), 1);
    assert_eq!(Plan::from_text(&plan.to_text()).unwrap(), plan);
}

const ENDS: &str = r#"
name = "x"
system = "echo"
duration_s = 20
[nodes]
server = 3
client = 2
[[fault]]
kind = "partition"
groups = [["server-1"], ["client"]]
at_s = 1
[[fault]]
kind = "heal"
at_s = 3
[[fault]]
kind = "crash"
node = "server-2"
at_s = 4
[[fault]]
kind = "crash"
node = "server-3"
at_s = 4
[[fault]]
kind = "restart"
node = "server-3"
at_s = [6, 7]
[[fault]]
kind = "slow"
node = "server-1"
factor = [2, 5]
at_s = 8
for_s = [1, 3]
"#;

#[test]
fn a_swarm_turns_faults_off_never_an_end_alone_and_leans_within_their_ranges() {
    let scenario = scenario(ENDS);
    let mut texts = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let plan = Plan::swarm(&scenario, seed).unwrap();
        let swarm = plan.swarm.clone().unwrap();
        texts.insert(swarm.to_string());
        let ids = plan.fault_ids();
        assert_eq!(ids.len() + swarm.off.len(), 6);
        assert!(swarm.off.iter().all(|id| !ids.contains(&id.as_str())));
        // Each ends what it is to end.
        assert_eq!(
            ids.contains(&"fault-1"),
            ids.contains(&"fault-2"),
            "{swarm}"
        );
        assert_eq!(
            ids.contains(&"fault-4"),
            ids.contains(&"fault-5"),
            "{swarm}"
        );
        let slow: Vec<&PlannedFault> = plan.faults.iter().filter(|f| f.id == "fault-6").collect();
        if let [begin, end] = slow[..] {
            let Fault::Slow { factor, .. } = begin.fault else {
                panic!("{begin:?}")
            };
            let lasts = end.at_ms - begin.at_ms;
            match (swarm.low.is_empty(), swarm.high.is_empty()) {
                (false, _) => assert_eq!((factor, lasts), (2.0, 1000)),
                (_, false) => assert_eq!((factor, lasts), (5.0, 3000)),
                _ => assert!((2.0..5.0).contains(&factor) && lasts < 3000),
            }
        }
        assert_eq!(Plan::from_text(&plan.to_text()).unwrap(), plan);
    }
    assert!(texts.len() > 50, "{}", texts.len());
    let plain = Plan::new(&scenario, 7).unwrap();
    assert_eq!(plain.swarm, None);
    assert!(!plain.to_text().contains("swarm"));
}
