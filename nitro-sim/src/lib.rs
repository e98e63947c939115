//! Runs nitro services inside a seeded simulated cluster: faults, checks, replay, reports.
//!
//! A run is a pipeline of plain data: a scenario file and a seed make a [`plan`], an [`engine`]
//! makes a [`trace`] of it, a [`check`] makes a verdict of that, and a [`report`] tells of it.
//! What runs on the nodes is a [`System`]: roles over a simulated `Host`.
//!
//! ```no_run
//! use nitro_sim::{Node, System};
//!
//! fn main() -> std::process::ExitCode {
//!     nitro_sim::main(|| vec![System::new("idle").role("node", |_node: Node| async { Ok(()) })])
//! }
//! ```
//!
//! A module imports only from floors below its own:
//!
//! | floor | modules | |
//! |---|---|---|
//! | 7 | `main` | the command line of the built-in systems |
//! | 6 | [`command`], [`builtin`] | the command line; the systems that come with it |
//! | 5 | [`explore`], [`replay`], [`report`], [`shrink`] | what one does with runs |
//! | 4 | [`run`] | a plan, run and judged |
//! | 3 | [`engine`], then [`check`] | make a trace; judge it |
//! | 2 | [`plan`], [`machine`] | every choice made; a node's host |
//! | 1 | [`record`], [`scenario`], then [`network`], [`system`] | what they are made of |
//! | 0 | [`draw`], [`fault`], [`latency`], [`operation`], [`trace`] | plain data, and choices from a seed |
//!
//! Engines: `event` (Linux), `turmoil`, and `madsim` in a program that is built with `--cfg madsim`;
//! see [`engine`].
//!
//! A plan holds no randomness; a trace holds no wall-clock time, pointer or hash order.

pub mod builtin;
pub mod check;
pub mod command;
pub mod draw;
pub mod engine;
pub mod explore;
pub mod fault;
pub mod latency;
pub mod machine;
pub mod network;
pub mod operation;
pub mod plan;
pub mod record;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod system;
pub mod trace;

use std::process::ExitCode;

pub use system::{Breach, Node, Operation, System, Systems};
pub use trace::{Blame, Trace};

/// The whole command line over a program's own systems, made by a function: a run may have a
/// process of its own that calls it again. It is to be the first thing that the program does.
///
/// # Panics
///
/// When two systems have the same name.
pub fn main(systems: fn() -> Vec<System>) -> ExitCode {
    command::main(&Systems::made_by(systems))
}

/// Runs a scenario file with a seed, for a test: one line. `systems` makes the program's systems;
/// it is a function, because the run has a process of its own that calls it again.
///
/// A file that is not found where the test runs is looked for in the directories above.
///
/// # Panics
///
/// With the report, when the run does not pass or cannot be made.
pub fn assert_passes(file: &str, seed: u64, systems: fn() -> Vec<System>) {
    command::assert_passes(file, seed, &Systems::made_by(systems));
}

/// Runs a scenario file with many seeds, for a test: one line. Each seed also draws which faults
/// are on, and how hard, as in `explore`. `NITRO_SEEDS=200 cargo test` runs as many in place of
/// `seeds`, and `NITRO_SEEDS=17..18` runs seed 17.
///
/// A run that proves nothing is no failure, as long as another passes. The first failure ends it;
/// its report, plan and trace are saved in the target directory.
///
/// A file that is not found where the test runs is looked for in the directories above.
///
/// # Panics
///
/// With the report and the command that repeats it, when a run fails; when none passes; when the
/// file or the environment is wrong.
pub fn assert_passes_seeds(file: &str, seeds: u64, systems: fn() -> Vec<System>) {
    command::assert_passes_seeds(file, seeds, &Systems::made_by(systems));
}

/// Runs every plan that is kept in a directory because it once failed, for a test: each must show
/// the failure that its file says, or pass if that says it is mended. `shrink --name` keeps one.
///
/// A directory that is not found where the test runs is looked for in the directories above.
///
/// # Panics
///
/// With each plan that does not show what it must, and what to do.
pub fn assert_kept(directory: &str, systems: fn() -> Vec<System>) {
    command::assert_kept(directory, &Systems::made_by(systems));
}
