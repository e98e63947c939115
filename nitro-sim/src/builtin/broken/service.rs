//! What the broken systems have in common: a service on each node, reached by the node's name.

use std::future::Future;

use nitro::address::Address;
use nitro::app::{App, Fabric};
use nitro::client::{Builder, Client};
use nitro::codec::Json;
use nitro::error::Result;
use nitro::rpc::{Call, Router};
use serde_json::Value;

use crate::builtin::keeper;
use crate::system::{Node, Operation};

const PORT: u16 = 7000;

/// Whether the scenario asks for the broken form; without the parameter it is the right one.
pub(super) fn is_broken(node: &Node) -> Result<bool> {
    node.parameter_or("broken", false)
}

/// Serves a router on this node until it is asked to stop.
pub(super) async fn serve(node: &Node, router: Router) -> Result<()> {
    let app = App::new(&Fabric::new(node.host()), "service").router(router);
    let app = app.listen(Address::tcp("0.0.0.0", PORT));
    app.run_until(node.stop_requested()).await
}

/// A client of another node, with the whole stack.
pub(super) fn reach(node: &Node, name: &str) -> Client<Json> {
    builder(node).address(Json, Address::tcp(name, PORT))
}

/// The same, to be set up further.
pub(super) fn builder(node: &Node) -> Builder {
    Fabric::new(node.host()).client_builder("service")
}

/// Where the service of a node is.
pub(super) fn address(name: &str) -> Address {
    Address::tcp(name, PORT)
}

/// A handler with what it works on.
pub(super) fn with<S, In, F, R>(
    state: &S,
    handler: F,
) -> impl Fn(Call, In) -> R + Clone + Send + Sync + 'static
where
    S: Clone + Send + Sync + 'static,
    F: Fn(S, In) -> R + Clone + Send + Sync + 'static,
{
    let state = state.clone();
    move |_, input| handler(state.clone(), input)
}

/// Makes the node's operations, each until its deadline.
pub(super) async fn work<S, F, R>(node: &Node, state: S, make: F) -> Result<()>
where
    S: Clone + Send + Sync + 'static,
    F: Fn(S, Operation) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value>> + Send + 'static,
{
    let clock = node.host().clock.clone();
    node.workload(move |operation| {
        let (clock, making) = (clock.clone(), make(state.clone(), operation.clone()));
        async move { keeper::in_time(&clock, &operation, making).await }
    })
    .await
}
