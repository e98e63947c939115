//! What stands in for an engine: one future, the network and timers on one virtual clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use nitro::address::Address;
use nitro::host::{Clock, Listener, Network, Stream, Timer};
use nitro::time::{Instant, WallTime};

use super::super::settings::LinkSettings;
use super::super::{Net, NetSettings};
use crate::latency::Latency;
use crate::record::Recorder;
use crate::trace::{Event, Trace};

/// How long a message takes in most tests.
pub(super) const LATENCY: Duration = Duration::from_millis(2);

/// A cluster of three nodes, `a`, `b` and `c`, that have started.
#[derive(Clone)]
pub(super) struct World {
    pub(super) net: Net,
    pub(super) recorder: Recorder,
    pub(super) clock: Arc<VirtualClock>,
}

pub(super) fn settings() -> NetSettings {
    let us = LATENCY.as_micros() as u64;
    NetSettings::new(LinkSettings::new(Latency::Constant { us }))
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: NetSettings) -> Self {
        let address = |n: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
        let nodes = ["a", "b", "c"].map(Arc::from);
        let nodes: Vec<(Arc<str>, IpAddr)> = nodes.into_iter().zip((1..).map(address)).collect();
        let recorder = Recorder::new(Trace::new("plan", "test"));
        let net = Net::new(7, &nodes, settings, recorder.clone());
        for node in 0..nodes.len() {
            net.start(node);
        }
        let clock = Arc::default();
        Self {
            net,
            recorder,
            clock,
        }
    }

    /// Runs a future until it is ready. It panics when nothing is left to happen.
    pub(super) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut future = pin!(future);
        loop {
            while woken.0.swap(false, Ordering::Relaxed) {
                self.net.set_now(self.clock.now());
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return output;
                }
            }
            assert!(self.step(), "nothing is left to happen");
        }
    }

    /// Lets the next thing happen: whether there was one.
    fn step(&self) -> bool {
        let (due, timer) = (self.net.next_due(), self.clock.next());
        match (due, timer) {
            (Some((at, node)), timer) if timer.is_none_or(|timer| at <= timer) => {
                self.clock.set(at);
                self.net.deliver(node, at);
            }
            (_, Some(timer)) => self.clock.set(timer),
            (_, None) => return false,
        }
        true
    }

    pub(super) fn network(&self, node: usize) -> Arc<dyn Network> {
        self.net.network(node)
    }

    pub(super) async fn sleep(&self, time: Duration) {
        (self.clock.as_ref() as &dyn Clock).sleep(time).await;
        self.net.set_now(self.clock.now());
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now().as_nanos() / 1_000_000
    }

    pub(super) async fn listen(&self, node: usize) -> Box<dyn Listener> {
        let at = Address::tcp("0.0.0.0", 80);
        self.network(node).listen(&at).await.unwrap()
    }

    /// A stream from `a` to `b`, with the listener that `b` accepted it on.
    pub(super) async fn pair(&self) -> (Box<dyn Stream>, Box<dyn Stream>, Box<dyn Listener>) {
        let mut listener = self.listen(1).await;
        let opened = self.network(0).connect(&Address::tcp("b", 80)).await;
        let (accepted, _) = listener.accept().await.unwrap();
        (opened.unwrap(), accepted, listener)
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.recorder
            .finish(0, std::iter::empty())
            .events()
            .to_vec()
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A clock that stands still until it is set.
#[derive(Default)]
pub(super) struct VirtualClock(Arc<Mutex<Timers>>);

#[derive(Default)]
struct Timers {
    now: Instant,
    count: u64,
    waiting: BTreeMap<(Instant, u64), Waker>,
}

impl VirtualClock {
    fn next(&self) -> Option<Instant> {
        let timers = self.0.lock().unwrap();
        timers.waiting.keys().next().map(|(at, _)| *at)
    }

    fn set(&self, now: Instant) {
        let mut timers = self.0.lock().unwrap();
        assert!(timers.now <= now, "time goes back");
        timers.now = now;
        let later = timers.waiting.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut timers.waiting, later);
        drop(timers);
        due.into_values().for_each(Waker::wake);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Instant {
        self.0.lock().unwrap().now
    }

    fn wall(&self) -> WallTime {
        WallTime::from_unix_nanos(self.now().as_nanos())
    }

    fn timer(&self, at: Instant) -> Box<dyn Timer> {
        let timers = Arc::clone(&self.0);
        Box::new(VirtualTimer { timers, at })
    }
}

struct VirtualTimer {
    timers: Arc<Mutex<Timers>>,
    at: Instant,
}

impl Timer for VirtualTimer {
    fn reset(&mut self, at: Instant) {
        self.at = at;
    }

    fn poll_elapsed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.timers.lock().unwrap();
        if timers.now >= self.at {
            return Poll::Ready(());
        }
        timers.count += 1;
        let key = (self.at, timers.count);
        timers.waiting.insert(key, context.waker().clone());
        Poll::Pending
    }
}
