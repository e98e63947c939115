//! The broker over HTTP among strangers: clients and servers that know nothing of nitro, well
//! meaning or not, as bytes on a stream.

mod members;
mod model;
mod programs;
mod requests;
mod stranger;

use std::time::Duration;

use nitro::Address;
use nitro::broker::{Broker, Consumer, Request};
use nitro::host::Host;
use nitro::http::{HttpBroker, Settings};
use nitro::port::Call;
use nitro::registry::{self, Registry};
use nitro::{Error, Kind};

use super::setting::{On, Setting, run};

async fn start(host: &Host, registry: &Registry) -> HttpBroker {
    let settings = Settings::at(Address::tcp("127.0.0.1", 0));
    let outbox = Broker::memory(host);
    let started = HttpBroker::start(host, registry, &outbox, settings).await;
    started.unwrap()
}

/// What is asked of strangers' messages: few attempts, soon.
fn quick(pattern: &str, group: &str) -> Consumer {
    Consumer {
        visibility_ms: 200,
        attempts_max: 3,
        ..Consumer::group(pattern, group)
    }
}

#[test]
fn a_node_that_cannot_know_who_subscribes_publishes_nothing() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let away = tower::service_fn(async |_: Call<registry::Request>| {
            Err::<registry::Reply, _>(Error::unavailable("away"))
        });
        let node = start(host, &Registry::new(away)).await;
        let broker = node.broker();
        let request = Request::Publish {
            messages: vec![nitro::broker::Message::new(host, "t", "x")],
            wait_ms: 500,
        };
        let started = host.clock.now();
        let error = broker.ask(request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("who subscribes"), "{error}");
        let waited = host.clock.now().since(started);
        assert!((500..600).contains(&waited.as_millis()), "{waited:?}");
        let error = broker.subscribe(host, quick("t", "g")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.message().contains("nobody would know"), "{error}");
    });
}

#[test]
fn a_node_that_nobody_could_reach_is_told_so_when_it_starts() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let (registry, outbox) = (Registry::memory(host), Broker::memory(host));
        let settings = Settings {
            advertise: Some(Address::tcp("0.0.0.0", 7000)),
            ..Settings::at(Address::tcp("0.0.0.0", 7000))
        };
        let started = HttpBroker::start(host, &registry, &outbox, settings).await;
        let error = started.unwrap_err();
        assert_eq!(error.kind(), Kind::InvalidArgument);
        assert!(error.message().contains("advertise"), "{error}");
    });
}

#[test]
fn a_node_that_stops_leaves_the_registry_and_one_that_ends_takes_nothing_more() {
    run(On::Memory, async |setting: Setting| {
        let host = &setting.host;
        let registry = Registry::memory(host);
        let node = start(host, &registry).await;
        let broker = node.broker();
        let mut received = broker.subscribe(host, quick("t", "g")).await.unwrap();
        let listed = async || registry.list(None).await.unwrap().nodes.len();
        assert_eq!(listed().await, 2);
        let address = node.address().clone();
        node.stop().await;
        assert_eq!(listed().await, 0);
        let error = broker.publish(host, "t", "x").await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let next = host.clock.timeout(Duration::from_secs(1), received.next());
        assert_eq!(next.await.unwrap().unwrap_err().kind(), Kind::Unavailable);
        host.clock.sleep(Duration::from_millis(1)).await;
        let connected = host.network.connect(&address).await;
        assert!(connected.is_err());
    });
}
