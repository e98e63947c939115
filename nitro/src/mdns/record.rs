//! A node as a service of DNS-SD, and back. What comes back is from whoever is on the network, and
//! is checked like any other input.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::port::millis;
use crate::registry::{Node, TTL_MAX};

/// The type of all nodes' services.
pub(super) const KIND: &str = "_nitro._tcp.local.";

/// The longest pair: RFC 6763, section 6.1.
const PAIR_BYTES_MAX: usize = 255;

/// The most bytes of all pairs: with the other records they fit one packet, as section 6.2 asks.
const PAIRS_BYTES_MAX: usize = 1_200;

const ID: &str = "id";
const SERVICE: &str = "service";
const VERSION: &str = "version";
const ADDRESS: &str = "address";
const WEIGHT: &str = "weight";
const TTL: &str = "ttl-ms";
const BEAT: &str = "beat";
const LABEL: &str = "label.";

/// What a node says: itself, how long that holds, and a number that rises each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) node: Node,
    pub(super) ttl: Duration,
    pub(super) beat: u64,
}

/// The name of a node's instance. Ids may be longer than a name, so it is drawn from them.
pub(super) fn instance(service: &str, id: &str) -> String {
    let hash = xxh3_128(format!("{service}\0{id}").as_bytes());
    format!("{hash:032x}")
}

/// The instance and its type.
pub(super) fn full_name(service: &str, id: &str) -> String {
    format!("{}.{KIND}", instance(service, id))
}

impl Sign {
    /// The port, for those who know nothing of nitro.
    pub(super) fn port(&self) -> u16 {
        match &self.node.address {
            Address::Tcp { port, .. } => *port,
            _ => 0,
        }
    }

    /// The pairs of the TXT record.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument) for a node that does not fit, or that
    /// nobody could reach from another machine.
    pub(super) fn pairs(&self) -> Result<Vec<(String, String)>> {
        let node = &self.node;
        check_address(node)?;
        let fixed = [
            (ID, node.id.clone()),
            (SERVICE, node.service.clone()),
            (VERSION, node.version.clone()),
            (ADDRESS, node.address.to_string()),
            (WEIGHT, node.weight.to_string()),
            (TTL, millis(self.ttl).to_string()),
            (BEAT, self.beat.to_string()),
        ];
        let mut pairs: Vec<(String, String)> = fixed
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let mut names = BTreeSet::new();
        for (name, value) in &node.labels {
            let is_plain =
                name.bytes().all(|byte| matches!(byte, b' '..=b'~')) && !name.contains('=');
            if !is_plain || !names.insert(name.to_ascii_lowercase()) {
                return Err(wrong(format!(
                    "label {name:?}: expected printable ASCII without '=', and no other label \
                     with that name in capitals or not"
                )));
            }
            pairs.push((format!("{LABEL}{name}"), value.clone()));
        }
        let bytes = |(name, value): &(String, String)| name.len() + 1 + value.len();
        if let Some(pair) = pairs.iter().find(|pair| bytes(pair) > PAIR_BYTES_MAX) {
            let (name, length) = (&pair.0, bytes(pair));
            let message = format!("{name} takes {length} bytes: at most {PAIR_BYTES_MAX}");
            return Err(wrong(message));
        }
        let all: usize = pairs.iter().map(bytes).sum();
        if all > PAIRS_BYTES_MAX {
            return Err(wrong(format!(
                "all that it says takes {all} bytes: at most {PAIRS_BYTES_MAX} fit a packet"
            )));
        }
        Ok(pairs)
    }

    /// Reads the pairs of an instance.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Kind::InvalidArgument), naming what is wrong.
    pub(super) fn read<'a>(
        full_name: &str,
        pairs: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Self> {
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in pairs {
            let text = std::str::from_utf8(value.unwrap_or_default());
            let text = text.map_err(|_| wrong(format!("{name} is no text")))?;
            // Of several the first counts: section 6.4.
            found.entry(name).or_insert(text);
        }
        let text = |name: &str| {
            let text = found.get(name).copied();
            text.ok_or_else(|| wrong(format!("{name} is missing")))
        };
        let number = |name: &str| {
            let number = text(name)?.parse::<u64>();
            number.map_err(|_| wrong(format!("{name} is no number")))
        };
        let address: Address = text(ADDRESS)?.parse()?;
        let weight = u32::try_from(number(WEIGHT)?);
        let label = |(name, value): (&&str, &&str)| {
            let name = name.strip_prefix(LABEL)?;
            Some((name.to_owned(), (*value).to_owned()))
        };
        let node = Node {
            id: text(ID)?.to_owned(),
            service: text(SERVICE)?.to_owned(),
            version: text(VERSION)?.to_owned(),
            address,
            labels: found.iter().filter_map(label).collect(),
            weight: weight.map_err(|_| wrong(format!("{WEIGHT} is too large")))?,
        };
        node.check()?;
        check_address(&node)?;
        if !full_name.eq_ignore_ascii_case(&self::full_name(&node.service, &node.id)) {
            return Err(wrong(format!("{} has the name of another", node.id)));
        }
        let ttl = Duration::from_millis(number(TTL)?);
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(wrong(format!("{TTL} of {ttl:?}: expected at most a day")));
        }
        Ok(Self {
            node,
            ttl,
            beat: number(BEAT)?,
        })
    }
}

fn check_address(node: &Node) -> Result<()> {
    match &node.address {
        Address::Tcp { .. } => Ok(()),
        other => Err(wrong(format!("address {other} is of this machine alone"))),
    }
}

fn wrong(what: String) -> Error {
    Error::invalid_argument(format!("mdns: node {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn sign() -> Sign {
        let mut node = Node::new("greeter", "greeter-1", Address::tcp("10.0.0.7", 4000));
        node.version = "1.2".to_owned();
        node.labels
            .insert("zone".to_owned(), "eu=1 \u{e9}".to_owned());
        node.weight = 7;
        Sign {
            node,
            ttl: Duration::from_secs(30),
            beat: 42,
        }
    }

    fn read(name: &str, pairs: &[(String, String)]) -> Result<Sign> {
        let pairs = pairs.iter();
        Sign::read(
            name,
            pairs.map(|(name, value)| (&**name, Some(value.as_bytes()))),
        )
    }

    #[test]
    fn a_node_is_read_back_as_it_was_said() {
        let name = full_name("greeter", "greeter-1");
        assert_eq!(read(&name, &sign().pairs().unwrap()).unwrap(), sign());
        assert!(instance("a", "bc") != instance("ab", "c"));
        assert!(instance("a", "b").len() <= 63);
    }

    #[test]
    fn what_strangers_say_is_read_only_if_it_makes_a_node() {
        let name = full_name("greeter", "greeter-1");
        let good = sign().pairs().unwrap();
        for (field, _) in &good {
            if field.starts_with(LABEL) {
                continue;
            }
            let without: Vec<_> = good
                .iter()
                .filter(|pair| pair.0 != *field)
                .cloned()
                .collect();
            let error = read(&name, &without).unwrap_err();
            assert!(error.message().contains("is missing"), "{error}");
        }
        let long = "x".repeat(300);
        for (field, value, expected) in [
            (ID, "greeter-2", "name of another"),
            (SERVICE, "", "service is empty"),
            (SERVICE, &long, "at most 255"),
            (ADDRESS, "0.0.0.0:1", "advertise"),
            (ADDRESS, "10.0.0.7:0", "port 0"),
            (ADDRESS, "unix:/run/x", "this machine alone"),
            (ADDRESS, "::", "address"),
            (WEIGHT, "-1", "no number"),
            (WEIGHT, "4294967296", "too large"),
            (TTL, "0", "at most a day"),
            (TTL, "86400001", "at most a day"),
            (BEAT, "99999999999999999999", "no number"),
        ] {
            let mut pairs = good.clone();
            let pair = pairs.iter_mut().find(|pair| pair.0 == field).unwrap();
            pair.1 = value.to_owned();
            let error = read(&name, &pairs).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument);
            assert!(
                error.message().contains(expected),
                "{field} {value}: {error}"
            );
        }
        let bytes = [(ID, Some(&[0xff_u8][..]))];
        let error = Sign::read(&name, bytes.into_iter()).unwrap_err();
        assert!(error.message().contains("no text"), "{error}");
        Sign::read(&name, std::iter::empty()).unwrap_err();
    }

    #[test]
    fn a_node_that_does_not_fit_is_refused_with_what_is_right() {
        let with = |name: &str, value: &str| {
            let mut sign = sign();
            sign.node.labels.insert(name.to_owned(), value.to_owned());
            sign.pairs().unwrap_err()
        };
        assert!(with("Zone", "x").message().contains("in capitals"));
        assert!(with("a=b", "x").message().contains("without '='"));
        assert!(with("caf\u{e9}", "x").message().contains("ASCII"));
        let long = "x".repeat(249);
        assert!(with("z", &long).message().contains("at most 255"));
        let mut sign = sign();
        for n in 0..6 {
            sign.node.labels.insert(format!("l{n}"), "x".repeat(200));
        }
        let error = sign.pairs().unwrap_err();
        assert!(error.message().contains("fit a packet"), "{error}");
    }
}
