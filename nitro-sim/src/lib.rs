//! Runs nitro services inside a seeded simulated cluster: faults, checks, replay, reports.

pub mod draw;
pub mod engine;
pub mod fault;
pub mod machine;
pub mod network;
pub mod operation;
pub mod plan;
pub mod record;
pub mod scenario;
pub mod system;
pub mod trace;
