//! How long messages take: distributions as plain data, and draws from them.
//!
//! A draw uses only arithmetic that every machine rounds alike, so that one seed gives one run
//! everywhere; the logarithm of a machine's library differs in the last digit.

use std::fmt;
use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::draw::Draw;

/// The longest a single message takes, whatever is drawn: ten minutes.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);

/// How long messages take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "distribution", rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// Always as long.
    Constant {
        /// How long, in microseconds.
        us: u64,
    },
    /// Anything between two bounds, all alike probable.
    Uniform {
        /// At least, in microseconds.
        min_us: u64,
        /// At most, in microseconds.
        max_us: u64,
    },
    /// Mostly short, with a tail: what a queue adds.
    Exponential {
        /// At least, in microseconds.
        min_us: u64,
        /// On average, in microseconds, the least included.
        mean_us: u64,
    },
    /// A long tail, as real networks show.
    LogNormal {
        /// Half take less, in microseconds.
        median_us: u64,
        /// One in a hundred takes more, in microseconds.
        p99_us: u64,
    },
    /// Two ranges: the usual path, and a rare one.
    Bimodal {
        /// At least and at most on the usual path, in microseconds.
        usual_us: [u64; 2],
        /// At least and at most on the rare path, in microseconds.
        rare_us: [u64; 2],
        /// The share that takes the rare path, 0 to 1.
        rare_share: f64,
    },
}

impl Latency {
    /// The latency of one message.
    pub fn draw(&self, draw: &mut Draw<impl Rng>) -> Duration {
        let taken = match *self {
            Latency::Constant { us } => Duration::from_micros(us),
            Latency::Uniform { min_us, max_us } => uniform(draw, [min_us, max_us]),
            Latency::Exponential { min_us, mean_us } => {
                let scale = mean_us.saturating_sub(min_us) as f64;
                // The least draw is not 0, whose logarithm is infinite.
                let taken = scale * -logarithm(draw.number(f64::EPSILON, 1.0));
                Duration::from_micros(min_us) + micros(taken)
            }
            Latency::LogNormal { median_us, p99_us } => {
                let median = median_us.max(1) as f64;
                let spread = logarithm(p99_us.max(median_us).max(1) as f64 / median) / Z_99;
                micros(median * exponential(spread * normal(draw)))
            }
            Latency::Bimodal {
                usual_us,
                rare_us,
                rare_share,
            } => {
                let is_rare = draw.chance(rare_share);
                uniform(draw, if is_rare { rare_us } else { usual_us })
            }
        };
        taken.min(LATENCY_MAX)
    }

    /// What a message takes that is not worth a draw, such as an acknowledgement.
    pub fn typical(&self) -> Duration {
        let us = match *self {
            Latency::Constant { us } => us,
            Latency::Uniform { min_us, max_us } => min_us.midpoint(max_us),
            Latency::Exponential { mean_us, .. } => mean_us,
            Latency::LogNormal { median_us, .. } => median_us,
            Latency::Bimodal { usual_us, .. } => usual_us[0].midpoint(usual_us[1]),
        };
        Duration::from_micros(us).min(LATENCY_MAX)
    }

    /// The bounds in microseconds, where it is constant or uniform.
    pub fn bounds_us(&self) -> Option<[u64; 2]> {
        match *self {
            Latency::Constant { us } => Some([us, us]),
            Latency::Uniform { min_us, max_us } => Some([min_us, max_us]),
            _ => None,
        }
    }

    /// Its name, as a scenario file writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Latency::Constant { .. } => "constant",
            Latency::Uniform { .. } => "uniform",
            Latency::Exponential { .. } => "exponential",
            Latency::LogNormal { .. } => "log_normal",
            Latency::Bimodal { .. } => "bimodal",
        }
    }
}

/// In a few words, as reports show it.
impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        match self.bounds_us() {
            Some([least, most]) if least == most => write!(f, "{} ms", ms(least)),
            Some([least, most]) => write!(f, "{}-{} ms", ms(least), ms(most)),
            None => {
                let usual = self.typical().as_secs_f64() * 1000.0;
                write!(f, "{}, mostly {usual} ms", self.name())
            }
        }
    }
}

/// How many standard deviations above the middle 99 % of a normal distribution lie.
const Z_99: f64 = 2.326_347_874;

fn micros(us: f64) -> Duration {
    // A float that is too large stops at the end of the type.
    Duration::from_nanos((us * 1000.0) as u64)
}

fn uniform(draw: &mut Draw<impl Rng>, [min_us, max_us]: [u64; 2]) -> Duration {
    if min_us >= max_us {
        return Duration::from_micros(min_us);
    }
    Duration::from_nanos(draw.whole(min_us.saturating_mul(1000), max_us.saturating_mul(1000)))
}

/// A draw from the standard normal distribution, by the polar method.
fn normal(draw: &mut Draw<impl Rng>) -> f64 {
    loop {
        let (x, y) = (draw.number(-1.0, 1.0), draw.number(-1.0, 1.0));
        let square = x * x + y * y;
        if square > f64::EPSILON && square < 1.0 {
            return x * (-2.0 * logarithm(square) / square).sqrt();
        }
    }
}

/// The natural logarithm of a positive, normal number, by the series of the inverse hyperbolic
/// tangent.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (t, 0.0);
    for odd in (1..=21).step_by(2) {
        sum += power / f64::from(odd);
        power *= t * t;
    }
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * sum
}

/// The exponential function within the range that latencies need.
fn exponential(x: f64) -> f64 {
    let x = x.clamp(-600.0, 600.0);
    let twos = (x / std::f64::consts::LN_2).round();
    let rest = x - twos * std::f64::consts::LN_2;
    let (mut term, mut sum) = (1.0, 1.0);
    for n in 1..=16 {
        term *= rest / f64::from(n);
        sum += term;
    }
    sum * f64::from_bits(((1023 + twos as i64) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mean, the median and the 99th percentile of many draws, in microseconds.
    fn shape(latency: Latency) -> [f64; 3] {
        let mut draw = Draw::new(1, "latency");
        let mut all: Vec<f64> = (0..40_000)
            .map(|_| latency.draw(&mut draw).as_secs_f64() * 1e6)
            .collect();
        all.sort_by(f64::total_cmp);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        [mean, all[all.len() / 2], all[all.len() * 99 / 100]]
    }

    fn assert_near(found: f64, expected: f64) {
        let off = (found / expected - 1.0).abs();
        assert!(off < 0.05, "{found} is not near {expected}");
    }

    #[test]
    fn every_distribution_has_the_shape_it_is_asked_for() {
        let (min_us, max_us) = (1000, 5000);
        let [mean, median, _] = shape(Latency::Uniform { min_us, max_us });
        assert_near(mean, 3000.0);
        assert_near(median, 3000.0);
        let (min_us, mean_us) = (500, 2500);
        let [mean, median, _] = shape(Latency::Exponential { min_us, mean_us });
        assert_near(mean, 2500.0);
        assert_near(median, 500.0 + 2000.0 * 2f64.ln());
        let (median_us, p99_us) = (2000, 20_000);
        let [_, median, p99] = shape(Latency::LogNormal { median_us, p99_us });
        assert_near(median, 2000.0);
        assert_near(p99, 20_000.0);
        let [mean, median, p99] = shape(Latency::Bimodal {
            usual_us: [1000, 1000],
            rare_us: [51_000, 51_000],
            rare_share: 0.02,
        });
        assert_near(mean, 2000.0);
        assert_near(median, 1000.0);
        assert_near(p99, 51_000.0);
        assert_eq!(shape(Latency::Constant { us: 7 }), [7.0, 7.0, 7.0]);
    }

    #[test]
    fn the_own_arithmetic_agrees_with_the_machines() {
        for n in 1..2000 {
            let x = f64::from(n) * 0.037;
            assert!((logarithm(x) - x.ln()).abs() < 1e-12, "{x}");
            let y = x - 37.0;
            assert!((exponential(y) / y.exp() - 1.0).abs() < 1e-12, "{y}");
        }
    }
}
