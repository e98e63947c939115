//! From the text of a file to a [`Scenario`], or to all that is wrong with it.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::bounds::{DURATION_S_MAX, NODES_MAX};
use super::problem::{Collector, list, nearest};
use super::section::{Bounds, Section, describe, integer_of, number_of};
use super::{
    Catalogue, Checks, Choice, Known, Problems, Range, Scenario, Schedule, Yields, node_names,
};
use super::{clashes, faults, measures, network, workloads};

/// The nodes of a scenario, by role and by name.
pub(super) struct Cluster {
    pub(super) roles: Vec<(String, u32)>,
    pub(super) names: Vec<String>,
}

impl Cluster {
    /// The nodes that a name stands for: a node's own, or all of a role.
    pub(super) fn resolve(&self, name: &str) -> Option<Vec<String>> {
        if self.names.iter().any(|node| node == name) {
            return Some(vec![name.to_owned()]);
        }
        let role = self.roles.iter().find(|(role, _)| role == name)?;
        Some(node_names(std::slice::from_ref(role)))
    }

    /// All names that [`Cluster::resolve`] knows.
    pub(super) fn known(&self) -> Vec<&str> {
        let roles = self.roles.iter().map(|(role, _)| role.as_str());
        self.names.iter().map(String::as_str).chain(roles).collect()
    }

    pub(super) fn role_names(&self) -> Vec<&str> {
        self.roles.iter().map(|(role, _)| role.as_str()).collect()
    }
}

/// Seconds as whole milliseconds.
pub(super) fn ms(seconds: f64) -> u64 {
    (seconds * 1000.0).round() as u64
}

/// A range of seconds as one of whole milliseconds.
pub(super) fn range_ms(seconds: Range<f64>) -> Range<u64> {
    Range {
        min: ms(seconds.min),
        max: ms(seconds.max),
    }
}

/// A range of milliseconds as `[least, most]` microseconds.
pub(super) fn range_us(milliseconds: Range<f64>) -> [u64; 2] {
    [ms(milliseconds.min), ms(milliseconds.max)]
}

pub(super) fn scenario(
    file: &str,
    text: &str,
    catalogue: &Catalogue,
) -> Result<Scenario, Problems> {
    let problems = Collector::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        let wrong = error.message().to_owned();
        problems.add(
            at,
            String::new(),
            wrong,
            "a TOML file",
            "see https://toml.io",
        );
    }
    if !problems.is_empty() {
        return Err(problems.into_problems(file));
    }
    let span = document.span();
    let root = Section::new("", document.get_ref(), span, &problems);
    let scenario = whole(&root, catalogue);
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(problems.into_problems(file)),
    }
}

fn whole(root: &Section<'_>, catalogue: &Catalogue) -> Option<Scenario> {
    let name = root.text("name").map(str::to_owned);
    root.missing("name", "a name");
    let (system, known) = system(root, catalogue);
    let duration = root.number("duration_s", Bounds::new(0.001, DURATION_S_MAX, "seconds"));
    root.missing("duration_s", "how many virtual seconds it runs");
    let cluster = nodes(root, known);
    let network = network::read(root, &cluster);
    let schedule = schedule(root);
    let buggify = root.boolean("buggify").unwrap_or(false);
    let parameters = parameters(root);
    // Where the duration is wrong, the rest is read against the longest there is, so that its
    // own errors are reported too.
    let duration_ms = ms(duration.unwrap_or(DURATION_S_MAX));
    let workloads = workloads::read(root, duration_ms, &cluster, known);
    let faults = faults::read(root, duration_ms, &cluster);
    let mut checks = checks(root);
    checks.measures = measures::read(root, duration_ms, &cluster, &workloads);
    root.finish();
    clashes::find(root, &faults);
    duration?;
    Some(Scenario {
        name: name?,
        system: system?,
        duration_ms,
        nodes: cluster.roles,
        network,
        schedule,
        buggify,
        parameters,
        workloads,
        faults: faults.into_iter().map(|(_, fault)| fault).collect(),
        checks,
    })
}

fn system<'c>(root: &Section<'_>, catalogue: &'c Catalogue) -> (Option<String>, Option<&'c Known>) {
    let names: Vec<&str> = catalogue.keys().map(String::as_str).collect();
    let expected = format!("one of the registered systems: {}", list(&names));
    root.missing("system", &expected);
    let Some(name) = root.text("system") else {
        return (None, None);
    };
    let known = catalogue.get(name);
    if known.is_none() {
        let wrong = format!("\"{name}\" is not registered");
        root.problem("system", wrong, &expected, &nearest(name, names));
    }
    (Some(name.to_owned()), known)
}

fn nodes(root: &Section<'_>, known: Option<&Known>) -> Cluster {
    let mut roles = Vec::new();
    root.missing("nodes", "a table of roles and how many nodes have each");
    if let Some(section) = root.section("nodes") {
        let expected = format!("how many nodes have the role, from 1 to {NODES_MAX}");
        for (role, start, value) in section.entries() {
            let count = integer_of(value.get_ref());
            match count.and_then(|count| u32::try_from(count).ok()) {
                Some(count) if (1..=NODES_MAX).contains(&count) => {
                    roles.push((role.to_owned(), count));
                }
                _ => {
                    let wrong = format!("is {}", describe(value.get_ref()));
                    section.problem_at(start, role, wrong, &expected, "");
                    roles.push((role.to_owned(), 1));
                }
            }
            unknown_role(&section, role, start, known);
        }
        let total: u32 = roles.iter().map(|(_, count)| count).sum();
        if total == 0 || total > NODES_MAX {
            let expected = format!("from 1 to {NODES_MAX} nodes in all");
            section.problem("", format!("has {total} nodes"), &expected, "");
        }
    }
    let names = node_names(&roles);
    let mut sorted = names.clone();
    sorted.sort();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        let wrong = format!("two nodes are called {}", pair[0]);
        root.problem("nodes", wrong, "every node's name once", "rename a role");
    }
    Cluster { roles, names }
}

fn unknown_role(section: &Section<'_>, role: &str, start: usize, known: Option<&Known>) {
    let Some(known) = known else { return };
    if !known.roles.iter().any(|name| name == role) {
        let names: Vec<&str> = known.roles.iter().map(String::as_str).collect();
        let expected = format!("a role of the system: {}", list(&names));
        let todo = nearest(role, names);
        section.problem_at(start, role, "is not a role of the system", &expected, &todo);
    }
}

fn schedule(root: &Section<'_>) -> Schedule {
    let mut schedule = Schedule::default();
    let Some(section) = root.section("schedule") else {
        return schedule;
    };
    if let Some(name) = section.text("yields") {
        match Yields::by_name(name) {
            Some(yields) => schedule.yields = yields,
            None => {
                let wrong = format!("there is no \"{name}\"");
                let expected = format!("one of {}", list(&Yields::NAMES));
                let todo = nearest(name, Yields::NAMES);
                section.problem("yields", wrong, &expected, &todo);
            }
        }
    }
    section.finish();
    schedule
}

fn parameters(root: &Section<'_>) -> BTreeMap<String, Choice> {
    let mut parameters = BTreeMap::new();
    let Some(section) = root.section("parameters") else {
        return parameters;
    };
    for (name, start, value) in section.entries() {
        match choice(value.get_ref()) {
            Some(choice) => drop(parameters.insert(name.to_owned(), choice)),
            None => {
                let wrong = format!("is {}", describe(value.get_ref()));
                let expected = "a number, [min, max] with min at most max, a text, true or false";
                section.problem_at(start, name, wrong, expected, "");
            }
        }
    }
    parameters
}

fn choice(value: &DeValue<'_>) -> Option<Choice> {
    let (min, max) = match value {
        DeValue::String(text) => return Some(Choice::Text(text.to_string())),
        DeValue::Boolean(value) => return Some(Choice::Boolean(*value)),
        DeValue::Array(pair) if pair.len() == 2 => (pair[0].get_ref(), pair[1].get_ref()),
        single => (single, single),
    };
    if let (Some(min), Some(max)) = (integer_of(min), integer_of(max)) {
        return (min <= max).then_some(Choice::Integer(Range { min, max }));
    }
    let (min, max) = (number_of(min)?, number_of(max)?);
    let is_range = min <= max && min.is_finite() && max.is_finite();
    is_range.then_some(Choice::Number(Range { min, max }))
}

fn checks(root: &Section<'_>) -> Checks {
    let mut checks = Checks::default();
    let Some(section) = root.section("checks") else {
        return checks;
    };
    checks.replayed = section.boolean("replayed").unwrap_or(true);
    checks.answered = section.boolean("answered").unwrap_or(true);
    let seconds = Bounds::new(0.0, DURATION_S_MAX, "seconds");
    checks.converged_within_ms = section.number("converged_within_s", seconds).map(ms);
    checks.min_ok = section.number("min_ok", Bounds::SHARE);
    let count = Bounds::new(0.0, 1e9, "operations");
    checks.max_failed = section.number("max_failed", count).map(|n| n as u64);
    let count = Bounds::new(0.0, 1e9, "tasks");
    checks.tasks_max = section.number("tasks_max", count).map(|n| n as u64);
    let count = Bounds::new(0.0, 1e9, "subscriptions");
    let subscriptions_max = section.number("subscriptions_max", count);
    checks.subscriptions_max = subscriptions_max.map(|n| n as u64);
    section.finish();
    checks
}
