//! A list of nodes that stays current: changes as they come, the old list while nothing comes.

mod view;

use std::sync::Arc;
use std::time::Duration;

use crate::latest;

use self::view::View;
use super::{BACKOFF, Health, Node, Registry, Revision};
use crate::buggify::trick;
use crate::error::{Error, Result};
use crate::host::clock::Elapsed;
use crate::host::tasks::TaskGuard;
use crate::host::{Clock, Entropy, Host};

/// How long one question to the registry waits for a change.
const WAIT: Duration = Duration::from_secs(10);

/// How much longer than it was asked to wait a registry may take before it counts as away.
const LATENESS_MAX: Duration = Duration::from_secs(5);

/// The nodes of a service, kept current by a task. Clones share the task and see the same list;
/// dropping the last ends it.
///
/// While the registry is away the list stays as it was, and [`health`](Following::health) tells.
/// After a restart it comes back knowing nobody: nodes that were listed before stay on this list
/// for half a minute, in which they register again.
#[derive(Clone, Debug)]
pub struct Following {
    followed: latest::Receiver<Followed>,
    _task: Arc<TaskGuard>,
}

#[derive(Clone, Debug)]
struct Followed {
    nodes: Arc<Vec<Node>>,
    health: Health,
    answered: bool,
}

impl Following {
    pub(super) fn start(registry: Registry, host: &Host, service: String) -> Self {
        let (sender, followed) = latest::channel(Followed {
            nodes: Arc::new(Vec::new()),
            health: Health::Starting,
            answered: false,
        });
        let follower = Follower {
            registry,
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            service,
            sender,
        };
        let task = host
            .tasks
            .spawn("follow a service", Box::pin(follower.run()));
        Self {
            followed,
            _task: Arc::new(task.abort_on_drop()),
        }
    }

    /// The nodes by id, as last heard; none before the registry has answered.
    pub fn nodes(&self) -> Arc<Vec<Node>> {
        Arc::clone(&self.followed.get().nodes)
    }

    /// Whether the list is current.
    pub fn health(&self) -> Health {
        self.followed.get().health.clone()
    }

    /// Waits until the registry has answered once, however long that takes: bound it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Kind::Unavailable) when the task has ended with its host.
    pub async fn ready(&mut self) -> Result<()> {
        let answered = |followed: &Followed| followed.answered;
        let waited = self.followed.wait_for(answered).await;
        waited.map(drop).map_err(|_| ended())
    }

    /// Waits until the list is not the one that `seen` is, and answers it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::Kind::Unavailable) when the task has ended with its host.
    pub async fn changed(&mut self, seen: &Arc<Vec<Node>>) -> Result<Arc<Vec<Node>>> {
        let other = |followed: &Followed| !Arc::ptr_eq(&followed.nodes, seen);
        let followed = self.followed.wait_for(other).await.map_err(|_| ended())?;
        Ok(Arc::clone(&followed.nodes))
    }
}

fn ended() -> Error {
    Error::unavailable("registry: the task that follows the service has ended")
}

struct Follower {
    registry: Registry,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    service: String,
    sender: latest::Sender<Followed>,
}

impl Follower {
    /// Asks for changes until it is aborted. One question is out at a time, and each failure
    /// makes the next one wait longer.
    async fn run(self) {
        let mut view = View::default();
        let mut failures = 0;
        loop {
            let asked = self.ask(view.revision()).await;
            let now = self.clock.now();
            match asked {
                Ok(watched) => {
                    failures = 0;
                    view.apply(watched, now);
                    self.publish(&view);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(service = self.service, %error, "the registry is away");
                    self.sender.modify(|followed| {
                        followed.health = followed.health.failing(now, error);
                    });
                    let wait = BACKOFF.backoff(failures, &*self.entropy);
                    self.clock.sleep(wait).await;
                }
            }
        }
    }

    async fn ask(&self, after: Revision) -> Result<super::Watched> {
        let is_short = trick!(self.entropy, "a watch ends early");
        let wait = if is_short { WAIT / 1000 } else { WAIT };
        let watching = self.registry.watch(Some(&self.service), after, wait);
        let watched = self.clock.timeout(WAIT + LATENESS_MAX, watching).await;
        watched.unwrap_or_else(|Elapsed| {
            let limit = WAIT + LATENESS_MAX;
            Err(Error::deadline_exceeded(format!(
                "registry: no answer within {limit:?}"
            )))
        })
    }

    /// Gives out the list, as a new one only if it is another: whoever waits rebuilds tables.
    fn publish(&self, view: &View) {
        let nodes = view.nodes();
        self.sender.modify_if(|followed| {
            let was_good = matches!(followed.health, Health::Good);
            let same = *followed.nodes == nodes;
            followed.health = Health::Good;
            followed.answered = true;
            if !same {
                followed.nodes = Arc::new(nodes);
            }
            !was_good || !same
        });
    }
}

#[cfg(test)]
mod tests;
