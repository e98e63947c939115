//! A node as the registry lists it, and what a node must be like.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::{Error, Result};

/// The most bytes of an id, a service, a version, or a label's name or value.
const FIELD_BYTES_MAX: usize = 255;

/// The most labels of a node, so that a list of many nodes stays a message of a few megabytes.
const LABELS_MAX: usize = 32;

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, unlike that of any other node of the service.
    pub id: String,
    /// What it serves.
    pub service: String,
    /// The version it runs; empty when there is none to tell.
    #[serde(default)]
    pub version: String,
    /// Where others reach it.
    pub address: Address,
    /// What it says about itself, such as its zone.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its share of the calls, beside the others'.
    #[serde(default = "weight_default")]
    pub weight: u32,
}

fn weight_default() -> u32 {
    1
}

impl Node {
    /// A node of weight 1, without version and labels.
    pub fn new(service: impl Into<String>, id: impl Into<String>, address: Address) -> Self {
        Self {
            id: id.into(),
            service: service.into(),
            version: String::new(),
            address,
            labels: BTreeMap::new(),
            weight: weight_default(),
        }
    }

    /// Checks that it can be listed, and that others can reach it by its address.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument), saying what to change.
    pub fn check(&self) -> Result<()> {
        required("id", &self.id)?;
        required("service", &self.service)?;
        bounded("version", &self.version)?;
        if self.labels.len() > LABELS_MAX {
            let count = self.labels.len();
            return Err(wrong(format!("{count} labels: at most {LABELS_MAX}")));
        }
        for (name, value) in &self.labels {
            required("label name", name)?;
            bounded("label value", value)?;
        }
        self.check_address()
    }

    fn check_address(&self) -> Result<()> {
        let address = &self.address;
        let Address::Tcp { host, port } = address else {
            return Ok(());
        };
        let unspecified = host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified());
        if unspecified || host.is_empty() {
            return Err(wrong(format!(
                "address {address} is where to listen, and nobody can call it: \
                 advertise an address or a name by which others reach this machine"
            )));
        }
        if *port == 0 {
            return Err(wrong(format!(
                "address {address} has port 0: listen first, then advertise the port that was chosen"
            )));
        }
        Ok(())
    }
}

fn required(field: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(wrong(format!("{field} is empty: give it a value")));
    }
    bounded(field, value)
}

fn bounded(field: &str, value: &str) -> Result<()> {
    if value.len() > FIELD_BYTES_MAX {
        let length = value.len();
        let message = format!("{field} of {length} bytes: at most {FIELD_BYTES_MAX}");
        return Err(wrong(message));
    }
    Ok(())
}

fn wrong(what: String) -> Error {
    Error::invalid_argument(format!("registry: node {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_node_that_nobody_could_find_or_call_is_refused_with_what_to_do() {
        let good = Node::new("greeter", "a", Address::tcp("10.0.0.7", 4000));
        good.check().unwrap();
        let address = |text: &str| Node {
            address: text.parse().unwrap(),
            ..good.clone()
        };
        let long = "x".repeat(256);
        let wrong = [
            (
                Node::new("greeter", "", good.address.clone()),
                "node id is empty",
            ),
            (
                Node::new("", "a", good.address.clone()),
                "node service is empty",
            ),
            (
                Node::new("greeter", &*long, good.address.clone()),
                "at most 255",
            ),
            (
                Node {
                    version: long.clone(),
                    ..good.clone()
                },
                "node version of 256 bytes",
            ),
            (
                Node {
                    labels: BTreeMap::from([(String::new(), String::new())]),
                    ..good.clone()
                },
                "label name is empty",
            ),
            (
                Node {
                    labels: BTreeMap::from([("zone".to_owned(), long)]),
                    ..good.clone()
                },
                "label value of 256",
            ),
            (
                Node {
                    labels: (0..33).map(|n| (n.to_string(), String::new())).collect(),
                    ..good.clone()
                },
                "33 labels: at most 32",
            ),
            (address("0.0.0.0:4000"), "advertise an address"),
            (address("[::]:4000"), "advertise an address"),
            (address("10.0.0.7:0"), "listen first"),
        ];
        for (node, expected) in wrong {
            let error = node.check().unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(error.message().contains(expected), "{error}");
        }
        address("memory:a").check().unwrap();
        address("unix:/run/greeter").check().unwrap();
    }
}
