//! What the applications of one process share: host, transport, registry.

#[cfg(feature = "mdns")]
mod local_network;

use std::net::IpAddr;

use crate::address::Address;
use crate::client::{Builder, Client};
use crate::host::Host;
use crate::registry::Registry;
use crate::transport::{Exchange, Transport};

/// The surroundings of applications that find and call each other. Cheap to clone.
///
/// [`Fabric::local_network`] is that of this machine: nodes of the local network find each other by
/// multicast DNS. [`Fabric::new`] takes any host and needs nothing from outside: nodes meet within
/// the process, or, with a registry that several processes share and applications that listen on a
/// network, beyond it.
#[derive(Clone, Debug)]
pub struct Fabric {
    host: Host,
    transport: Transport,
    registry: Registry,
    /// Where others reach this machine; none where they are within this process.
    own: Option<IpAddr>,
}

impl Fabric {
    /// A fabric within one process, on a host.
    pub fn new(host: &Host) -> Self {
        Self {
            host: host.clone(),
            transport: Transport::new(host.network.clone(), Exchange::new()),
            registry: Registry::memory(host),
            own: None,
        }
    }

    /// The same fabric with another registry.
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// The machine.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What carries calls.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Who serves what.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where an application of this id listens that does not say.
    pub(super) fn listen(&self, id: &str) -> Address {
        match self.own {
            Some(_) => Address::tcp("0.0.0.0", 0),
            None => Address::memory(id),
        }
    }

    /// The address that others are told of one who listens there.
    pub(super) fn advertised(&self, listens: &Address) -> Address {
        match (self.own, listens) {
            (Some(own), Address::Tcp { host, port }) if is_any(host) => {
                Address::tcp(own.to_string(), *port)
            }
            _ => listens.clone(),
        }
    }

    /// A client of a service, with the default stack.
    pub fn client<C>(&self, service: impl Into<String>, codec: C) -> Client<C> {
        self.client_builder(service).registry(codec, &self.registry)
    }

    /// A client of a service, to be set up further.
    pub fn client_builder(&self, service: impl Into<String>) -> Builder {
        Builder::new(&self.host, &self.transport, service)
    }
}

fn is_any(host: &str) -> bool {
    host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}
