//! The rpc suite over every way to reach a service.

use nitro::host::memory::Machine;
use nitro::rpc::Rpc;
use nitro::server::Serving;
use nitro::server::stack::{ServerSettings, stack as server_stack};
use nitro::transport::{Exchange, Transport};
use nitro::{Address, Client, Host, Server, host};

use super::rpc::{Reach, suite};
use super::service::{Seen, router};

pub(crate) fn served(host: &Host, seen: &Seen) -> Rpc {
    server_stack(host, &ServerSettings::default(), router(seen))
}

async fn reach(server: &Host, client: &Host, exchange: &Exchange, at: &str) -> (Serving, Reach) {
    let seen = Seen::default();
    let transport = Transport::new(server.network.clone(), exchange.clone());
    let address: Address = at.parse().unwrap();
    let serving = Server::new(server, &transport, served(server, &seen));
    let serving = serving.listen(&address).await.unwrap();
    let transport = Transport::new(client.network.clone(), exchange.clone());
    let address = serving.address().clone();
    let rpc = nitro::client::Builder::new(client, &transport, "math")
        .rpc(&[nitro::client::balance::Target::at(address)])
        .0;
    let reach = Reach {
        host: client.clone(),
        rpc,
        seen,
        has_wire: true,
    };
    (serving, reach)
}

#[tokio::test]
async fn the_suite_holds_with_no_wire_between() {
    let host = host::tokio::host();
    let seen = Seen::default();
    let rpc = served(&host, &seen);
    suite(&Reach {
        host,
        rpc,
        seen,
        has_wire: false,
    })
    .await;
}

#[tokio::test]
async fn the_suite_holds_over_memory() {
    let host = host::tokio::host();
    let (_serving, reach) = reach(&host, &host, &Exchange::new(), "memory:math").await;
    suite(&reach).await;
}

#[tokio::test]
async fn the_suite_holds_over_tcp() {
    let host = host::tokio::host();
    let (_serving, reach) = reach(&host, &host, &Exchange::new(), "127.0.0.1:0").await;
    suite(&reach).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_holds_over_tcp_on_two_threads() {
    let host = host::tokio::host();
    let (_serving, reach) = reach(&host, &host, &Exchange::new(), "127.0.0.1:0").await;
    suite(&reach).await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_suite_holds_over_a_unix_socket() {
    let host = host::tokio::host();
    let directory = tempfile::tempdir().unwrap();
    let at = format!("unix:{}/socket", directory.path().display());
    let (_serving, reach) = reach(&host, &host, &Exchange::new(), &at).await;
    suite(&reach).await;
}

#[tokio::test]
async fn the_suite_holds_between_hosts_in_memory() {
    let machine = Machine::new();
    let (server, client) = (machine.host("server"), machine.host("client"));
    let (_serving, reach) = reach(&server, &client, &Exchange::new(), "server:7000").await;
    suite(&reach).await;
}

#[tokio::test]
async fn a_zero_length_list_of_nodes_is_told_as_such() {
    let host = host::tokio::host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let builder = nitro::client::Builder::new(&host, &transport, "math");
    let (rpc, _balance) = builder.rpc(&[]);
    let client = Client::new(&host, rpc, nitro::codec::Protobuf);
    let client = client.timeout(std::time::Duration::from_millis(50));
    let error = client
        .call(&super::service::DOUBLE, super::service::number(1))
        .await;
    assert!(!error.unwrap_err().message().is_empty());
}
