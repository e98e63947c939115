//! Picks a node for each call, and calls it over the connection to that node.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::latest;
use arc_swap::ArcSwap;
use tower::Service;

use super::endpoint::{Dialer, Endpoint};
use crate::address::Address;
use crate::error::{Error, Kind, Result};
use crate::host::tasks::TaskGuard;
use crate::registry::{self, Following};
use crate::rpc::wire::Calls;
use crate::rpc::{Request, Response};
use crate::selector::{Candidate, Candidates, Filter, InFlight, Outcome, Pick, Selector};
use crate::service::Calling;
use crate::time::Instant;

/// How long a call waits for a first node to be known, if its deadline does not come first.
const NODES_WAIT: Duration = Duration::from_secs(5);

/// A node that calls may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its id, by which errors name it.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// The version it runs.
    pub version: String,
    /// Its share of the calls, for selectors by weight.
    pub weight: u32,
    /// What it says about itself, for a [`Filter`].
    pub labels: BTreeMap<String, String>,
}

impl Target {
    /// A node at an address, which is its id as well.
    pub fn at(address: Address) -> Self {
        Self {
            id: address.to_string().into(),
            address,
            version: String::new(),
            weight: 1,
            labels: BTreeMap::new(),
        }
    }
}

/// The nodes of a service and how one is picked. A clone is the same cluster.
#[derive(Clone)]
pub struct Balance(Arc<Cluster>);

struct Cluster {
    service: String,
    dialer: Dialer,
    selector: Box<dyn Selector>,
    filter: Filter,
    attempt_timeout: Option<Duration>,
    view: ArcSwap<View>,
    changed: latest::Sender<()>,
    following: Mutex<Option<TaskGuard>>,
}

/// The nodes that pass the filter, and in the same order the endpoints to them.
#[derive(Default)]
struct View {
    candidates: Candidates,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Balance {
    pub(super) fn new(
        service: String,
        dialer: Dialer,
        selector: Box<dyn Selector>,
        filter: Filter,
        attempt_timeout: Option<Duration>,
    ) -> Self {
        let (changed, _) = latest::channel(());
        let view = ArcSwap::default();
        Self(Arc::new(Cluster {
            service,
            dialer,
            selector,
            filter,
            attempt_timeout,
            view,
            changed,
            following: Mutex::new(None),
        }))
    }

    /// Replaces the list of nodes. Those that stay keep their connection and their load; calls
    /// under way to those that go are finished.
    pub fn set(&self, targets: &[Target]) {
        let cluster = &self.0;
        let before = cluster.view.load();
        let candidates = targets.iter().map(|target| {
            let id = Arc::clone(&target.id);
            Candidate::new(id, target.weight, &*target.version, target.labels.clone())
        });
        let candidates = before.candidates.replaced_by(candidates.collect());
        let candidates = candidates.filtered(&cluster.filter);
        let endpoint = |candidate: &Candidate| {
            let named = |target: &&Target| target.id == candidate.id;
            let target = targets
                .iter()
                .find(named)
                .expect("candidates are made of targets");
            before.endpoint(target).unwrap_or_else(|| {
                let id = Arc::clone(&target.id);
                Endpoint::new(id, target.address.clone(), cluster.dialer.clone())
            })
        };
        let endpoints: Vec<_> = candidates.as_slice().iter().map(endpoint).collect();
        let gone =
            |endpoint: &&Arc<Endpoint>| !endpoints.iter().any(|one| Arc::ptr_eq(one, endpoint));
        let retired: Vec<_> = before.endpoints.iter().filter(gone).cloned().collect();
        cluster.view.store(Arc::new(View {
            candidates,
            endpoints,
        }));
        retired.iter().for_each(|endpoint| endpoint.retire());
        cluster.changed.set(());
    }

    /// Keeps the list as the registry has it, until the cluster is dropped or followed anew.
    pub(super) fn follow(&self, following: Following) {
        let cluster = Arc::downgrade(&self.0);
        let task = self.0.dialer.host.tasks.spawn(
            "balance over the registry",
            Box::pin(keep_current(cluster, following)),
        );
        let mut held = self.0.following.lock().expect("no panic while it is held");
        *held = Some(task.abort_on_drop());
    }

    /// The ids of the nodes, sorted.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let view = self.0.view.load();
        let ids = view.candidates.as_slice().iter();
        ids.map(|candidate| Arc::clone(&candidate.id)).collect()
    }
}

async fn keep_current(cluster: Weak<Cluster>, mut following: Following) {
    let mut nodes = following.nodes();
    loop {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let targets: Vec<Target> = nodes.iter().map(Target::from).collect();
        Balance(cluster).set(&targets);
        match following.changed(&nodes).await {
            Ok(changed) => nodes = changed,
            Err(_) => return,
        }
    }
}

impl From<&registry::Node> for Target {
    fn from(node: &registry::Node) -> Self {
        Self {
            id: node.id.as_str().into(),
            address: node.address.clone(),
            version: node.version.clone(),
            weight: node.weight,
            labels: node.labels.clone(),
        }
    }
}

impl View {
    /// The endpoint to a node, if it is still at the same address.
    fn endpoint(&self, target: &Target) -> Option<Arc<Endpoint>> {
        let same =
            |one: &&Arc<Endpoint>| *one.id() == target.id && *one.address() == target.address;
        self.endpoints.iter().find(same).cloned()
    }

    fn pick(
        &self,
        selector: &dyn Selector,
        request: &Request,
        now: Instant,
    ) -> Option<(InFlight, Arc<Endpoint>)> {
        let pick = Pick {
            key: request.key,
            avoid: &request.avoid,
            now,
        };
        let mut index = selector.select(&self.candidates, &pick)?;
        if self.endpoints[index].is_down(now) {
            index = self.pick_another(selector, &pick, index);
        }
        let in_flight = self.candidates.as_slice()[index].load.start(now);
        Some((in_flight, Arc::clone(&self.endpoints[index])))
    }
}

impl View {
    /// Passes over nodes that could not be reached a moment ago, as long as there are others: a
    /// call that is sure to fail there would cost a retry, of which there are only so many.
    #[cold]
    fn pick_another(&self, selector: &dyn Selector, pick: &Pick<'_>, first: usize) -> usize {
        let mut avoid = pick.avoid.to_vec();
        let mut index = first;
        while self.endpoints[index].is_down(pick.now) {
            avoid.push(Arc::clone(self.endpoints[index].id()));
            let next = Pick {
                avoid: &avoid,
                ..*pick
            };
            match selector.select(&self.candidates, &next) {
                Some(next) if !avoid.contains(self.endpoints[next].id()) => index = next,
                _ => return first,
            }
        }
        index
    }
}

impl Service<Request> for Balance {
    type Response = Response;
    type Error = Error;
    type Future = Balanced;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Balanced {
        let now = self.0.dialer.host.clock.now();
        let view = self.0.view.load();
        match view.pick(&*self.0.selector, &request, now) {
            Some((in_flight, endpoint)) => {
                Balanced::Calling(self.0.begin(request, in_flight, endpoint, now))
            }
            None => Balanced::Waiting(Box::pin(self.0.clone().call_when_known(request))),
        }
    }
}

impl Cluster {
    fn begin(
        &self,
        request: Request,
        in_flight: InFlight,
        endpoint: Arc<Endpoint>,
        now: Instant,
    ) -> Attempt {
        let deadline = request.deadline;
        let calling = match endpoint.try_call(request, now) {
            Ok(calling) => Attempting::Direct(calling),
            Err(request) => {
                let endpoint = Arc::clone(&endpoint);
                Attempting::Connecting(Box::pin(connect_and_call(endpoint, request)))
            }
        };
        let limit = self.attempt_timeout.map(|timeout| {
            let at = now + timeout;
            // At the call's own deadline it is the call that ends, not one attempt.
            deadline.is_none_or(|deadline| at < deadline).then_some(at)
        });
        Attempt {
            calling,
            in_flight: Some(in_flight),
            endpoint,
            deadline,
            limit: limit.flatten(),
            timer: None,
        }
    }

    async fn call_when_known(self: Arc<Self>, request: Request) -> Result<Response> {
        let clock = Arc::clone(&self.dialer.host.clock);
        let until = clock.now() + NODES_WAIT;
        let until = request
            .deadline
            .map_or(until, |deadline| deadline.min(until));
        let mut changed = self.changed.subscribe();
        loop {
            let now = clock.now();
            let picked = self.view.load().pick(&*self.selector, &request, now);
            if let Some((in_flight, endpoint)) = picked {
                return self.begin(request, in_flight, endpoint, now).await;
            }
            if clock.timeout_at(until, changed.changed()).await.is_err() {
                let message = format!("no node of {:?} is known", self.service);
                return Err(Error::unavailable(message).unsent());
            }
        }
    }
}

async fn connect_and_call(endpoint: Arc<Endpoint>, request: Request) -> Result<Response> {
    let mut connection = endpoint.connect().await?;
    connection.call(request).await
}

/// A call on its way to a node.
pub enum Balanced {
    /// A node was known.
    Calling(Attempt),
    /// None was; it waits for one.
    Waiting(Calling<Response>),
}

impl Future for Balanced {
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Balanced::Calling(attempt) => Pin::new(attempt).poll(context),
            Balanced::Waiting(calling) => calling.as_mut().poll(context),
        }
    }
}

enum Attempting {
    Direct(Calls),
    Connecting(Calling<Response>),
}

/// One attempt at one node, whose outcome is counted for that node.
pub struct Attempt {
    calling: Attempting,
    in_flight: Option<InFlight>,
    endpoint: Arc<Endpoint>,
    deadline: Option<Instant>,
    limit: Option<Instant>,
    timer: Option<Box<dyn crate::host::Timer>>,
}

impl Attempt {
    fn poll_limited(&mut self, context: &mut Context<'_>) -> Poll<Result<Response>> {
        let polled = match &mut self.calling {
            Attempting::Direct(calling) => Pin::new(calling).poll(context),
            Attempting::Connecting(calling) => calling.as_mut().poll(context),
        };
        if polled.is_ready() {
            return polled;
        }
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let clock = &self.endpoint.host().clock;
        let timer = self.timer.get_or_insert_with(|| clock.timer(limit));
        ready!(timer.poll_elapsed(context));
        Poll::Ready(Err(Error::unavailable(
            "no answer within the time of one attempt",
        )))
    }

    fn count(&mut self, outcome: Outcome) {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.finish(self.endpoint.host().clock.now(), outcome);
        }
    }
}

impl Future for Attempt {
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = ready!(this.poll_limited(context));
        this.count(match &answer {
            Err(error) if is_failure(error.kind()) => Outcome::Failed,
            _ => Outcome::Answered,
        });
        Poll::Ready(answer.map_err(|error| error.at_node(this.endpoint.id())))
    }
}

/// Whether an error speaks against the node rather than against the call.
fn is_failure(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Unavailable
            | Kind::DeadlineExceeded
            | Kind::Internal
            | Kind::Unknown
            | Kind::DataLoss
    )
}

impl Drop for Attempt {
    /// A call that is dropped because its time is up speaks against the node; one whose caller
    /// has merely given up says nothing.
    fn drop(&mut self) {
        let is_late = |deadline| self.endpoint.host().clock.now() >= deadline;
        if self.in_flight.is_some() && self.deadline.is_some_and(is_late) {
            self.count(Outcome::Failed);
        }
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("service", &self.0.service)
            .field("nodes", &self.nodes())
            .finish()
    }
}
