//! What the style guide asks for and a test can see: floors, lengths, names, and documents that
//! speak of what is there. No file is exempt.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use nitro_sim::plan::Plan;
use nitro_sim::scenario::Scenario;
use nitro_sim::{Systems, builtin};

/// Code lines of a file, at most.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, at most.
const FUNCTION_LINES_MAX: usize = 70;

/// The modules of each crate, lowest floor first; a module imports from lower floors only.
const FLOORS: [(&str, &[&[&str]]); 2] = [
    (
        "nitro",
        &[
            &[
                "assertion",
                "buggify",
                "error",
                "held",
                "latest",
                "name",
                "time",
            ],
            &["address", "metadata", "service"],
            &["operation"],
            &["port"],
            &["host"],
            &["codec", "layer", "transport"],
            &["broker", "registry", "rpc", "selector", "store", "sync"],
            &[
                "cache", "client", "durable", "events", "http", "mdns", "remote", "server",
            ],
            &["app"],
        ],
    ),
    (
        "nitro-sim",
        &[
            &["draw", "fault", "operation"],
            &["latency", "trace"],
            &["record", "scenario"],
            &["network", "system"],
            &["machine", "plan"],
            &["engine"],
            &["check"],
            &["run"],
            &["explore", "replay", "report", "shrink"],
            &["builtin", "command"],
            &["main"],
        ],
    ),
];

const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "nitro",
    "nitro-sim",
    "scenarios",
    "target",
    "tests",
];

const MODULES_BANNED: [&str; 6] = ["mod", "util", "utils", "common", "helpers", "types"];
const SUFFIXES_BANNED: [&str; 5] = ["Manager", "Helper", "Impl", "Data", "Base"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a directory, with their text.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(below)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let places = ["nitro/src", "nitro-sim/src", "tests", "benches"];
    places.iter().flat_map(|place| sources(place)).collect()
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The top-level module that a file belongs to.
fn module(path: &Path, crate_name: &str) -> String {
    let below = path
        .strip_prefix(root().join(crate_name).join("src"))
        .unwrap();
    let first = below.components().next().unwrap().as_os_str();
    first.to_string_lossy().trim_end_matches(".rs").to_owned()
}

/// The top-level modules of its own crate that a text names, with the line.
fn imports(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let code = text.lines().enumerate();
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.flat_map(|(number, line)| {
        let named = line.match_indices("crate::").filter(move |(at, _)| {
            // `$crate::` is a macro's, `nitro_crate::` would be another's.
            !line[..*at].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before))
        });
        named.map(move |(at, _)| {
            let name = &line[at + "crate::".len()..];
            let end = name.find(|next: char| !next.is_alphanumeric() && next != '_');
            (number + 1, &name[..end.unwrap_or(name.len())])
        })
    })
}

#[test]
fn modules_import_from_lower_floors_only() {
    let mut problems = Vec::new();
    for (crate_name, floors) in FLOORS {
        let mut floor_of = BTreeMap::new();
        for (floor, modules) in floors.iter().enumerate() {
            floor_of.extend(modules.iter().map(|module| ((*module).to_owned(), floor)));
        }
        for (path, text) in sources(&format!("{crate_name}/src")) {
            let own = module(&path, crate_name);
            // Tests may look at whatever they test with.
            let is_test = path.components().any(|part| part.as_os_str() == "tests")
                || path.ends_with("tests.rs");
            if own == "lib" || is_test {
                continue;
            }
            let text = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let Some(own_floor) = floor_of.get(&own) else {
                problems.push(format!("{}: {own} has no floor", shown(&path)));
                continue;
            };
            for (line, other) in imports(text) {
                let floor = floor_of.get(other);
                if other != own && floor.is_some_and(|floor| floor >= own_floor) {
                    problems.push(format!("{}:{line}: {own} imports {other}", shown(&path)));
                }
            }
        }
    }
    none(problems);
}

#[test]
fn the_map_of_each_crate_names_every_module_on_one_floor_in_order() {
    let mut problems = Vec::new();
    for (crate_name, floors) in FLOORS {
        let text = fs::read_to_string(root().join(crate_name).join("src/lib.rs")).unwrap();
        let row = |line: &str| Some(line.strip_prefix("//! | ")?.split('|').nth(1)?.to_owned());
        let rows: Vec<String> = text.lines().filter_map(row).collect();
        // The map has the highest floor first, and more than one of these on some.
        let mut last = rows.len();
        for module in floors.iter().copied().flatten() {
            let named = format!("`{module}`");
            let on: Vec<usize> = (0..rows.len())
                .filter(|floor| rows[*floor].contains(&named))
                .collect();
            match on[..] {
                [floor] if floor <= last => last = floor,
                [_] => problems.push(format!("{crate_name}: {module} is lower than it says")),
                _ => problems.push(format!("{crate_name}: {module} is on {} floors", on.len())),
            }
        }
    }
    none(problems);
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut problems = Vec::new();
    for (path, text) in all_sources() {
        let lines = text.lines().filter(|line| is_code(line)).count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} code lines", shown(&path)));
        }
        if !text.starts_with("//!") {
            problems.push(format!("{}: does not open with //!", shown(&path)));
        }
    }
    none(problems);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut problems = Vec::new();
    for (path, text) in all_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let is_function =
                code.contains("fn ") && code.ends_with('{') || code.starts_with("fn ");
            if !is_function || code.starts_with("//") {
                continue;
            }
            let end = format!("{}}}", &line[..line.len() - code.len()]);
            let length = lines[start..].iter().position(|line| *line == end);
            if length.is_some_and(|length| length + 1 > FUNCTION_LINES_MAX) {
                let length = length.unwrap_or(0) + 1;
                problems.push(format!("{}:{}: {length} lines", shown(&path), start + 1));
            }
        }
    }
    none(problems);
}

#[test]
fn names_say_what_things_are() {
    let mut problems = Vec::new();
    for (path, text) in all_sources() {
        let name = path.file_stem().unwrap().to_string_lossy();
        if MODULES_BANNED.contains(&&*name) {
            problems.push(format!("{}: a name that says nothing", shown(&path)));
        }
        for (number, line) in text.lines().enumerate() {
            let declared = ["struct ", "enum ", "trait "].iter().find_map(|keyword| {
                let after = line.trim_start().trim_start_matches("pub ");
                after
                    .strip_prefix("(crate) ")
                    .unwrap_or(after)
                    .strip_prefix(keyword)
            });
            let Some(declared) = declared else { continue };
            let end = declared.find(|next: char| !next.is_alphanumeric());
            let declared = &declared[..end.unwrap_or(declared.len())];
            if SUFFIXES_BANNED
                .iter()
                .any(|suffix| declared.ends_with(suffix))
            {
                problems.push(format!("{}:{}: {declared}", shown(&path), number + 1));
            }
        }
    }
    none(problems);
}

#[test]
fn choices_between_futures_are_biased_and_no_test_is_switched_off() {
    let mut problems = Vec::new();
    for (path, text) in all_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let is_select = line.contains("select!") && line.trim_end().ends_with('{');
            let next = lines.get(number + 1).map_or("", |next| next.trim());
            if is_select && is_code(line) && next != "biased;" {
                problems.push(format!("{}:{}: not biased", shown(&path), number + 1));
            }
            if line.trim_start().starts_with(concat!("#[", "ignore")) {
                problems.push(format!("{}:{}: switched off", shown(&path), number + 1));
            }
        }
    }
    none(problems);
}

#[test]
fn only_the_real_host_touches_the_outside() {
    let outside = [
        "std::fs::",
        "std::net::Tcp",
        "std::net::Udp",
        "tokio::net::",
        "tokio::fs::",
    ];
    let mut problems = Vec::new();
    for (path, text) in sources("nitro/src") {
        if shown(&path) == "nitro/src/host/tokio.rs" {
            continue;
        }
        let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in before_tests
            .lines()
            .enumerate()
            .filter(|(_, line)| is_code(line))
        {
            if outside.iter().any(|name| line.contains(name)) {
                problems.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    none(problems);
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    let mut problems = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !TOP_LEVEL.contains(&&*name) {
            problems.push(format!("{name} does not belong at the top"));
        }
    }
    none(problems);
}

/// The TOML files of a directory, with their text.
fn toml_files(directory: &str) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(root().join(directory)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|kind| kind == "toml"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    paths.map(read).collect()
}

#[test]
fn every_scenario_parses() {
    let systems = Systems::new(builtin::systems()).catalogue();
    let mut files = toml_files("scenarios");
    files.extend(toml_files("scenarios/broken"));
    for (path, text) in &files {
        let parsed = Scenario::parse(&shown(path), text, &systems);
        let scenario = parsed.unwrap_or_else(|problems| panic!("{problems}"));
        let name = path.file_stem().unwrap().to_string_lossy();
        assert_eq!(scenario.name, name, "a scenario is named as its file");
    }
    assert!(files.len() >= 6, "{} scenarios", files.len());
}

#[test]
fn what_was_found_is_a_plan_that_says_what_it_must_show_and_why_it_is_kept() {
    for (path, text) in toml_files("scenarios/found") {
        let plan =
            Plan::from_text(&text).unwrap_or_else(|error| panic!("{}: {error}", shown(&path)));
        assert!(
            plan.expected.is_some(),
            "{} must show nothing",
            shown(&path)
        );
        assert!(
            text.starts_with("# "),
            "{} does not say what it is",
            shown(&path)
        );
    }
}

#[test]
fn the_readme_shows_the_example_that_is_tested() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let example = fs::read_to_string(root().join("nitro-sim/examples/ping.rs")).unwrap();
    let shown = example
        .split_once("const PING")
        .map(|(_, rest)| format!("const PING{rest}"));
    let shown = shown.unwrap();
    assert!(
        readme.contains(shown.trim()),
        "README.md shows another ping.rs"
    );
    let lines = shown.split("fn main").next().unwrap_or_default().lines();
    assert!(lines.filter(|line| is_code(line)).count() < 25);
}

#[test]
fn what_the_readme_runs_is_there() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut problems = Vec::new();
    let commands = readme
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("cargo "));
    let verbs = [
        "run", "hunt", "explore", "merge", "replay", "report", "diff", "verify", "shrink", "plan",
        "check", "systems",
    ];
    for command in commands.clone() {
        let words: Vec<&str> = command.split_whitespace().collect();
        for word in words.iter().filter(|word| word.starts_with("scenarios/")) {
            if !root().join(word).exists() {
                problems.push(format!("{command}: {word} is not there"));
            }
        }
        let verb = words
            .iter()
            .position(|word| *word == "--")
            .map(|at| words[at + 1]);
        if words.contains(&"nitro-sim") && verb.is_some_and(|verb| !verbs.contains(&verb)) {
            problems.push(format!("{command}: no such verb"));
        }
        let bench = words.iter().position(|word| *word == "--bench");
        let bench = bench.map(|at| format!("benches/{}.rs", words[at + 1]));
        if let Some(bench) = bench.filter(|bench| !root().join(bench).exists()) {
            problems.push(format!("{command}: {bench} is not there"));
        }
    }
    assert!(commands.count() >= 2, "the README's two commands");
    none(problems);
}
