//! The fabric of this machine, whose nodes find each other by multicast DNS.

use std::net::IpAddr;

use super::Fabric;
use crate::error::{Error, Result};
use crate::host;
use crate::mdns::{Mdns, Settings};

impl Fabric {
    /// The fabric of this machine: applications listen on the network, on a free port where they do
    /// not say which, and nodes find each other by multicast DNS, with nothing to install and
    /// nothing to configure. Who is on no network finds the other processes of the machine.
    ///
    /// What multicast DNS does not do is told in [`mdns`](crate::mdns); with strangers on the
    /// network, or over its end, give the fabric a registry: [`Fabric::with_registry`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Kind::Unavailable) when no interface of this machine carries
    /// multicast.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn local_network() -> Result<Self> {
        Self::multicast(Settings::default())
    }

    /// The same, where multicast DNS is spoken elsewhere: on another port, which parts the nodes
    /// that know it from all others, or on some interfaces.
    ///
    /// # Errors
    ///
    /// As [`Fabric::local_network`].
    pub fn multicast(settings: Settings) -> Result<Self> {
        let own = host::tokio::local_address().map_err(|error| {
            let message = format!(
                "no interface of this machine carries multicast ({error}): bring one up, or give a \
                 fabric a registry with Fabric::with_registry"
            );
            Error::unavailable(message).with_source(error)
        })?;
        let host = host::tokio::host();
        let registry = Mdns::start(&host, settings)?.into_registry();
        let mut fabric = Self::new(&host).with_registry(registry);
        fabric.own = Some(IpAddr::V4(own));
        Ok(fabric)
    }
}
