//! A node that stays registered: heartbeats, and registering again after a loss.

use std::sync::Arc;
use std::time::Duration;

use crate::latest;

use super::{BACKOFF, Health, Node, Registry};
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::{Error, Kind, Result};
use crate::host::clock::Elapsed;
use crate::host::{Clock, Entropy, Host, Task};

/// The longest that one exchange with the registry may take, whatever the time to live.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);

/// A node that is kept registered by a task. Dropping it stops the heartbeats, and the node
/// expires; [`deregister`](Registration::deregister) takes it off the list at once.
#[derive(Debug)]
pub struct Registration {
    keeper: Arc<Keeper>,
    health: latest::Receiver<Health>,
    task: Option<Task>,
}

struct Keeper {
    registry: Registry,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    node: Node,
    ttl: Duration,
}

impl Registration {
    pub(super) fn start(registry: Registry, host: &Host, node: Node, ttl: Duration) -> Self {
        let keeper = Arc::new(Keeper {
            registry,
            clock: Arc::clone(&host.clock),
            entropy: Arc::clone(&host.entropy),
            node,
            ttl,
        });
        let (sender, health) = latest::channel(Health::Starting);
        let keeping = Arc::clone(&keeper);
        let run = Box::pin(async move { keeping.run(&sender).await });
        let task = host.tasks.spawn("keep a registration", run);
        Self {
            keeper,
            health,
            task: Some(task),
        }
    }

    /// The node that is kept registered.
    pub fn node(&self) -> &Node {
        &self.keeper.node
    }

    /// Whether the registry lists the node, as far as is known here. A node that is not listed
    /// gets no calls, however well it is otherwise.
    pub fn health(&self) -> Health {
        self.health.get().clone()
    }

    /// Waits until the node is registered, however long that takes: bound it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](Kind::Unavailable) when the task that registers has ended, because its
    /// host went down.
    pub async fn registered(&mut self) -> Result<()> {
        let good = |health: &Health| matches!(health, Health::Good);
        let waited = self.health.wait_for(good).await;
        waited.map(drop).map_err(|_| {
            Error::unavailable("registry: the task that keeps the registration has ended")
        })
    }

    /// Stops the heartbeats and takes the node off the list.
    ///
    /// # Errors
    ///
    /// When the registry cannot be reached within a few seconds: the node then expires.
    pub async fn deregister(mut self) -> Result<()> {
        if let Some(task) = self.task.take() {
            task.abort();
            // A heartbeat that is on its way is dropped before the node says good-bye.
            task.join().await;
        }
        let Keeper { registry, node, .. } = &*self.keeper;
        let deregistering = registry.deregister(&node.service, &node.id);
        let deregistered = self.keeper.clock.timeout(EXCHANGE_MAX, deregistering).await;
        deregistered
            .unwrap_or_else(|Elapsed| Err(unanswered(EXCHANGE_MAX)))
            .map(drop)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Keeper {
    /// Registers, sends heartbeats, and registers again when the registry does not know the node
    /// any more. It ends with its host.
    async fn run(&self, health: &latest::Sender<Health>) {
        let mut listed = false;
        let mut failures = 0;
        loop {
            let wait = match self.exchange(listed).await {
                Ok(()) => {
                    (listed, failures) = (true, 0);
                    health.set(Health::Good);
                    self.third_of_ttl()
                }
                Err(error) => {
                    let lost = listed && error.kind() == Kind::NotFound;
                    tracing::warn!(node = self.node.id, %error, lost, "registration is failing");
                    let now = self.clock.now();
                    health.modify(|health| *health = health.failing(now, error));
                    failures += 1;
                    point!(
                        Sometimes,
                        lost,
                        "a node that fails to register was listed before"
                    );
                    if lost {
                        // Registering cannot be answered with "not found": this does not repeat.
                        listed = false;
                        continue;
                    }
                    BACKOFF
                        .backoff(failures, &*self.entropy)
                        .min(self.third_of_ttl())
                }
            };
            self.clock.sleep(wait).await;
        }
    }

    async fn exchange(&self, listed: bool) -> Result<()> {
        let Self {
            registry,
            node,
            ttl,
            ..
        } = self;
        let exchange = async {
            match listed {
                true => registry.heartbeat(&node.service, &node.id, *ttl).await,
                false => registry.register(node.clone(), *ttl).await.map(drop),
            }
        };
        let limit = (*ttl / 3).clamp(Duration::from_millis(1), EXCHANGE_MAX);
        let exchanged = self.clock.timeout(limit, exchange).await;
        exchanged.unwrap_or_else(|Elapsed| Err(unanswered(limit)))
    }

    /// A third of the time to live, 20 % more or less, so that nodes which started together do
    /// not go on asking together; two more heartbeats may be lost before the node expires.
    fn third_of_ttl(&self) -> Duration {
        let unit = (self.entropy.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let missed = u32::from(trick!(self.entropy, "a heartbeat is left out"));
        let third = (self.ttl / 3).mul_f64(0.8 + 0.4 * unit) * (1 + missed);
        third.max(Duration::from_millis(1))
    }
}

fn unanswered(limit: Duration) -> Error {
    Error::deadline_exceeded(format!("registry: no answer within {limit:?}"))
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper")
            .field("node", &self.node)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
