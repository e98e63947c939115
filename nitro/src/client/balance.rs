//! Picks a node for each call, and calls it over the connection to that node.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::latest;
use arc_swap::{ArcSwap, Cache};
use tower::Service;

use super::ejection::{Admission, Counted, EjectionPolicy, Says, Standing, Ward, speaks_against};
use super::endpoint::{Dialer, Endpoint};
use crate::address::Address;
use crate::error::{Error, Kind, Result};
use crate::host::Timer;
use crate::host::tasks::TaskGuard;
use crate::registry::{self, Following};
use crate::rpc::wire::Calls;
use crate::rpc::{Request, Response};
use crate::selector::{Candidate, Candidates, Filter, InFlight, Outcome, Pick, Selector};
use crate::service::Calling;
use crate::time::Instant;

/// How long a call waits for a first node to be known, if its deadline does not come first.
const NODES_WAIT: Duration = Duration::from_secs(5);
/// Nodes that one pick passes over because they are down or ejected: enough for any of a small
/// cluster, and where half are out a run of so many is one in 65,536.
const PASSED_OVER_MAX: usize = 16;

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
pub struct Balance {
    cluster: Arc<Cluster>,
    /// The nodes as this clone last saw them: to see that they are the same still is one look, where
    /// to take hold of them would be two exchanges.
    view: Cache<Arc<ArcSwap<View>>, Arc<View>>,
}

struct Cluster {
    service: String,
    dialer: Dialer,
    selector: Box<dyn Selector>,
    filter: Filter,
    attempt_timeout: Option<Duration>,
    ward: Arc<Ward>,
    view: Arc<ArcSwap<View>>,
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
        ejection: EjectionPolicy,
    ) -> Self {
        let (changed, _) = latest::channel(());
        let view = Arc::<ArcSwap<View>>::default();
        let ward = Ward::new(ejection, dialer.host.entropy.next_u64());
        Self::of(Arc::new(Cluster {
            service,
            dialer,
            selector,
            filter,
            attempt_timeout,
            ward,
            view,
            changed,
            following: Mutex::new(None),
        }))
    }

    fn of(cluster: Arc<Cluster>) -> Self {
        let view = Cache::new(Arc::clone(&cluster.view));
        Self { cluster, view }
    }

    /// Replaces the list of nodes. Those that stay keep their connection, their load and their
    /// standing; calls under way to those that go are finished.
    pub fn set(&self, targets: &[Target]) {
        let cluster = &self.cluster;
        let before = cluster.view.load();
        let mut by_id: BTreeMap<&str, &Target> = BTreeMap::new();
        for target in targets {
            by_id.entry(&target.id).or_insert(target);
        }
        let candidates = by_id.values().map(|target| {
            let id = Arc::clone(&target.id);
            Candidate::new(id, target.weight, &*target.version, target.labels.clone())
        });
        let candidates = before.candidates.replaced_by(candidates.collect());
        let candidates = candidates.filtered(&cluster.filter);
        let endpoint = |candidate: &Candidate| {
            let target = by_id[&*candidate.id];
            before.endpoint(target).unwrap_or_else(|| {
                let id = Arc::clone(&target.id);
                let (dialer, ward) = (cluster.dialer.clone(), Arc::clone(&cluster.ward));
                Endpoint::new(id, target.address.clone(), dialer, ward)
            })
        };
        let endpoints: Vec<_> = candidates.as_slice().iter().map(endpoint).collect();
        let stays = |endpoint: &Arc<Endpoint>| {
            let index = candidates.position(endpoint.id());
            index.is_some_and(|index| Arc::ptr_eq(&endpoints[index], endpoint))
        };
        let gone = before.endpoints.iter().filter(|one| !stays(one));
        let retired: Vec<_> = gone.cloned().collect();
        cluster.selector.prepare(&candidates);
        cluster.ward.set_nodes(endpoints.len());
        cluster.view.store(Arc::new(View {
            candidates,
            endpoints,
        }));
        retired.iter().for_each(|endpoint| endpoint.retire());
        cluster.changed.set(());
    }

    /// Keeps the list as the registry has it, until the cluster is dropped or followed anew.
    pub(super) fn follow(&self, following: Following) {
        let cluster = Arc::downgrade(&self.cluster);
        let task = self.cluster.dialer.host.tasks.spawn(
            "balance over the registry",
            Box::pin(keep_current(cluster, following)),
        );
        let mut held = self
            .cluster
            .following
            .lock()
            .expect("no panic while it is held");
        *held = Some(task.abort_on_drop());
    }

    /// The ids of the nodes, sorted.
    pub fn nodes(&self) -> Vec<Arc<str>> {
        let view = self.cluster.view.load();
        let ids = view.candidates.as_slice().iter();
        ids.map(|candidate| Arc::clone(&candidate.id)).collect()
    }

    /// How the nodes do, as this client sees them.
    pub fn health(&self) -> Health {
        let view = self.cluster.view.load();
        let both = view.candidates.as_slice().iter().zip(&view.endpoints);
        let node = |(candidate, endpoint): (&Candidate, &Arc<Endpoint>)| NodeHealth {
            id: Arc::clone(&candidate.id),
            standing: endpoint.record().standing(),
            failures: candidate.load.failures(),
            in_flight: candidate.load.pending(),
        };
        Health {
            nodes: both.map(node).collect(),
            ejections: self.cluster.ward.ejections(),
            is_panicking: self.cluster.ward.is_panicking(),
        }
    }
}

/// How the nodes of a service do, as one client sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Each node, by id.
    pub nodes: Vec<NodeHealth>,
    /// Ejections since the client was made.
    pub ejections: u64,
    /// Whether more than half of the nodes are out, so that ejection is ignored.
    pub is_panicking: bool,
}

impl Health {
    /// How many nodes are ejected: those that calls pass over.
    pub fn ejected(&self) -> usize {
        let is_out = |node: &&NodeHealth| node.standing != Standing::In;
        match self.is_panicking {
            true => 0,
            false => self.nodes.iter().filter(is_out).count(),
        }
    }
}

/// How a node does, as one client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeHealth {
    /// Its id.
    pub id: Arc<str>,
    /// Whether calls go to it.
    pub standing: Standing,
    /// Failures since its last answer.
    pub failures: u32,
    /// Calls under way to it.
    pub in_flight: u32,
}

async fn keep_current(cluster: Weak<Cluster>, mut following: Following) {
    let mut nodes = following.nodes();
    loop {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let targets: Vec<Target> = nodes.iter().map(Target::from).collect();
        Balance::of(cluster).set(&targets);
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

/// A node that was picked for a call.
struct Picked {
    endpoint: Arc<Endpoint>,
    in_flight: InFlight,
    counted: Counted,
}

impl View {
    /// The endpoint to a node, if it is still at the same address.
    fn endpoint(&self, target: &Target) -> Option<Arc<Endpoint>> {
        let index = self.candidates.position(&target.id)?;
        let endpoint = &self.endpoints[index];
        (*endpoint.address() == target.address).then(|| Arc::clone(endpoint))
    }

    fn pick(&self, cluster: &Cluster, request: &Request, now: Instant) -> Option<Picked> {
        let pick = Pick {
            key: request.key,
            avoid: &request.avoid,
            now,
        };
        if cluster.ward.is_due(now) {
            self.begin_trials(&cluster.ward, now);
        }
        let mut index = cluster.selector.select(&self.candidates, &pick)?;
        let mut admission = self.endpoints[index].admit(now);
        if admission == Admission::Refused {
            (index, admission) = self.pick_another(&*cluster.selector, &pick, index);
        }
        Some(Picked {
            endpoint: Arc::clone(&self.endpoints[index]),
            in_flight: self.candidates.as_slice()[index].load.start(now),
            counted: Counted {
                started: now,
                is_trial: admission == Admission::Trial,
            },
        })
    }

    /// What was known of a node's load is from when it failed: a selector that goes by load would
    /// not try it for long.
    #[cold]
    fn begin_trials(&self, ward: &Ward, now: Instant) {
        let records = self.endpoints.iter().map(|endpoint| endpoint.record());
        let candidates = self.candidates.as_slice();
        ward.begin_trials(records, now, |index| candidates[index].load.forget());
    }

    /// Passes over nodes that could not be reached a moment ago, or are ejected, as long as there
    /// are others: a call that is sure to fail there would cost a retry, of which there are only so
    /// many.
    #[cold]
    fn pick_another(
        &self,
        selector: &dyn Selector,
        pick: &Pick<'_>,
        first: usize,
    ) -> (usize, Admission) {
        let mut avoid = pick.avoid.to_vec();
        let mut index = first;
        for _ in 0..PASSED_OVER_MAX {
            avoid.push(Arc::clone(self.endpoints[index].id()));
            let next = Pick {
                avoid: &avoid,
                ..*pick
            };
            match selector.select(&self.candidates, &next) {
                Some(next) if !avoid.contains(self.endpoints[next].id()) => index = next,
                _ => break,
            }
            let admission = self.endpoints[index].admit(pick.now);
            if admission != Admission::Refused {
                return (index, admission);
            }
        }
        (first, Admission::Free)
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
        let cluster = &self.cluster;
        let begun = request.begun;
        let now = begun.unwrap_or_else(|| cluster.dialer.host.clock.now());
        match self.view.load().pick(cluster, &request, now) {
            Some(picked) => Balanced::Calling(cluster.begin(request, picked)),
            None => Balanced::Waiting(Box::pin(cluster.clone().call_when_known(request))),
        }
    }
}

impl Cluster {
    fn begin(&self, mut request: Request, picked: Picked) -> Attempt {
        let (deadline, started) = (request.deadline, picked.counted.started);
        let limit = self.attempt_timeout.map(|timeout| {
            let at = started + timeout;
            // At the call's own deadline it is the call that ends, not one attempt.
            deadline.is_none_or(|deadline| at < deadline).then_some(at)
        });
        let limit = limit.flatten();
        if limit.is_some() && request.is_unary {
            // The node is to know when its answer will be of no use.
            request.deadline = limit;
        }
        let mut request = Some(request);
        let calling = match picked.endpoint.try_call(&mut request, started) {
            Some(calling) => Attempting::Direct(calling),
            None => {
                let request = request.expect("it is left where no call has begun");
                let endpoint = Arc::clone(&picked.endpoint);
                Attempting::Connecting(Box::pin(connect_and_call(endpoint, request)))
            }
        };
        Attempt {
            calling,
            in_flight: Some(picked.in_flight),
            endpoint: picked.endpoint,
            counted: picked.counted,
            deadline,
            limit: limit.map(|at| Box::new(AttemptLimit { at, timer: None })),
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
            let picked = self.view.load().pick(&self, &request, now);
            if let Some(picked) = picked {
                return self.begin(request, picked).await;
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
    counted: Counted,
    deadline: Option<Instant>,
    limit: Option<Box<AttemptLimit>>,
}

/// When an attempt is over that is not answered: boxed, as most have no such limit of their own.
struct AttemptLimit {
    at: Instant,
    /// Set when the attempt first has to wait.
    timer: Option<Box<dyn Timer>>,
}

impl Attempt {
    fn poll_limited(&mut self, context: &mut Context<'_>) -> Poll<Result<Response>> {
        let polled = match &mut self.calling {
            Attempting::Direct(calling) => Pin::new(calling).poll(context),
            Attempting::Connecting(calling) => calling.as_mut().poll(context),
        };
        if polled.is_pending() {
            self.endpoint.settle_doubt();
        }
        let clock = &self.endpoint.host().clock;
        let Some(AttemptLimit { at, timer }) = self.limit.as_deref_mut() else {
            return polled;
        };
        match polled {
            // The node had the same limit, and was a moment ahead in saying so.
            Poll::Ready(Err(error)) if error.kind() == Kind::DeadlineExceeded => {
                let is_late = clock.now() >= *at;
                return Poll::Ready(Err(if is_late { attempt_is_late() } else { error }));
            }
            Poll::Ready(answer) => return Poll::Ready(answer),
            Poll::Pending => {}
        }
        let timer = timer.get_or_insert_with(|| clock.timer(*at));
        ready!(timer.poll_elapsed(context));
        self.endpoint.doubt();
        self.endpoint.settle_doubt();
        Poll::Ready(Err(attempt_is_late()))
    }

    fn count(&mut self, outcome: Outcome, says: Says) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let answered_at = match &self.calling {
            Attempting::Direct(calling) => calling.answered_at(),
            Attempting::Connecting(_) => None,
        };
        let now = answered_at.unwrap_or_else(|| self.endpoint.host().clock.now());
        in_flight.finish(now, outcome);
        let record = self.endpoint.record();
        record.count(self.endpoint.id(), self.counted, now, says);
    }
}

impl Attempt {
    /// Lets the next call try the node that this one was to try.
    #[cold]
    fn count_nothing(&mut self) {
        let now = self.endpoint.host().clock.now();
        let record = self.endpoint.record();
        record.count(self.endpoint.id(), self.counted, now, Says::Nothing);
    }
}

fn attempt_is_late() -> Error {
    Error::unavailable("no answer within the time of one attempt")
}

impl Future for Attempt {
    type Output = Result<Response>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let answer = ready!(this.poll_limited(context));
        let outcome = match &answer {
            Err(error) if speaks_against(error) => Outcome::Failed,
            _ => Outcome::Answered,
        };
        this.count(outcome, Says::of(&answer));
        Poll::Ready(answer.map_err(|error| error.at_node(this.endpoint.id())))
    }
}

impl Drop for Attempt {
    /// A call that is dropped because its time is up speaks against the node; one whose caller
    /// has merely given up says nothing.
    fn drop(&mut self) {
        if self.in_flight.is_none() {
            return;
        }
        let is_late = |deadline| self.endpoint.host().clock.now() >= deadline;
        if self.deadline.is_some_and(is_late) {
            self.endpoint.doubt();
            self.count(Outcome::Failed, Says::Fails);
        } else if self.counted.is_trial {
            self.count_nothing();
        }
    }
}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("service", &self.cluster.service)
            .field("nodes", &self.nodes())
            .finish()
    }
}
