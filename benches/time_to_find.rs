//! How soon a seed finds each bug that is there on purpose: how many seeds and seconds it takes,
//! to what the failing plan shrinks, that the right form passes, and the same search on turmoil.
//!
//! `cargo bench --bench time_to_find -- --sweeps 10 --right 1000 NAME...` chooses how many sweeps,
//! each from a first seed of its own, how many seeds the right form is run with, and which bugs.
//! `--turmoil 3` is how many sweeps there are on turmoil, where each run takes several times as long.
//! `--jobs 2` is how many runs there are at a time where their order does not matter. A seed draws
//! what it does in `explore`, or with `--plain` only what it does in `run`.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nitro::host::Clock;
use nitro::host::tokio::MachineClock;
use nitro::time::Instant;
use nitro_sim::builtin::{broken, systems};
use nitro_sim::engine::{NAMES, accepts, by_name};
use nitro_sim::plan::Plan;
use nitro_sim::run::{Heard, Pool, Summary, Twice};
use nitro_sim::scenario::Scenario;
use nitro_sim::shrink::{Judge, Limits, Shown, Size, shrink};
use nitro_sim::{Systems, check::Verdict};

/// How far the first seeds of two sweeps are apart, and so how many seeds a sweep has at most.
const SEEDS_MAX: u64 = 1_000;

/// The same on turmoil, which takes several times as long for a run.
const TURMOIL_SEEDS_MAX: u64 = 200;

/// How many runs shrinking may take.
const SHRINK_RUNS_MAX: u32 = 600;

/// The first seeds of the sweeps.
fn firsts() -> impl Iterator<Item = u64> {
    (0..).map(|sweep| 1 + sweep * SEEDS_MAX)
}

/// What is asked for on the command line.
struct Asked {
    sweeps: u64,
    right: u64,
    turmoil: u64,
    jobs: usize,
    is_plain: bool,
    names: Vec<String>,
}

impl Asked {
    fn new() -> Self {
        let mut asked = Self {
            sweeps: 10,
            right: 1_000,
            turmoil: 10,
            jobs: 2,
            is_plain: false,
            names: Vec::new(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut number = || {
                let number = words.next().and_then(|number| number.parse().ok());
                number.unwrap_or_else(|| panic!("{word} takes a number"))
            };
            match word.as_str() {
                "--sweeps" => asked.sweeps = number(),
                "--right" => asked.right = number(),
                "--turmoil" => asked.turmoil = number(),
                "--jobs" => asked.jobs = number() as usize,
                "--plain" => asked.is_plain = true,
                // Cargo's own.
                "--bench" => {}
                _ => asked.names.push(word),
            }
        }
        asked
    }
}

/// A bug, by the scenario that finds it.
struct Bug {
    name: String,
    scenario: Scenario,
    is_plain: bool,
}

impl Bug {
    fn read(path: &Path, systems: &Systems, is_plain: bool) -> Option<Self> {
        let text = std::fs::read_to_string(path).expect("it is listed");
        let file = path.display().to_string();
        let scenario = Scenario::parse(&file, &text, &systems.catalogue());
        let scenario = scenario.unwrap_or_else(|problems| panic!("{problems}"));
        let name = scenario.system.clone();
        let bug = Self {
            name,
            scenario,
            is_plain,
        };
        broken::mended(&bug.plan(1)).map(|_| bug)
    }

    /// A plan with all of its faults, by which an engine is asked whether it can.
    fn whole(&self) -> Plan {
        let plan = Plan::new(&self.scenario, 1);
        plan.unwrap_or_else(|error| panic!("{}, seed 1: {error}", self.name))
    }

    fn plan(&self, seed: u64) -> Plan {
        let plan = match self.is_plain {
            true => Plan::new(&self.scenario, seed),
            false => Plan::swarm(&self.scenario, seed),
        };
        plan.unwrap_or_else(|error| panic!("{}, seed {seed}: {error}", self.name))
    }
}

fn bugs(systems: &Systems, asked: &Asked) -> Vec<Bug> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = Vec::new();
    for directory in [top.join("broken"), top] {
        let entries = std::fs::read_dir(directory).expect("scenarios are there");
        files.extend(entries.map(|entry| entry.expect("it is listed").path()));
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    files.sort();
    let bugs = files.iter();
    let bugs = bugs.filter_map(|path| Bug::read(path, systems, asked.is_plain));
    bugs.filter(|bug| asked.names.is_empty() || asked.names.contains(&bug.name))
        .collect()
}

/// One sweep: how many seeds it took, and how long; none where none of them found the bug.
struct Sweep {
    seeds: Option<u64>,
    took: Duration,
    /// The checks that failed.
    checks: BTreeSet<String>,
}

/// Runs one seed after the other until one fails, by one of `checks` where there are any: a second
/// opinion on a bug is one by the same check.
fn sweep(bug: &Bug, pool: &Pool<'_>, seeds: Range<u64>, checks: &BTreeSet<String>) -> Sweep {
    let clock = MachineClock::new();
    let first = seeds.start;
    let failing = |seed: u64| {
        let judged = pool.one(bug.plan(seed), Twice::No);
        let summary = judged.unwrap_or_else(|error| panic!("{}: {error}", bug.name));
        let Verdict::Fail(reasons) = summary.verdict else {
            return None;
        };
        let failed: BTreeSet<String> = reasons.into_iter().map(|reason| reason.check).collect();
        let counts = checks.is_empty() || !failed.is_disjoint(checks);
        counts.then_some((seed, failed))
    };
    let found = seeds.clone().find_map(failing);
    let took = clock.now().since(Instant::ORIGIN);
    let (seeds, checks) = match found {
        Some((seed, checks)) => (Some(seed - first + 1), checks),
        None => (None, BTreeSet::new()),
    };
    Sweep {
        seeds,
        took,
        checks,
    }
}

/// So many sweeps, each made of its first seed.
fn sweeps(count: u64, sweep: impl Fn(u64) -> Sweep) -> Vec<Sweep> {
    firsts().take(count as usize).map(sweep).collect()
}

/// Of several sweeps the median and the most seeds, and the median of the seconds, in words.
fn in_words(sweeps: &[Sweep]) -> String {
    let seeds = sweeps.iter().map(|sweep| sweep.seeds.unwrap_or(u64::MAX));
    let mut seeds: Vec<u64> = seeds.collect();
    seeds.sort_unstable();
    let mut took: Vec<Duration> = sweeps.iter().map(|sweep| sweep.took).collect();
    took.sort_unstable();
    let word = |seeds: u64| match seeds {
        u64::MAX => "none".to_owned(),
        seeds => seeds.to_string(),
    };
    let (median, most) = (seeds[seeds.len() / 2], seeds[seeds.len() - 1]);
    let took = took[took.len() / 2].as_secs_f64();
    format!("{} ({}), {took:.2}", word(median), word(most))
}

/// Runs the plans that shrinking tries.
struct InPool<'a>(&'a Pool<'a>);

impl Judge for InPool<'_> {
    fn judge(&mut self, plan: &Plan) -> Result<Shown, String> {
        let summary = self.0.one(plan.clone(), Twice::No)?;
        Ok(Shown {
            verdict: summary.verdict.word().to_owned(),
            failure: summary.signature(),
            digest: summary.digest,
        })
    }
}

/// What the first failing plan shrinks to, in words: faults, nodes and operations, before and
/// after; with a question mark where the right form fails it alike.
fn shrunk(bug: &Bug, pool: &Pool<'_>, sweeps: &[Sweep]) -> [String; 3] {
    let found = sweeps
        .iter()
        .zip(firsts())
        .find_map(|(sweep, first)| Some(first + sweep.seeds? - 1));
    let Some(seed) = found else {
        return ["-"; 3].map(str::to_owned);
    };
    let clock = MachineClock::new();
    let now = || clock.now();
    let limits = Limits {
        runs_max: SHRINK_RUNS_MAX,
        ..Limits::default()
    };
    let shrunk = shrink(
        &bug.plan(seed),
        &mut InPool(pool),
        limits,
        &now,
        &mut |_| true,
    );
    let shrunk = shrunk.unwrap_or_else(|error| panic!("{}, seed {seed}: {error}", bug.name));
    let (before, after) = (Size::of(&shrunk.before), Size::of(&shrunk.after));
    // What the right form shows as well is not the bug.
    let mended = broken::mended(&shrunk.after).expect("it is one that has a bug");
    let judged = pool.one(mended, Twice::No);
    let judged = judged.unwrap_or_else(|error| panic!("{}: {error}", bug.name));
    let is_bug = judged.signature().as_ref() != Some(&shrunk.failure);
    let sizes = [
        (before.faults, after.faults),
        (before.nodes, after.nodes),
        (before.operations, after.operations),
    ];
    let mark = if is_bug { "" } else { "?" };
    sizes.map(|(before, after)| format!("{before} -> {after}{mark}"))
}

/// How the right form fares: passes, inconclusive runs, failures; and the first seed that fails.
fn right(bug: &Bug, pool: &Pool<'_>, seeds: u64) -> ([u64; 3], Option<u64>) {
    let (mut counts, mut first) = ([0; 3], None);
    let plan = |seed: &u64| {
        let plan = broken::mended(&bug.plan(*seed)).expect("it is one that has a bug");
        Ok((plan, Twice::No))
    };
    pool.run(1..=seeds, plan, |heard| {
        if let Heard::Run(seed, judged) = heard {
            let summary: Summary = judged.unwrap_or_else(|error| panic!("{}: {error}", bug.name));
            match summary.verdict {
                Verdict::Pass => counts[0] += 1,
                Verdict::Inconclusive(_) => counts[1] += 1,
                Verdict::Fail(_) => {
                    counts[2] += 1;
                    first = Some(first.map_or(seed, |first: u64| first.min(seed)));
                }
            }
        }
        ControlFlow::Continue(())
    });
    (counts, first)
}

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    let asked = Asked::new();
    let systems = Systems::made_by(systems);
    let [event, turmoil] = [NAMES[0], "turmoil"].map(|name| Pool::new(&systems, name, asked.jobs));
    let other = by_name("turmoil").expect("it is everywhere");
    println!(
        "seeds to find each bug, the median and the most of {} sweeps",
        asked.sweeps
    );
    println!(
        "{:28} {:>18} {:>7} {:>7} {:>12} {:>12} {:>18}",
        "bug", "seeds, seconds", "faults", "nodes", "operations", "right p/i/f", "on turmoil"
    );
    let mut failed = Vec::new();
    for bug in bugs(&systems, &asked) {
        let found = sweeps(asked.sweeps, |first| {
            sweep(&bug, &event, first..first + SEEDS_MAX, &BTreeSet::new())
        });
        let checks = found
            .iter()
            .flat_map(|sweep| sweep.checks.clone())
            .collect();
        let [faults, nodes, operations] = shrunk(&bug, &event, &found);
        let (counts, first) = right(&bug, &event, asked.right);
        failed.extend(first.map(|seed| format!("{} passes not: seed {seed}", bug.name)));
        let on_turmoil = match accepts(&*other, &bug.whole()) {
            Ok(()) if asked.turmoil == 0 => "not run".to_owned(),
            Ok(()) => in_words(&sweeps(asked.turmoil, |first| {
                sweep(&bug, &turmoil, first..first + TURMOIL_SEEDS_MAX, &checks)
            })),
            Err(_) => "refused".to_owned(),
        };
        let [pass, inconclusive, fail] = counts;
        println!(
            "{:28} {:>18} {faults:>7} {nodes:>7} {operations:>12} {:>12} {on_turmoil:>18}",
            bug.name,
            in_words(&found),
            format!("{pass}/{inconclusive}/{fail}"),
        );
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
