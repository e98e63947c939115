//! The command line over the systems that come with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    nitro_sim::main(nitro_sim::builtin::systems)
}
