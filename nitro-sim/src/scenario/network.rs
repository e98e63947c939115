//! The network of a scenario file.

use super::bounds::{BYTES_PER_SECOND_MAX, LATENCY_MS_MAX};
use super::faults::between;
use super::problem::{list, nearest};
use super::read::{Cluster, range_us};
use super::section::{Bounds, Section};
use super::{Link, Network};
use crate::latency::Latency;

const DISTRIBUTIONS: [&str; 5] = [
    "constant",
    "uniform",
    "exponential",
    "log_normal",
    "bimodal",
];

const MILLISECONDS: Bounds = Bounds::new(0.0, LATENCY_MS_MAX, "milliseconds");

pub(super) fn read(root: &Section<'_>, cluster: &Cluster) -> Network {
    let mut network = Network::new(Latency::Constant { us: 1000 });
    let Some(section) = root.section("network") else {
        return network;
    };
    if let Some(latency) = latency(&section) {
        network.latency = latency;
    }
    let share = |key| section.number(key, Bounds::SHARE).unwrap_or(0.0);
    network.loss = share("loss");
    network.duplicate = share("duplicate");
    network.reorder = share("reorder");
    let mtu = Bounds::new(68.0, 65_535.0, "bytes");
    network.mtu_bytes = section.number("mtu_bytes", mtu).map(|bytes| bytes as u64);
    network.bytes_per_second = bytes_per_second(&section);
    for part in section.sections("link") {
        network.links.extend(link(&part, cluster));
        part.finish();
    }
    section.finish();
    network
}

fn link(section: &Section<'_>, cluster: &Cluster) -> Option<Link> {
    let between = between(section, cluster);
    let latency = latency(section);
    let loss = section.number("loss", Bounds::SHARE);
    let bytes_per_second = bytes_per_second(section);
    Some(Link {
        between: between?,
        latency,
        loss,
        bytes_per_second,
    })
}

fn bytes_per_second(section: &Section<'_>) -> Option<u64> {
    let bounds = Bounds::new(1.0, BYTES_PER_SECOND_MAX, "bytes per second");
    let speed = section.number("bytes_per_second", bounds);
    speed.map(|bytes| bytes as u64)
}

/// The latency, given as bounds or as a distribution.
fn latency(section: &Section<'_>) -> Option<Latency> {
    let bounds = section.range("latency_ms", MILLISECONDS);
    let distribution = section.section("latency");
    let Some(distribution) = distribution else {
        let [min_us, max_us] = range_us(bounds?);
        return Some(match min_us == max_us {
            true => Latency::Constant { us: min_us },
            false => Latency::Uniform { min_us, max_us },
        });
    };
    if bounds.is_some() {
        let expected = "latency or latency_ms";
        section.problem(
            "latency",
            "is given besides latency_ms",
            expected,
            "remove one",
        );
    }
    let latency = of_distribution(&distribution);
    distribution.finish();
    latency
}

fn of_distribution(section: &Section<'_>) -> Option<Latency> {
    let expected = format!("one of {}", list(&DISTRIBUTIONS));
    section.missing("distribution", &expected);
    let name = section.text("distribution")?;
    let us = |key: &'static str| {
        section.missing(key, "milliseconds");
        let ms = section.number(key, MILLISECONDS)?;
        Some((ms * 1000.0).round() as u64)
    };
    let range = |key: &'static str| {
        section.missing(key, "milliseconds");
        section.range(key, MILLISECONDS).map(range_us)
    };
    let ordered = |key: &'static str, least: Option<u64>, most: Option<u64>| {
        if most? < least? {
            section.problem(
                key,
                "is below the other",
                "the larger of the two",
                "swap them",
            );
            return None;
        }
        Some((least?, most?))
    };
    match name {
        "constant" => Some(Latency::Constant { us: us("ms")? }),
        "uniform" => {
            let (min_us, max_us) = ordered("max_ms", us("min_ms"), us("max_ms"))?;
            Some(Latency::Uniform { min_us, max_us })
        }
        "exponential" => {
            let (min_us, mean_us) = ordered("mean_ms", us("min_ms"), us("mean_ms"))?;
            Some(Latency::Exponential { min_us, mean_us })
        }
        "log_normal" => {
            let (median_us, p99_us) = ordered("p99_ms", us("median_ms"), us("p99_ms"))?;
            Some(Latency::LogNormal { median_us, p99_us })
        }
        "bimodal" => {
            let (usual_us, rare_us) = (range("usual_ms"), range("rare_ms"));
            section.missing("rare_share", "the share that takes the rare path");
            Some(Latency::Bimodal {
                usual_us: usual_us?,
                rare_us: rare_us?,
                rare_share: section.number("rare_share", Bounds::SHARE)?,
            })
        }
        other => {
            let wrong = format!("there is no distribution \"{other}\"");
            let todo = nearest(other, DISTRIBUTIONS);
            section.problem("distribution", wrong, &expected, &todo);
            None
        }
    }
}
