//! Who waits for news in vain leaves its subscription behind, and the broker keeps it for ever.

use std::time::Duration;

use nitro::address::Address;
use nitro::app::{App, Fabric};
use nitro::broker::{Broker, Consumer, Delivery, Reply, Request};
use nitro::client::balance::Target;
use nitro::error::{Error, Result};
use nitro::remote;
use nitro::rpc::Router;
use serde_json::json;

use super::service::{builder, is_broken};
use crate::system::{Node, System};

const PORT: u16 = 7000;

/// How long somebody waits for news before doing without.
const WAIT: Duration = Duration::from_millis(400);

/// How long to wait before it is tried again to unsubscribe.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) fn system() -> System {
    System::new("subscriptions_left")
        .role("broker", carry)
        .role("teller", tell)
        .role("listener", hear)
        .operation("tell")
        .operation("hear")
}

async fn carry(node: Node) -> Result<()> {
    let broker = Broker::memory(node.host());
    let router = remote::serve_broker(Router::new(), &broker);
    let app = App::new(&Fabric::new(node.host()), "broker").router(router);
    let app = app.listen(Address::tcp("0.0.0.0", PORT));
    app.run_until(node.stop_requested()).await
}

fn reach(node: &Node) -> Broker {
    let client = builder(node).timeout(remote::TIMEOUT_MAX);
    let target = Target::at(Address::tcp("broker-1", PORT));
    remote::broker(node.host(), client.rpc(&[target]).0)
}

async fn tell(node: Node) -> Result<()> {
    let (broker, host) = (reach(&node), node.host().clone());
    node.workload(move |operation| {
        let (broker, host) = (broker.clone(), host.clone());
        async move {
            let telling = broker.publish(&host, "news", operation.value.to_string());
            let told = host.clock.timeout_at(operation.deadline, telling).await;
            Ok(json!(told.map_err(|_| late())??))
        }
    })
    .await
}

async fn hear(node: Node) -> Result<()> {
    let (broker, is_broken) = (reach(&node), is_broken(&node)?);
    let at = node.clone();
    let hearing = node.workload(move |operation| {
        let (node, broker) = (at.clone(), broker.clone());
        async move {
            let name = format!("listener-{}", operation.id);
            let clock = node.host().clock.clone();
            let listening = listen(&node, &broker, &name);
            let heard = clock.timeout_at(operation.deadline, listening).await;
            let heard = heard.unwrap_or_else(|_| Err(late()));
            // The bug: who has waited in vain just goes.
            if !is_broken || !matches!(heard, Ok(None)) {
                let leaving = leave(node.clone(), broker, name);
                drop(node.host().tasks.spawn("leave", Box::pin(leaving)));
            }
            Ok(json!(heard?))
        }
    });
    hearing.await?;
    node.stop_requested().await;
    Ok(())
}

/// Waits for one piece of news, as a group of one, which lasts until it is told to end.
async fn listen(node: &Node, broker: &Broker, name: &str) -> Result<Option<String>> {
    let terms = Consumer::group("news", name);
    let mut subscription = broker.subscribe(node.host(), terms).await?;
    let news = node.host().clock.timeout(WAIT, subscription.next()).await;
    let body = |delivery: Delivery| String::from_utf8_lossy(&delivery.message().body).into_owned();
    news.map_or(Ok(None), |news| news.map(body).map(Some))
}

/// Ends a subscription, until there is none: what was on its way may come after it was ended.
async fn leave(node: Node, broker: Broker, subscription: String) {
    loop {
        let request = Request::Unsubscribe {
            subscription: subscription.clone(),
        };
        if let Ok(Reply::Unsubscribed(false)) = broker.ask(request).await {
            return;
        }
        node.host().clock.sleep(PAUSE).await;
    }
}

fn late() -> Error {
    Error::deadline_exceeded("it took too long")
}
