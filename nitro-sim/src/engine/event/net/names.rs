//! Names and addresses of nodes, and names that have gone stale.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::fault::{Fault, StaleAnswer};

/// Names and what they stand for.
pub(super) struct Names {
    by_name: BTreeMap<Arc<str>, usize>,
    by_address: BTreeMap<IpAddr, usize>,
    addresses: Vec<IpAddr>,
    /// By fault: the node whose name is stale, and what is answered for it.
    stale: Vec<(String, usize, IpAddrAnswer)>,
}

/// What is answered for a stale name.
#[derive(Clone, Copy)]
enum IpAddrAnswer {
    Nothing,
    Address(IpAddr),
}

/// What is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A node.
    Node(usize),
    /// Nobody any more: what is sent there is lost.
    Silent,
}

/// The address a node had before this run: one that nobody has now. Source: RFC 2544, whose range
/// no real network uses.
fn old_address(node: usize) -> IpAddr {
    let first = u32::from(Ipv4Addr::new(198, 18, 0, 1));
    IpAddr::V4(Ipv4Addr::from(first + node as u32))
}

impl Names {
    pub(super) fn new(nodes: &[(Arc<str>, IpAddr)]) -> Self {
        let numbered = || nodes.iter().enumerate();
        Self {
            by_name: numbered()
                .map(|(n, (name, _))| (Arc::clone(name), n))
                .collect(),
            by_address: numbered().map(|(n, (_, address))| (*address, n)).collect(),
            addresses: nodes.iter().map(|(_, address)| *address).collect(),
            stale: Vec::new(),
        }
    }

    /// The address of a name or of itself, and the fault that made the answer wrong, if one did.
    pub(super) fn lookup(&self, name: &str) -> io::Result<(IpAddr, Option<&str>)> {
        if let Ok(ip) = name.parse() {
            return Ok((ip, None));
        }
        if name == "localhost" {
            return Ok((IpAddr::V4(Ipv4Addr::LOCALHOST), None));
        }
        let missing = || {
            let message = format!("no node is called {name:?}");
            io::Error::new(ErrorKind::NotFound, message)
        };
        let node = *self.by_name.get(name).ok_or_else(missing)?;
        let stale = self.stale.iter().rev().find(|(_, of, _)| *of == node);
        match stale {
            Some((fault, _, IpAddrAnswer::Address(ip))) => Ok((*ip, Some(fault))),
            _ => Ok((self.addresses[node], None)),
        }
    }

    /// The fault because of which a name is not found, if one is.
    pub(super) fn forgotten(&self, name: &str) -> Option<&str> {
        let node = self.by_name.get(name)?;
        let stale = self.stale.iter().rev().find(|(_, of, _)| of == node);
        stale.and_then(|(fault, _, answer)| match answer {
            IpAddrAnswer::Nothing => Some(fault.as_str()),
            IpAddrAnswer::Address(_) => None,
        })
    }

    /// What is at an address, as seen from a node.
    pub(super) fn place(&self, ip: IpAddr, from: usize) -> io::Result<Place> {
        if ip.is_loopback() || ip.is_unspecified() {
            return Ok(Place::Node(from));
        }
        if let Some(node) = self.by_address.get(&ip) {
            return Ok(Place::Node(*node));
        }
        match (old_address(0)..=old_address(self.addresses.len())).contains(&ip) {
            true => Ok(Place::Silent),
            false => Err(ErrorKind::HostUnreachable.into()),
        }
    }

    /// Makes a name stale, if that is what a fault does.
    pub(super) fn begin(&mut self, id: &str, fault: &Fault) {
        let Fault::StaleName { node, answer } = fault else {
            return;
        };
        let number = |name: &str| self.by_name.get(name).copied();
        let Some(node) = number(node) else { return };
        let answer = match answer {
            StaleAnswer::Nothing => IpAddrAnswer::Nothing,
            StaleAnswer::OldAddress => IpAddrAnswer::Address(old_address(node)),
            StaleAnswer::AddressOf(other) => match number(other) {
                Some(other) => IpAddrAnswer::Address(self.addresses[other]),
                None => return,
            },
        };
        self.stale.push((id.to_owned(), node, answer));
    }

    pub(super) fn end(&mut self, id: &str) {
        self.stale.retain(|(fault, ..)| fault != id);
    }
}
