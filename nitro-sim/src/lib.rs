//! Runs nitro services inside a seeded simulated cluster: faults, checks, replay, reports.

pub mod draw;
pub mod fault;
pub mod operation;
pub mod plan;
pub mod record;
pub mod scenario;
pub mod trace;
