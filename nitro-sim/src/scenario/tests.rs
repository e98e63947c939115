//! Wrong files, with all that is said of them; and right ones.

use super::*;
use crate::fault::StaleAnswer;

fn catalogue() -> Catalogue {
    let known = Known {
        roles: vec!["client".to_owned(), "server".to_owned()],
        operations: vec!["echo".to_owned()],
    };
    Catalogue::from([("echo".to_owned(), known)])
}

fn parse(text: &str) -> Result<Scenario, Problems> {
    Scenario::parse("bad.toml", text, &catalogue())
}

fn problems(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const HEAD: &str = "name = \"x\"\nsystem = \"echo\"\nduration_s = 10\n\
                    [nodes]\nserver = 2\nclient = 1\n";

#[test]
fn everything_wrong_with_a_file_is_said_in_one_go() {
    let text = r#"name = "bad"
system = "ehco"
duration_s = 10
sped = 3

[nodes]
server = 0
client = 2

[network]
latency_ms = [9, 2]
loss = 1.5

[[workload]]
role = "clients"
operation = "echo"
every_ms = [20, 60]
from_s = 5
until_s = 4
timeout_ms = 100

[[fault]]
kind = "partitoin"
at_s = 1

[[fault]]
kind = "partition"
groups = [["server-1"], ["server-1", "client-1"]]
at_s = 12

[[fault]]
kind = "crash"
node = "servr-1"
at_s = 3
restart_after_s = -1

[checks]
min_ok = "half"
"#;
    insta::assert_snapshot!(problems(text));
}

#[test]
fn faults_that_contradict_one_another_are_told_by_name() {
    let fault = |kind: &str, rest: &str| format!("[[fault]]\nkind = \"{kind}\"\n{rest}\n");
    let text = [
        HEAD.to_owned(),
        fault(
            "crash",
            "node = \"server-1\"\nat_s = [1, 2]\nrestart_after_s = [1, 3]",
        ),
        fault("crash", "node = \"server-1\"\nat_s = 4"),
        fault("restart", "node = \"server-1\"\nat_s = 6"),
        fault("crash", "node = \"server-2\"\nat_s = 1\nname = \"first\""),
        fault("crash", "node = \"server-2\"\nat_s = 8"),
        fault(
            "hold",
            "between = [[\"server\"], [\"server-2\"]]\nat_s = 9\nfor_s = 5",
        ),
        fault("heal", "at_s = 1\nname = \"first\""),
    ];
    insta::assert_snapshot!(problems(&text.concat()));
}

#[test]
fn a_syntax_error_shows_its_line_and_column() {
    insta::assert_snapshot!(problems("name = \"x\"\nduration_s = = 3\n"));
}

#[test]
fn an_empty_file_lacks_what_every_scenario_has() {
    insta::assert_snapshot!(problems(""));
}

#[test]
fn absurd_numbers_are_bounded() {
    for (field, text) in [
        (
            "duration_s",
            HEAD.replace("duration_s = 10", "duration_s = 315360000"),
        ),
        (
            "duration_s",
            HEAD.replace("duration_s = 10", "duration_s = -1"),
        ),
        (
            "duration_s",
            HEAD.replace("duration_s = 10", "duration_s = nan"),
        ),
        ("nodes", HEAD.replace("server = 2", "server = 1000000")),
        (
            "latency_ms",
            format!("{HEAD}[network]\nlatency_ms = 1e12\n"),
        ),
        ("loss", format!("{HEAD}[network]\nloss = -0.1\n")),
    ] {
        let problems = parse(&text).unwrap_err();
        assert!(problems.list[0].field.contains(field), "{problems}");
    }
}

#[test]
fn a_range_may_be_a_number_and_a_role_stands_for_its_nodes() {
    let text = format!(
        "{HEAD}[parameters]\nsize = [1, 3]\nratio = 0.5\nname = \"a\"\nfast = true\n\
         [[fault]]\nkind = \"partition\"\ngroups = [[\"server\"], [\"client-1\"]]\nat_s = 1.5\n"
    );
    let scenario = parse(&text).unwrap();
    assert_eq!(
        scenario.faults[0].at_ms,
        Range {
            min: 1500,
            max: 1500
        }
    );
    let FaultKind::Decided(fault) = &scenario.faults[0].kind else {
        panic!("{:?}", scenario.faults);
    };
    assert_eq!(fault.to_string(), "partition server-1 server-2 | client-1");
    assert_eq!(scenario.node_names(), ["server-1", "server-2", "client-1"]);
    assert_eq!(
        scenario.parameters["size"],
        Choice::Integer(Range { min: 1, max: 3 })
    );
}

#[test]
fn the_example_in_the_documentation_is_right() {
    let documented = include_str!("../scenario.rs");
    let (_, rest) = documented.split_once("//! ```toml\n").unwrap();
    let (example, _) = rest.split_once("//! ```\n").unwrap();
    let text = example.replace("//! ", "").replace("//!", "");
    let known = Known {
        roles: vec!["client".to_owned(), "server".to_owned()],
        operations: vec!["hello".to_owned()],
    };
    let catalogue = Catalogue::from([("greeter".to_owned(), known)]);
    let scenario = Scenario::parse("example.toml", &text, &catalogue);
    let scenario = scenario.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((scenario.faults.len(), scenario.workloads.len()), (2, 1));
}

#[test]
fn a_network_has_the_distribution_and_the_links_it_is_given() {
    let of = |network: &str| parse(&format!("{HEAD}{network}")).unwrap().network;
    let uniform = of("[network]\nlatency_ms = [1, 5]\n").latency;
    let (min_us, max_us) = (1000, 5000);
    assert_eq!(uniform, Latency::Uniform { min_us, max_us });
    let network = of(
        "[network]\nlatency = { distribution = \"log_normal\", median_ms = 2, p99_ms = 20 }\n\
                      mtu_bytes = 9000\nreorder = 0.1\n[[network.link]]\n\
                      between = [[\"server\"], [\"client-1\"]]\nbytes_per_second = 1000\n",
    );
    let (median_us, p99_us) = (2000, 20_000);
    assert_eq!(network.latency, Latency::LogNormal { median_us, p99_us });
    assert_eq!((network.mtu_bytes, network.reorder), (Some(9000), 0.1));
    assert_eq!(network.links[0].between[0], ["server-1", "server-2"]);
    assert_eq!(network.links[0].bytes_per_second, Some(1000));
}

#[test]
fn a_network_that_cannot_be_is_told_by_field() {
    for (network, expected) in [
        (
            "latency = { distribution = \"log_norml\" }",
            "did you mean \"log_normal\"?",
        ),
        (
            "latency = { distribution = \"uniform\", min_ms = 5, max_ms = 1 }",
            "max_ms",
        ),
        (
            "latency = { distribution = \"exponential\", min_ms = 5 }",
            "mean_ms: is missing",
        ),
        (
            "latency = { distribution = \"constant\", ms = 5, us = 1 }",
            "us",
        ),
        (
            "latency_ms = 1\nlatency = { distribution = \"constant\", ms = 5 }",
            "remove one",
        ),
        (
            "[[network.link]]\nbetween = [[\"server\"]]",
            "does not have 2 groups",
        ),
        ("mtu_bytes = 3", "from 68"),
    ] {
        let problems = problems(&format!("{HEAD}[network]\n{network}\n"));
        assert!(problems.contains(expected), "{network}: {problems}");
    }
}

#[test]
fn faults_of_names_and_disks_are_read() {
    let kinds = |text: &str| {
        let scenario = parse(&format!("{HEAD}{text}")).unwrap();
        scenario.faults[0].kind.clone()
    };
    let stale = |answer: &str| {
        kinds(&format!(
            "[[fault]]\nkind = \"stale_name\"\nnode = \"server-1\"\nanswer = \"{answer}\"\nat_s = 1\nfor_s = 2\n"
        ))
    };
    let decided = |answer| {
        let node = "server-1".to_owned();
        FaultKind::Decided(crate::fault::Fault::StaleName { node, answer })
    };
    assert_eq!(stale("nothing"), decided(StaleAnswer::Nothing));
    assert_eq!(stale("old_address"), decided(StaleAnswer::OldAddress));
    let other = StaleAnswer::AddressOf("server-2".to_owned());
    assert_eq!(stale("server-2"), decided(other));
    let errors = kinds(
        "[[fault]]\nkind = \"disk_errors\"\nnodes = \"any server\"\nsyncs = [0.1, 0.5]\nat_s = 1\n",
    );
    let none = Range { min: 0.0, max: 0.0 };
    let syncs = Range { min: 0.1, max: 0.5 };
    let target = Target::AnyOf("server".to_owned());
    let what = NodeFault::DiskErrors([none, none, syncs]);
    assert_eq!(errors, FaultKind::OfNode { target, what });
    let nothing = "[[fault]]\nkind = \"disk_errors\"\nnode = \"server-1\"\nat_s = 1\n";
    let problems = problems(&format!("{HEAD}{nothing}"));
    assert!(problems.contains("does not say what fails"), "{problems}");
}

#[test]
fn what_is_wrong_with_a_measure_is_said() {
    let text = format!(
        "{HEAD}[[measure]]\nwhat = \"godput\"\nmax = 1\n\
         [[measure]]\nwhat = \"share\"\nof = \"server\"\nnote = \"call\"\nmax = 1\n\
         [[measure]]\nwhat = \"ok\"\nworkload = \"rush\"\nfrom_s = 4\nuntil_s = 3\n\
         [[measure]]\nwhat = \"spread\"\nof = \"sever\"\nmax = 1\nfree_per_s = 1\n"
    );
    insta::assert_snapshot!(problems(&text));
}

#[test]
fn a_measure_has_bounds_over_a_stretch() {
    let text = format!(
        "{HEAD}[[measure]]\nname = \"even\"\nwhat = \"spread\"\nof = \"server\"\n\
         note = \"call\"\nfrom_s = 2\nmax = 1.15\n"
    );
    let measures = parse(&text).unwrap().checks.measures;
    let expected = Measure {
        id: "even".to_owned(),
        what: Quantity::Spread {
            note: "call".to_owned(),
            nodes: vec!["server-1".to_owned(), "server-2".to_owned()],
        },
        from_ms: 2_000,
        until_ms: 10_000,
        min: None,
        max: Some(1.15),
    };
    assert_eq!(measures, [expected]);
}
