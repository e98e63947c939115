//! One node as a client sees it: one multiplexed connection, opened on demand, and another in its
//! place when it has gone mute.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crate::latest;
use arc_swap::ArcSwapOption;

use super::ejection::{Admission, Record, Ward};
use crate::address::Address;
use crate::buggify::trick;
use crate::error::{Error, Result};
use crate::host::entropy::Sequence;
use crate::host::{Clock, Host};
use crate::rpc::Request;
use crate::rpc::wire::{Calls, Connection, Limits};
use crate::time::Instant;
use crate::transport::Transport;

/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer may be silent after a PING before another connection is opened beside.
const MUTE_AFTER: Duration = Duration::from_secs(1);
/// The wait after the first failure to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// By how much each wait is longer than the one before, as in gRPC's connection backoff.
const BACKOFF_MULTIPLIER: f64 = 1.6;
/// The longest wait: a node that is back is found again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(3);
/// Each wait is longer or shorter by up to this share, so that clients disperse.
const BACKOFF_JITTER: f64 = 0.2;
/// When a connection was opened so long ago, the failures before it are forgotten. Well past the
/// longest wait, so that one which closed at once and was waited for is not taken to have lasted.
const STEADY: Duration = Duration::from_secs(8);

/// What an endpoint needs to connect.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) host: Host,
    pub(super) transport: Transport,
    pub(super) limits: Limits,
}

/// A node and the connection to it.
pub(super) struct Endpoint {
    id: Arc<str>,
    address: Address,
    dialer: Dialer,
    connection: ArcSwapOption<Connection>,
    dial: Mutex<Dial>,
    /// Until when calls had better go elsewhere, in nanoseconds of this host's clock.
    down_until: AtomicU64,
    doubt: Doubt,
    record: Record,
    jitter: Sequence,
}

#[derive(Default)]
struct Dial {
    /// The attempt under way; it tells how it ended.
    running: Option<latest::Receiver<Option<Result<()>>>>,
    failures: u32,
    not_before: Instant,
    opened_at: Instant,
    /// Why the last attempt failed.
    failed: Option<Error>,
}

impl Endpoint {
    pub(super) fn new(
        id: Arc<str>,
        address: Address,
        dialer: Dialer,
        ward: Arc<Ward>,
    ) -> Arc<Self> {
        let jitter = Sequence::from_seed(dialer.host.entropy.next_u64());
        Arc::new(Self {
            id,
            address,
            dialer,
            connection: ArcSwapOption::empty(),
            dial: Mutex::new(Dial::default()),
            down_until: AtomicU64::new(0),
            doubt: Doubt::default(),
            record: Record::new(ward),
            jitter,
        })
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether a call may go here: not where it could not be reached a moment ago and is not to be
    /// tried again just yet, nor where it is ejected.
    pub(super) fn admit(&self, now: Instant) -> Admission {
        match self.down_until.load(Ordering::Relaxed) > now.as_nanos() {
            true => Admission::Refused,
            false => self.record.admit(),
        }
    }

    /// How it does.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    fn down_until(&self, until: Instant) {
        self.down_until.store(until.as_nanos(), Ordering::Relaxed);
    }

    /// Begins a call now, or leaves it where there is no connection that takes it.
    pub(super) fn try_call(&self, request: &mut Option<Request>, now: Instant) -> Option<Calls> {
        self.connection.load().as_ref()?.try_call(request, now)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.dialer.host.clock)
    }

    /// The host that calls from here.
    pub(super) fn host(&self) -> &Host {
        &self.dialer.host
    }

    /// The connection, if there is one that takes calls.
    pub(super) fn open_connection(&self) -> Option<Connection> {
        let connection = self.connection.load();
        let connection = connection.as_ref()?;
        connection.is_open().then(|| Connection::clone(connection))
    }

    /// The connection, opened if there is none. All callers share one attempt, which goes on when
    /// they give up; after a failure there is a wait, in which this fails at once.
    pub(super) async fn connect(self: Arc<Self>) -> Result<Connection> {
        if let Some(connection) = self.open_connection() {
            return Ok(connection);
        }
        let mut running = self.running_dial()?;
        let ended = running.wait_for(Option::is_some).await;
        let gone = |what: &str| Error::unavailable(format!("{} {what}", self.address)).unsent();
        let ended = ended.map_err(|_| gone("is no longer being connected to"))?;
        ended.clone().expect("waited until it is there")?;
        // Not in a loop: a node that opens connections only to close them is not to be asked
        // again and again within one call.
        let connection = self.open_connection();
        connection.ok_or_else(|| gone("closed the connection as soon as it was open"))
    }

    /// Counts a call that was not answered in its time: its connection may have gone mute, which a
    /// PING will show.
    ///
    /// A connection whose packets were lost for a while stays mute for as long again, until TCP
    /// sends them once more; a new one works at once.
    #[cold]
    pub(super) fn doubt(&self) {
        self.doubt.begin();
        if let Some(connection) = &*self.connection.load() {
            connection.ask();
        }
    }

    /// Sees to a connection that is in doubt, if nobody does.
    pub(super) fn settle_doubt(self: &Arc<Self>) {
        if self.doubt.is_open() {
            let settling = replace_if_mute(Arc::downgrade(self));
            let tasks = &self.dialer.host.tasks;
            tasks.spawn("rpc doubt", Box::pin(settling));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Dial> {
        self.dial.lock().expect("no panic while the dial is held")
    }

    fn running_dial(self: &Arc<Self>) -> Result<latest::Receiver<Option<Result<()>>>> {
        let mut dial = self.lock();
        if let Some(running) = &dial.running
            && !running.is_closed()
        {
            return Ok(running.clone());
        }
        let now = self.dialer.host.clock.now();
        let wait = dial.not_before.since(now);
        if !wait.is_zero() {
            let failed = dial.failed.as_ref().map(Error::message);
            let why = failed.unwrap_or("the connection did not last");
            let message = format!("{why}; next try of {} in {wait:?}", self.address);
            return Err(Error::unavailable(message).unsent());
        }
        if dial.failed.is_none() && now.since(dial.opened_at) >= STEADY {
            dial.failures = 0;
        }
        if dial.failures > 0 && self.open_connection().is_none() {
            // One caller waits to see whether it is back; the others need not.
            self.down_until(now + CONNECT_TIMEOUT);
        }
        let (ended, running) = latest::channel(None);
        dial.running = Some(running.clone());
        drop(dial);
        let endpoint = Arc::clone(self);
        let dialing = async move {
            let result = endpoint.dial().await;
            ended.set(Some(result));
        };
        self.dialer
            .host
            .tasks
            .spawn("rpc connect", Box::pin(dialing));
        Ok(running)
    }

    async fn dial(&self) -> Result<()> {
        let Dialer {
            host,
            transport,
            limits,
        } = &self.dialer;
        let opening = async {
            if trick!(host.entropy, "a connection takes long to open") {
                host.clock.sleep(BACKOFF_FIRST).await;
            }
            let link = transport.connect(&self.address).await?;
            Connection::open(host, link, self.address.to_string(), *limits).await
        };
        let opened = host.clock.timeout(CONNECT_TIMEOUT, opening).await;
        let opened = opened.unwrap_or_else(|_| {
            let message = format!("{} did not answer within {CONNECT_TIMEOUT:?}", self.address);
            Err(Error::unavailable(message).unsent())
        });
        let mut dial = self.lock();
        dial.running = None;
        let now = host.clock.now();
        // Set after a success as well, for a connection that does not last.
        dial.not_before = now + self.backoff(dial.failures);
        dial.failures = dial.failures.saturating_add(1);
        match opened {
            Ok(connection) => {
                dial.failed = None;
                dial.opened_at = now;
                self.down_until(Instant::ORIGIN);
                if let Some(mute) = self.connection.swap(Some(Arc::new(connection))) {
                    // What is under way on it ends there: in its time, or with the connection.
                    mute.drain();
                }
                Ok(())
            }
            Err(error) => {
                // With another connection, the one that it was to replace may speak again.
                if self.open_connection().is_none() {
                    self.down_until(dial.not_before);
                }
                dial.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        let exponent = i32::try_from(failures).unwrap_or(i32::MAX);
        let grown = BACKOFF_FIRST.as_secs_f64() * BACKOFF_MULTIPLIER.powi(exponent);
        let spread = 1.0 + BACKOFF_JITTER * (2.0 * self.jitter.unit() - 1.0);
        Duration::from_secs_f64(grown.min(BACKOFF_MAX.as_secs_f64()) * spread)
    }

    /// Lets the connection finish its calls and close.
    pub(super) fn retire(&self) {
        self.record.retire();
        if let Some(connection) = self.connection.swap(None) {
            connection.drain();
        }
    }
}

/// Opens another connection beside one whose peer does not answer a PING, and tries again until
/// either works, or the mute one closes for its silence.
async fn replace_if_mute(doubted: Weak<Endpoint>) {
    loop {
        // Held only for a moment: a client that is gone is not kept by this.
        let Some(clock) = doubted.upgrade().map(|endpoint| endpoint.clock()) else {
            return;
        };
        clock.sleep(MUTE_AFTER).await;
        let Some(endpoint) = doubted.upgrade() else {
            return;
        };
        let connection = endpoint.open_connection();
        if !connection.as_ref().is_some_and(Connection::is_asked) {
            if connection.is_some() {
                // That no other could be opened is of no account any more.
                endpoint.lock().failed = None;
            }
            endpoint.doubt.end();
            return;
        }
        // An error says that it is too early for another attempt.
        if let Ok(mut running) = endpoint.running_dial() {
            drop(endpoint);
            let _ended = running.wait_for(Option::is_some).await;
        }
    }
}

/// Whether the connection of an endpoint is in doubt, and whether somebody sees to it.
#[derive(Default)]
struct Doubt(AtomicU8);

impl Doubt {
    const NONE: u8 = 0;
    const OPEN: u8 = 1;
    const SEEN_TO: u8 = 2;

    fn step(&self, from: u8, to: u8) -> bool {
        let (done, seen) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.compare_exchange(from, to, done, seen).is_ok()
    }

    /// Begins a doubt, if there was none.
    fn begin(&self) {
        self.step(Self::NONE, Self::OPEN);
    }

    /// Whether nobody has seen to it; whoever is told so does.
    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::OPEN && self.step(Self::OPEN, Self::SEEN_TO)
    }

    fn end(&self) {
        self.0.store(Self::NONE, Ordering::Relaxed);
    }
}
