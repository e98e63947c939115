//! A node that keeps state for the others: a store in a file on its disk, and over it leases and
//! a broker, all reached by rpc.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nitro::address::Address;
use nitro::app::Fabric;
use nitro::broker::Broker;
use nitro::client::balance::Target;
use nitro::error::{Error, Result};
use nitro::host::Clock;
use nitro::rpc::{Router, Rpc};
use nitro::server::Server;
use nitro::server::stack::{ServerSettings, stack};
use nitro::store::{FileStore, Settings, Store, Sync};
use nitro::sync::Leases;
use nitro::transport::{Exchange, Transport};
use nitro::{durable, remote};

use crate::system::{Node, Operation};

const PORT: u16 = 5000;

/// The role of a keeper.
pub(super) const KEEPER: &str = "keeper";

/// What a keeper keeps.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) leases: Leases,
    pub(super) broker: Broker,
}

/// Opens the store of this node and what stands on it.
///
/// # Errors
///
/// What the disk says.
pub(super) async fn open(node: &Node, sync: Sync) -> Result<Kept> {
    let host = node.host();
    let settings = Settings {
        sync,
        // The disk of a simulated node is cut off more often than it rots.
        check_when_opened: false,
        ..Settings::default()
    };
    let store = Store::new(FileStore::open(host, "/store", settings).await?);
    Ok(Kept {
        leases: durable::leases(host, &store),
        broker: durable::broker(host, &store),
        store,
    })
}

/// Serves what is kept until the node is asked to stop.
///
/// # Errors
///
/// When the port is taken.
pub(super) async fn serve(node: &Node, kept: &Kept) -> Result<()> {
    let router = remote::serve_store(Router::new(), &kept.store);
    let router = remote::serve_leases(router, &kept.leases);
    let router = remote::serve_broker(router, &kept.broker);
    let host = node.host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let service = stack(host, &ServerSettings::default(), router);
    let server = Server::new(host, &transport, service);
    let serving = server.listen(&Address::tcp("0.0.0.0", PORT)).await?;
    let telling = tell_the_time(node);
    tokio::select! {
        biased;
        () = node.stop_requested() => {}
        () = telling => {}
    }
    drop(serving);
    Ok(())
}

/// Notes the time of day, as a log would: nothing else of a keeper looks at it, and nothing may
/// go wrong when it jumps.
async fn tell_the_time(node: &Node) {
    loop {
        let wall = node.host().clock.wall();
        node.note("wall", wall.as_unix_seconds());
        node.host().clock.sleep(Duration::from_secs(1)).await;
    }
}

/// The role of a keeper whose store syncs before it answers.
///
/// # Errors
///
/// As [`open`] and [`serve`].
pub(super) async fn keep(node: Node) -> Result<()> {
    let kept = open(&node, Sync::Always).await?;
    serve(&node, &kept).await
}

/// What the keeper keeps, as this node reaches it.
pub(super) fn reach(node: &Node) -> Kept {
    let keeper = node.peers(KEEPER).first().map_or("", String::as_str);
    let fabric = Fabric::new(node.host());
    let builder = fabric.client_builder(KEEPER).timeout(remote::TIMEOUT_MAX);
    let rpc: Rpc = builder.rpc(&[Target::at(Address::tcp(keeper, PORT))]).0;
    let host = node.host();
    Kept {
        store: remote::store(host, rpc.clone()),
        leases: remote::leases(host, rpc.clone()),
        broker: remote::broker(host, rpc),
    }
}

/// Does an operation until its deadline.
///
/// # Errors
///
/// The operation's own, or that it took too long.
pub(super) async fn in_time<T>(
    clock: &Arc<dyn Clock>,
    operation: &Operation,
    doing: impl Future<Output = Result<T>>,
) -> Result<T> {
    let done = clock.timeout_at(operation.deadline, doing).await;
    done.unwrap_or_else(|_| Err(Error::deadline_exceeded("the operation took too long")))
}
