//! Agreement on who may: locks, semaphores and leadership, as leases with fencing tokens.
//!
//! A lease is held for a time and renewed; when its holder is gone it ends by itself. Because a
//! holder can stand still for longer than its lease without knowing, holding one proves nothing
//! to others: each lease comes with a token higher than any before it under its name, and whoever
//! is written to refuses a token lower than one it has seen. The [`Fence`] of a guard is what a
//! store's commit takes for that.
//!
//! What an application holds is a [`Leases`], and for each lease a [`Guard`], which renews it and
//! tells when it is lost: at the latest when it ends by the holder's own clock.
//!
//! Who asks first is not promised to be granted first.

mod guard;
mod memory;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tower::Service;

pub use self::guard::Guard;
pub use self::memory::{Limits, Memory};
use crate::error::{Error, Kind, Result};
use crate::host::Host;
pub use crate::port::Fence;
use crate::port::{Call, PortRequest, millis};
use crate::service::AnyService;

/// The longest name, owner or note.
pub const NAME_BYTES_MAX: usize = 255;

/// The shortest lease: renewals take time.
pub const TTL_MIN: Duration = Duration::from_millis(10);

/// The longest lease: a holder that is gone for a day is gone.
pub const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest that one question waits, however long it asks for.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// The most holders of one name at a time.
pub const PERMITS_MAX: u32 = 1_000;

/// What is asked about leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Hold a lease, waiting for it if need be. The same owner asking again has the same lease.
    Acquire {
        /// What is leased.
        name: String,
        /// Who asks: an id that nobody else has.
        owner: String,
        /// What others are told about the holder.
        note: String,
        /// How many may hold it at a time, in the eyes of who asks; 1 for a lock.
        permits: u32,
        /// How long it is held without being renewed, in milliseconds.
        ttl_ms: u64,
        /// How long to wait for it, in milliseconds; see [`WAIT_MAX`].
        wait_ms: u64,
    },
    /// Hold it for longer.
    Renew {
        /// What is leased.
        name: String,
        /// Who holds it.
        owner: String,
        /// For how long from now, in milliseconds.
        ttl_ms: u64,
    },
    /// Hold it no longer.
    Release {
        /// What is leased.
        name: String,
        /// Who holds it.
        owner: String,
    },
    /// Who holds it, waiting until that is other than what is known.
    Observe {
        /// What is leased.
        name: String,
        /// The tokens of the holders that are known, in order.
        seen: Vec<u64>,
        /// How long to wait, in milliseconds; see [`WAIT_MAX`].
        wait_ms: u64,
    },
}

impl PortRequest for Request {
    fn name(&self) -> &'static str {
        match self {
            Request::Acquire { .. } => "sync/acquire",
            Request::Renew { .. } => "sync/renew",
            Request::Release { .. } => "sync/release",
            Request::Observe { .. } => "sync/observe",
        }
    }

    /// Releasing is not: the second time there is nothing to release, which is an error.
    fn is_idempotent(&self) -> bool {
        !matches!(self, Request::Release { .. })
    }

    fn wait(&self) -> Duration {
        match self {
            Request::Acquire { wait_ms, .. } | Request::Observe { wait_ms, .. } => {
                Duration::from_millis(*wait_ms).min(WAIT_MAX)
            }
            _ => Duration::ZERO,
        }
    }
}

/// What is answered about leases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Acquire`]: it is held, with this token.
    Granted(u64),
    /// To [`Request::Acquire`]: others held it until the wait was over.
    Busy,
    /// To [`Request::Renew`].
    Renewed,
    /// To [`Request::Release`].
    Released,
    /// To [`Request::Observe`].
    Observed(Vec<Holder>),
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its token.
    pub token: u64,
    /// What it says about itself.
    pub note: String,
    /// How much of the lease is left, in milliseconds.
    pub left_ms: u64,
}

impl Request {
    /// Checks it against the limits of the port; backends do so before anything else.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Kind::InvalidArgument), saying what is wrong and what is right.
    pub fn check(&self) -> Result<()> {
        match self {
            Request::Acquire {
                name,
                owner,
                note,
                permits,
                ttl_ms,
                ..
            } => {
                check_text("name", name, 1)?;
                check_text("owner", owner, 1)?;
                check_text("note", note, 0)?;
                if !(1..=PERMITS_MAX).contains(permits) {
                    let message = format!("{permits} permits: expected 1 to {PERMITS_MAX}");
                    return Err(wrong(message));
                }
                check_ttl(*ttl_ms)
            }
            Request::Renew {
                name,
                owner,
                ttl_ms,
            } => {
                check_text("name", name, 1)?;
                check_text("owner", owner, 1)?;
                check_ttl(*ttl_ms)
            }
            Request::Release { name, owner } => {
                check_text("name", name, 1)?;
                check_text("owner", owner, 1)
            }
            Request::Observe { name, .. } => check_text("name", name, 1),
        }
    }
}

fn check_text(what: &str, text: &str, least: usize) -> Result<()> {
    let length = text.len();
    if !(least..=NAME_BYTES_MAX).contains(&length) {
        let expected = format!("expected {least} to {NAME_BYTES_MAX}");
        return Err(wrong(format!("a {what} of {length} bytes: {expected}")));
    }
    if text.contains('\0') {
        let shown = text.escape_debug();
        return Err(wrong(format!("the {what} \"{shown}\" has a NUL")));
    }
    Ok(())
}

fn check_ttl(ttl_ms: u64) -> Result<()> {
    if !(TTL_MIN..=TTL_MAX).contains(&Duration::from_millis(ttl_ms)) {
        return Err(wrong(format!(
            "a lease of {ttl_ms} ms: expected {} to {}; a guard renews it",
            TTL_MIN.as_millis(),
            TTL_MAX.as_millis()
        )));
    }
    Ok(())
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("sync: {what}"))
}

/// The error of a renewal or a release by someone who does not hold the lease. `is_held` tells
/// whether somebody else does.
pub(crate) fn not_held(name: &str, is_held: bool) -> Error {
    let name = name.escape_debug();
    match is_held {
        true => Error::failed_precondition(format!(
            "sync: \"{name}\" is held, but not by this owner: its lease has ended or was another's"
        )),
        false => Error::not_found(format!(
            "sync: \"{name}\" is not held: the lease has ended or was released"
        )),
    }
}

/// On which terms a lease is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How long it is held without being renewed.
    pub ttl: Duration,
    /// How long to wait for it; zero to only try.
    pub wait: Duration,
    /// How many may hold it at a time; 1 for a lock.
    pub permits: u32,
    /// What others are told about the holder.
    pub note: String,
}

impl Default for Terms {
    /// A lock for ten seconds at a time, waited for half a minute.
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            wait: Duration::from_secs(30),
            permits: 1,
            note: String::new(),
        }
    }
}

/// Leases, wherever they are kept. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> nitro::Result<()> {
/// use nitro::store::{Condition, Store};
/// use nitro::sync::{Leases, Terms};
///
/// let host = nitro::host::tokio::host();
/// let (leases, store) = (Leases::memory(&host), Store::memory(&host));
/// let guard = leases.acquire(&host, "report", Terms::default()).await?;
///
/// // Should the lease have been lost and gone to another, the store refuses this.
/// let reports = store.table("office", "reports");
/// reports.write_fenced(guard.fence(), "today", "all is well", Condition::Always).await?;
/// guard.release().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Leases(AnyService<Call<Request>, Reply>);

impl Leases {
    /// A handle on any service that answers about leases.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call<Request>, Response = Reply> + Clone + Send + Sync + 'static,
        S::Error: Into<Error>,
        S::Future: Send,
    {
        Self(AnyService::new(service))
    }

    /// Leases of this process, which end with it.
    pub fn memory(host: &Host) -> Self {
        Self::new(Memory::new(host, Limits::default()))
    }

    /// Waits for a lease and keeps it renewed.
    ///
    /// # Errors
    ///
    /// [`DeadlineExceeded`](Kind::DeadlineExceeded) when others held it for all of the wait,
    /// [`InvalidArgument`](Kind::InvalidArgument) for terms out of range,
    /// [`ResourceExhausted`](Kind::ResourceExhausted) when there are too many leases or waiters.
    ///
    /// # Cancellation
    ///
    /// A lease that is granted to who waits no more ends after its time.
    pub async fn acquire(&self, host: &Host, name: &str, terms: Terms) -> Result<Guard> {
        let wait = terms.wait;
        let found = guard::acquire(self, host, name, terms).await?;
        found.ok_or_else(|| {
            let name = name.escape_debug();
            let message = format!("sync: \"{name}\" was held by others for all of {wait:?}");
            Error::deadline_exceeded(message)
        })
    }

    /// Takes a lease if it is free, and keeps it renewed.
    ///
    /// # Errors
    ///
    /// As [`Leases::acquire`]. That others hold it is not an error.
    pub async fn try_acquire(
        &self,
        host: &Host,
        name: &str,
        terms: Terms,
    ) -> Result<Option<Guard>> {
        let wait = Duration::ZERO;
        guard::acquire(self, host, name, Terms { wait, ..terms }).await
    }

    /// Stands for election and waits, however long it takes, to become leader. Resigning is
    /// releasing; `candidate` is what those who observe are told.
    ///
    /// # Errors
    ///
    /// As [`Leases::acquire`].
    pub async fn campaign(
        &self,
        host: &Host,
        election: &str,
        candidate: impl Into<String>,
        ttl: Duration,
    ) -> Result<Guard> {
        let terms = Terms {
            ttl,
            wait: Duration::MAX,
            permits: 1,
            note: candidate.into(),
        };
        self.acquire(host, election, terms).await
    }

    /// Who holds a lease, in the order of tokens: at once if the tokens are not those of `seen`,
    /// else as soon as they are others, and after `wait` or [`WAIT_MAX`] as they are. Holders
    /// that come and go between two questions are not told of.
    ///
    /// # Errors
    ///
    /// When the leases cannot be reached, or have too many waiters.
    pub async fn observe(&self, name: &str, seen: &[u64], wait: Duration) -> Result<Vec<Holder>> {
        let request = Request::Observe {
            name: name.to_owned(),
            seen: seen.to_vec(),
            wait_ms: millis(wait),
        };
        match self.ask(request).await? {
            Reply::Observed(holders) => Ok(holders),
            other => Err(unexpected("observe", &other)),
        }
    }

    /// Asks any of its requests.
    ///
    /// # Errors
    ///
    /// What the request's own method says.
    pub async fn ask(&self, request: Request) -> Result<Reply> {
        self.0.call(Call::new(request)).await
    }

    /// The service behind the handle, to be served to others or put under layers.
    pub fn service(&self) -> AnyService<Call<Request>, Reply> {
        self.0.clone()
    }
}

/// Whether an error says that a lease is lost for certain.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::FailedPrecondition)
}

fn unexpected(asked: &str, reply: &Reply) -> Error {
    Error::internal(format!("sync: {asked} was answered with {reply:?}"))
}
