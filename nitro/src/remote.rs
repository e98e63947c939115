//! Ports over rpc: any port can be served, and any port can be reached.
//!
//! A port's requests and replies are plain data, so one method carries them all. With this, one
//! node can be the registry of a cluster and a system of many processes needs no third party.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::Service;

use crate::broker::{self, Broker};
use crate::codec::{Codec, ContentTypes, Json};
use crate::error::{Error, Result};
use crate::host::{Clock, Host};
use crate::port::{Call, PortRequest};
use crate::registry::{self, Registry};
use crate::rpc::{self, Body, Method, Request, Router, Rpc};
use crate::service::{AnyService, Calling};
use crate::store::{self, Store};
use crate::sync::{self, Leases};

/// How much longer than it was asked to wait a port may take to answer from afar.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the longest of all questions may take, as a time limit for a client's whole stack.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(90);

/// The method that carries a registry.
const REGISTRY: Method<registry::Request, registry::Reply> = Method::unary("port/registry");

/// Serves a registry beside whatever the router serves already.
pub fn serve_registry(router: Router, registry: &Registry) -> Router {
    serve(router, &REGISTRY, registry.service())
}

/// A registry that is reached over rpc. Give the client that makes `rpc` a time limit of
/// [`TIMEOUT_MAX`]: a question that waits for a change is answered late on purpose.
pub fn registry(host: &Host, rpc: Rpc) -> Registry {
    Registry::new(Remote::new(host, rpc, &REGISTRY))
}

/// The method that carries a store.
const STORE: Method<store::Request, store::Reply> = Method::unary("port/store");

/// Serves a store beside whatever the router serves already.
pub fn serve_store(router: Router, store: &Store) -> Router {
    serve(router, &STORE, store.service())
}

/// A store that is reached over rpc, by a client as for [`registry()`].
pub fn store(host: &Host, rpc: Rpc) -> Store {
    Store::new(Remote::new(host, rpc, &STORE))
}

/// The method that carries leases.
const LEASES: Method<sync::Request, sync::Reply> = Method::unary("port/sync");

/// Serves leases beside whatever the router serves already.
pub fn serve_leases(router: Router, leases: &Leases) -> Router {
    serve(router, &LEASES, leases.service())
}

/// Leases that are reached over rpc, by a client as for [`registry()`].
pub fn leases(host: &Host, rpc: Rpc) -> Leases {
    Leases::new(Remote::new(host, rpc, &LEASES))
}

/// The method that carries a broker.
const BROKER: Method<broker::Request, broker::Reply> = Method::unary("port/broker");

/// Serves a broker beside whatever the router serves already.
pub fn serve_broker(router: Router, broker: &Broker) -> Router {
    serve(router, &BROKER, broker.service())
}

/// A broker that is reached over rpc, by a client as for [`registry()`].
pub fn broker(host: &Host, rpc: Rpc) -> Broker {
    Broker::new(Remote::new(host, rpc, &BROKER))
}

/// Serves any port under a method of its own.
pub fn serve<Q, R>(router: Router, method: &Method<Q, R>, port: AnyService<Call<Q>, R>) -> Router
where
    Q: PortRequest + Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    router.unary(method, Json, move |call: rpc::Call, request: Q| {
        let port = port.clone();
        async move {
            let request = Call {
                request,
                deadline: call.deadline,
                metadata: call.metadata,
            };
            port.call(request).await
        }
    })
}

/// Any port, reached over rpc: a service like the port itself.
pub struct Remote<Q, R> {
    rpc: Rpc,
    path: &'static str,
    clock: Arc<dyn Clock>,
    types: PhantomData<fn(Q) -> R>,
}

impl<Q, R> Remote<Q, R> {
    /// The port that is served under `method`.
    pub fn new(host: &Host, rpc: Rpc, method: &Method<Q, R>) -> Self {
        Self {
            rpc,
            path: method.path(),
            clock: Arc::clone(&host.clock),
            types: PhantomData,
        }
    }
}

impl<Q, R> Clone for Remote<Q, R> {
    fn clone(&self) -> Self {
        Self {
            rpc: self.rpc.clone(),
            path: self.path,
            clock: Arc::clone(&self.clock),
            types: PhantomData,
        }
    }
}

impl<Q, R> std::fmt::Debug for Remote<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remote").field(&self.path).finish()
    }
}

impl<Q, R> Service<Call<Q>> for Remote<Q, R>
where
    Q: PortRequest + Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned + Send + 'static,
{
    type Response = R;
    type Error = Error;
    type Future = Calling<R>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Q>) -> Calling<R> {
        let content_type = Json.preferred();
        let latest = self.clock.now() + call.request.wait() + PATIENCE;
        let encoded = rpc::handler::encode(&Json, content_type, &call.request);
        let rpc = self.rpc.clone();
        let path = self.path;
        Box::pin(async move {
            let request = Request {
                metadata: call.metadata,
                deadline: Some(
                    call.deadline
                        .map_or(latest, |deadline| deadline.min(latest)),
                ),
                is_idempotent: call.request.is_idempotent(),
                ..Request::new(path, content_type, Body::once(encoded?))
            };
            let response = rpc.call(request).await?;
            let bytes: Bytes = response.body.single().await?;
            Json.decode(content_type, &bytes)
        })
    }
}
