//! The rpc suite inside a simulated cluster: the same service, the same calls, virtual time.

use nitro::transport::{Exchange, Transport};
use nitro::{Address, Server};
use nitro_sim::{Node, System};

use super::rpc::{Reach, suite};
use super::service::Seen;
use super::transports::served;

/// The suite asks its service what it has seen, so the two share more than the network here.
fn system() -> System {
    let seen = Seen::default();
    let served_seen = seen.clone();
    System::new("suite")
        .role("server", move |node| serve(node, served_seen.clone()))
        .role("client", move |node| call(node, seen.clone()))
        .operation("suite")
}

async fn serve(node: Node, seen: Seen) -> nitro::Result<()> {
    let host = node.host();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let server = Server::new(host, &transport, served(host, &seen));
    let serving = server.listen(&Address::tcp("0.0.0.0", 7000)).await?;
    node.stop_requested().await;
    drop(serving);
    Ok(())
}

async fn call(node: Node, seen: Seen) -> nitro::Result<()> {
    let host = node.host().clone();
    let transport = Transport::new(host.network.clone(), Exchange::new());
    let target = nitro::client::balance::Target::at(Address::tcp("server-1", 7000));
    let (rpc, _) = nitro::client::Builder::new(&host, &transport, "math").rpc(&[target]);
    let reach = std::sync::Arc::new(Reach {
        host,
        rpc,
        seen,
        has_wire: true,
    });
    node.workload(move |_| {
        let reach = reach.clone();
        async move {
            suite(&reach).await;
            Ok(serde_json::Value::Null)
        }
    })
    .await
}

#[test]
fn the_suite_holds_inside_a_simulated_cluster() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("suite.toml");
    let scenario = r#"
        name = "suite"
        system = "suite"
        duration_s = 200
        [nodes]
        server = 1
        client = 1
        [network]
        latency_ms = [1, 3]
        [[workload]]
        role = "client"
        operation = "suite"
        every_ms = 700
        from_s = 1
        until_s = 2
        timeout_ms = 190000
        [checks]
        replayed = false
        max_failed = 0
    "#;
    std::fs::write(&file, scenario).unwrap();
    nitro_sim::assert_passes(&file.display().to_string(), 1, || vec![system()]);
}
