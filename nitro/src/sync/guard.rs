//! A lease that is kept: renewed by a task, and told to be lost when it is.

use std::sync::Arc;
use std::time::Duration;

use super::{Fence, Leases, Reply, Request, Terms, WAIT_MAX, is_lost, unexpected};
use crate::assertion::point;
use crate::buggify::trick;
use crate::error::{Error, Result};
use crate::host::clock::Elapsed;
use crate::host::tasks::TaskGuard;
use crate::host::{Clock, Entropy, Host};
use crate::latest;
use crate::port::{millis, millis_at_least};
use crate::time::Instant;

/// The part of a lease that its holder does not count on: clocks run unequally fast, and the
/// holder must not think itself one for longer than everybody else does.
const MARGIN: u32 = 50;

/// How long a lease that could not be acquired is given back.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// A lease that is held. Dropping it stops the renewals, and the lease ends after its time;
/// [`release`](Guard::release) ends it at once.
#[derive(Debug)]
pub struct Guard {
    lease: Arc<Lease>,
    token: u64,
    /// When the lease ends, as far as is known here; [`LOST`] when it has.
    until: latest::Receiver<Instant>,
    _task: TaskGuard,
}

/// Before any time at which a lease could end.
const LOST: Instant = Instant::ORIGIN;

struct Lease {
    leases: Leases,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    name: String,
    owner: String,
    ttl: Duration,
}

/// Waits for a lease; answers none when others held it until the wait was over.
pub(super) async fn acquire(
    leases: &Leases,
    host: &Host,
    name: &str,
    terms: Terms,
) -> Result<Option<Guard>> {
    let lease = Lease {
        leases: leases.clone(),
        clock: Arc::clone(&host.clock),
        entropy: Arc::clone(&host.entropy),
        name: name.to_owned(),
        owner: host.entropy.id(),
        ttl: terms.ttl,
    };
    let give_up_at = host.clock.now() + terms.wait;
    loop {
        let asked_at = host.clock.now();
        let wait = give_up_at.since(asked_at).min(WAIT_MAX);
        let request = Request::Acquire {
            name: lease.name.clone(),
            owner: lease.owner.clone(),
            note: terms.note.clone(),
            permits: terms.permits,
            ttl_ms: millis(terms.ttl),
            wait_ms: millis_at_least(wait),
        };
        match leases.ask(request).await {
            Ok(Reply::Granted(token)) => {
                // The lease may have been granted at any moment since it was asked for. If it was
                // long ago it is renewed first, so that a guard never begins lost.
                let sure = lease.end(asked_at);
                let is_fresh = sure.since(host.clock.now()) > terms.ttl / 2;
                let renewed = match is_fresh {
                    true => Ok(sure),
                    false => lease.renew().await,
                };
                let until = match renewed {
                    Ok(until) => until,
                    Err(error) if is_lost(&error) => continue,
                    Err(error) => return Err(lease.give_back(error).await),
                };
                return Ok(Some(Guard::start(host, lease, token, until)));
            }
            Ok(Reply::Busy) if host.clock.now() < give_up_at => {}
            Ok(Reply::Busy) => return Ok(None),
            Ok(other) => return Err(unexpected("acquire", &other)),
            Err(error) => return Err(lease.give_back(error).await),
        }
    }
}

impl Lease {
    /// When a lease that was asked for at a time ends at the earliest.
    fn end(&self, asked_at: Instant) -> Instant {
        asked_at + (self.ttl - self.ttl / MARGIN)
    }

    /// Renews it once; answers until when.
    async fn renew(&self) -> Result<Instant> {
        let asked_at = self.clock.now();
        let request = Request::Renew {
            name: self.name.clone(),
            owner: self.owner.clone(),
            ttl_ms: millis(self.ttl),
        };
        match self.leases.ask(request).await? {
            Reply::Renewed => Ok(self.end(asked_at)),
            other => Err(unexpected("renew", &other)),
        }
    }

    async fn release(&self) -> Result<()> {
        let request = Request::Release {
            name: self.name.clone(),
            owner: self.owner.clone(),
        };
        match self.leases.ask(request).await? {
            Reply::Released => Ok(()),
            other => Err(unexpected("release", &other)),
        }
    }

    /// Gives back what may have been granted although the answer was an error.
    async fn give_back(&self, error: Error) -> Error {
        if error.kind() != crate::error::Kind::InvalidArgument {
            // If this is not heard either, the lease ends after its time.
            let _ = self.clock.timeout(GIVE_BACK, self.release()).await;
        }
        error
    }

    /// Renews until the lease is lost: because it is said so, or because its time is over.
    async fn keep(&self, sender: &latest::Sender<Instant>, until: Instant) {
        let mut until = until;
        let pause = self.ttl / 3;
        loop {
            let next = (self.clock.now() + pause).min(until);
            self.clock.sleep_until(next).await;
            let is_early = trick!(self.entropy, "a lease ends before its time");
            if is_early || self.clock.now() >= until {
                break;
            }
            let limit = (self.clock.now() + pause).min(until);
            match self.clock.timeout_at(limit, self.renew()).await {
                // An answer that took longer than the lease is one about the past.
                Ok(Ok(renewed)) if self.clock.now() < until.max(renewed) => {
                    until = until.max(renewed);
                    sender.set(until);
                }
                Ok(Err(error)) if is_lost(&error) => break,
                Ok(Ok(_) | Err(_)) | Err(Elapsed) => {
                    tracing::warn!(name = self.name, "a lease could not be renewed");
                }
            }
        }
        point!(Reachable, true, "a lease is lost");
        tracing::warn!(name = self.name, "a lease is lost");
        sender.set(LOST);
    }
}

impl Guard {
    fn start(host: &Host, lease: Lease, token: u64, until: Instant) -> Self {
        let lease = Arc::new(lease);
        let (sender, receiver) = latest::channel(until);
        let keeping = Arc::clone(&lease);
        let keep = Box::pin(async move { keeping.keep(&sender, until).await });
        let task = host.tasks.spawn("keep a lease", keep);
        Self {
            lease,
            token,
            until: receiver,
            _task: task.abort_on_drop(),
        }
    }

    /// What is leased.
    pub fn name(&self) -> &str {
        &self.lease.name
    }

    /// The token: higher than that of any lease of this name before.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// What a store's commit takes, to refuse it once another holder has committed.
    pub fn fence(&self) -> Fence {
        Fence {
            name: self.lease.name.clone(),
            token: self.token,
        }
    }

    /// Whether it is held now, by this host's own clock. It may be lost the next moment: what is
    /// done on the strength of it needs the [`fence`](Guard::fence).
    pub fn is_held(&self) -> bool {
        self.lease.clock.now() < self.until.get()
    }

    /// Waits until it is lost: at the latest when it ends by this host's own clock.
    pub async fn lost(&self) {
        let mut until = self.until.clone();
        loop {
            until.mark_seen();
            let end = until.get();
            if self.lease.clock.now() >= end {
                return;
            }
            tokio::select! {
                biased;
                changed = until.changed() => {
                    // The task that renews is gone, so the lease runs out.
                    if changed.is_err() {
                        self.lease.clock.sleep_until(end).await;
                    }
                }
                () = self.lease.clock.sleep_until(end) => {}
            }
        }
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::Kind::NotFound) or
    /// [`FailedPrecondition`](crate::Kind::FailedPrecondition) when it had been lost, or what
    /// keeps the leases from being reached: it then ends after its time.
    pub async fn release(self) -> Result<()> {
        let Self { lease, _task, .. } = self;
        // No renewal may follow the release.
        drop(_task);
        let limit = lease.ttl.max(GIVE_BACK);
        let released = lease.clock.timeout(limit, lease.release()).await;
        released.unwrap_or_else(|Elapsed| {
            let message = format!("sync: no answer to a release within {limit:?}");
            Err(Error::deadline_exceeded(message))
        })
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
