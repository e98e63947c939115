//! What the applications of one process share: host, transport, registry.

use crate::client::{Builder, Client};
use crate::host::Host;
use crate::registry::Registry;
use crate::transport::{Exchange, Transport};

/// The surroundings of applications that find and call each other. Cheap to clone.
///
/// As made, it needs nothing from outside: nodes meet within the process. With a registry that
/// several processes share, and applications that listen on a network, it spans hosts.
#[derive(Clone, Debug)]
pub struct Fabric {
    host: Host,
    transport: Transport,
    registry: Registry,
}

impl Fabric {
    /// A fabric within one process, on a host.
    pub fn new(host: &Host) -> Self {
        Self {
            host: host.clone(),
            transport: Transport::new(host.network.clone(), Exchange::new()),
            registry: Registry::memory(host),
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

    /// A client of a service, with the default stack.
    pub fn client<C>(&self, service: impl Into<String>, codec: C) -> Client<C> {
        self.client_builder(service).registry(codec, &self.registry)
    }

    /// A client of a service, to be set up further.
    pub fn client_builder(&self, service: impl Into<String>) -> Builder {
        Builder::new(&self.host, &self.transport, service)
    }
}
