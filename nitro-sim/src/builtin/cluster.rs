//! What the nodes of a nitro cluster have in common: a registry on one of them, found by name.

use std::time::Duration;

use nitro::address::Address;
use nitro::app::Fabric;
use nitro::error::Result;
use nitro::registry::Registry;
use nitro::rpc::Router;
use nitro::server::stack::{ServerSettings, stack};
use nitro::server::{Server, Serving};
use nitro::transport::{Exchange, Transport};
use nitro::{Client, remote};

use crate::system::Node;

/// Where services listen.
pub(super) const SERVICE_PORT: u16 = 7000;
const REGISTRY_PORT: u16 = 4000;

/// How long one attempt at a call may take before another node is tried.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(250);

/// The node that is the registry: that of the role `registry`, or else the first server.
fn registry_node(node: &Node) -> &str {
    let mut nodes = node.peers("registry").iter().chain(node.peers("server"));
    nodes.next().map_or("", String::as_str)
}

/// Serves the registry, if this node is the one to do so.
///
/// # Errors
///
/// When the port is taken.
pub(super) async fn serve_registry(node: &Node) -> Result<Option<Serving>> {
    if registry_node(node) != node.name() {
        return Ok(None);
    }
    let host = node.host();
    let router = remote::serve_registry(Router::new(), &Registry::memory(host));
    let service = stack(host, &ServerSettings::default(), router);
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let address = Address::tcp("0.0.0.0", REGISTRY_PORT);
    let server = Server::new(host, &transport, service);
    server.listen(&address).await.map(Some)
}

/// The role of a node that is the registry and nothing else.
///
/// # Errors
///
/// When the port is taken.
pub(super) async fn keep_registry(node: Node) -> Result<()> {
    let serving = serve_registry(&node).await?;
    node.stop_requested().await;
    drop(serving);
    Ok(())
}

/// The surroundings of a node: its host, and the cluster's registry over rpc.
pub(super) fn fabric(node: &Node) -> Fabric {
    let fabric = Fabric::new(node.host());
    let address = Address::tcp(registry_node(node), REGISTRY_PORT);
    let builder = fabric
        .client_builder("registry")
        .timeout(remote::TIMEOUT_MAX);
    let (rpc, _) = builder.rpc(&[nitro::client::balance::Target::at(address)]);
    let registry = remote::registry(node.host(), rpc);
    fabric.with_registry(registry)
}

/// A client with the full stack over the nodes that the registry lists.
pub(super) fn client<C>(node: &Node, service: &str, codec: C) -> Client<C> {
    let fabric = fabric(node);
    let builder = fabric.client_builder(service);
    let builder = builder.attempt_timeout(ATTEMPT_TIMEOUT);
    builder.registry(codec, fabric.registry())
}
