//! What the system `pool` is told.

use std::time::Duration;

use nitro::client::Builder;
use nitro::error::{Error, Result};
use nitro::host::Host;
use nitro::selector::{LeastLoaded, Random, RoundRobin};
use nitro::server::stack::ServerSettings;
use nitro::time::Instant;

use crate::system::Node;

/// What a server is told: `workers`, `work_ms`, and of the last ones by their order how many times
/// longer they take (`slow`, the last one) or how many fail (`failing`), from `fail_from_s` until
/// `fail_until_s`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Serving {
    pub(super) workers: usize,
    pub(super) settings: ServerSettings,
    work: Duration,
    fails: Option<(Instant, Instant)>,
}

impl Serving {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let after = node.peers("server").len() - node.index() - 1;
        let slow: f64 = node.parameter_or("slow", 1.0)?;
        let slow = if after == 0 { slow } else { 1.0 };
        let work_ms: f64 = node.parameter("work_ms")?;
        let failing: usize = node.parameter_or("failing", 0)?;
        let at = |name| -> Result<Instant> {
            let seconds = Duration::from_secs_f64(node.parameter(name)?);
            Ok(Instant::ORIGIN + seconds)
        };
        let fails = match after < failing {
            true => Some((at("fail_from_s")?, at("fail_until_s")?)),
            false => None,
        };
        let settings = ServerSettings {
            is_adaptive: node.parameter_or("adaptive", true)?,
            ..ServerSettings::default()
        };
        Ok(Self {
            workers: node.parameter("workers")?,
            settings,
            work: Duration::from_secs_f64(work_ms * slow / 1000.0),
            fails,
        })
    }

    pub(super) fn fails_at(&self, now: Instant) -> bool {
        let within = |(from, until): (Instant, Instant)| from <= now && now < until;
        self.fails.is_some_and(within)
    }

    /// How long a call takes, from half as long as the mean to half as long again; `drawn` is from
    /// 0 to 1.
    pub(super) fn takes(&self, drawn: f64) -> Duration {
        self.work.mul_f64(0.5 + drawn)
    }
}

/// What a client is told: `selector`, and how long one attempt may take, `attempt_timeout_ms`.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    selector: String,
    attempt_timeout: Option<Duration>,
}

impl Asking {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let attempt_timeout: u64 = node.parameter_or("attempt_timeout_ms", 0)?;
        let attempt_timeout = Duration::from_millis(attempt_timeout);
        Ok(Self {
            selector: node.parameter_or("selector", "least_loaded".to_owned())?,
            attempt_timeout: (!attempt_timeout.is_zero()).then_some(attempt_timeout),
        })
    }

    pub(super) fn set_up(&self, builder: Builder, host: &Host) -> Result<Builder> {
        let builder = match self.attempt_timeout {
            Some(timeout) => builder.attempt_timeout(timeout),
            None => builder,
        };
        let seed = host.entropy.next_u64();
        match self.selector.as_str() {
            "least_loaded" => Ok(builder.selector(LeastLoaded::from_seed(seed))),
            "round_robin" => Ok(builder.selector(RoundRobin::from_seed(seed))),
            "random" => Ok(builder.selector(Random::from_seed(seed))),
            other => Err(Error::invalid_argument(format!("no selector {other:?}"))),
        }
    }
}
