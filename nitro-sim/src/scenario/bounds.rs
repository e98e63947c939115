//! How large the numbers of a scenario may be.

/// The longest run, in seconds: a day. A run of years would take months.
pub const DURATION_S_MAX: f64 = 86_400.0;

/// The most nodes: beyond this no engine here is usable.
pub const NODES_MAX: u32 = 100;

/// The longest latency, in milliseconds: ten minutes, beyond any time limit of a service.
pub const LATENCY_MS_MAX: f64 = 600_000.0;

/// The longest time limit of an operation, in milliseconds: an hour.
pub(super) const TIMEOUT_MS_MAX: f64 = 3_600_000.0;

/// The most keys of a workload: JSON carries whole numbers to 2^53.
pub(super) const KEYS_MAX: f64 = 9_007_199_254_740_992.0;

/// How many times slower a node may get.
pub(super) const FACTOR_MAX: f64 = 1000.0;

/// The farthest a wall clock may be off, in milliseconds: ten years.
pub(super) const CLOCK_MS_MAX: f64 = 315_360_000_000.0;

/// The fastest drift, in parts per million: twice as fast.
pub(super) const DRIFT_PPM_MAX: f64 = 1_000_000.0;

/// How many bytes a node's disk holds.
pub const CAPACITY_BYTES: u64 = 1 << 30;

/// The fastest link, in bytes per second: a terabyte, beyond any that exists.
pub(super) const BYTES_PER_SECOND_MAX: f64 = 1e12;
