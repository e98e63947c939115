//! A node's turn: it does all it can do now, and says when it must be entered again.
//!
//! The tasks that a node gives to its host are a set of their own beside its runtime, and are
//! polled without it: entering a runtime and having it wait costs more than most turns do. What a
//! node gives to tokio itself runs in the runtime, which is entered when it asks for it, and when
//! a timer of tokio's is due. So `select!` without `biased` draws from one stream of the run where
//! a task of a host uses it, and from the node's own in a task of tokio's.
//!
//! How control comes back from a runtime: one with nothing left to do asks the operating system to
//! wait until its next timer. The shim notes for how long, and answers at once that nothing came.
//! Then the runtime calls back, and the future given to `block_on` is woken and returns. Where the
//! wait was to be of no length, timers have just fired: coming back then would strand them.

use std::cell::RefCell;
use std::ffi::c_int;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use nitro::host::tasks::TokioTasks;
use nitro::host::{Task, Tasks};
use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, spawn_local};

use super::shim::{self, Turned, View, bell};

/// Tokio's timers tell milliseconds apart, counted from when the runtime was made.
const TICK_NANOS: u64 = 1_000_000;

thread_local! {
    /// What wakes the future that waits for the runtime which is entered.
    static ENTERED: RefCell<Option<Waker>> = const { RefCell::new(None) };
    /// The tasks of the node whose runtime is entered.
    static BESIDE: RefCell<Option<Rc<LocalSet>>> = const { RefCell::new(None) };
}

/// A runtime of a node, and its tasks.
pub(super) struct Machine {
    runtime: Runtime,
    tasks: Rc<LocalSet>,
    /// The file by which the runtime is woken.
    bell: c_int,
    /// What the node's clock said when the runtime was made, from which its timers count.
    made: u64,
    /// When the runtime must be entered; none for when it asks for it.
    wakes: Option<u64>,
    /// Tasks were woken outside a turn, those of the runtime perhaps among them.
    is_woken: bool,
    /// The state of the node's randomness.
    random: u64,
}

/// What came of a turn.
pub(super) struct Ran {
    /// When the node must be entered again, as its own monotonic clock says; none while nothing
    /// comes.
    pub(super) wakes: Option<u64>,
    /// What it looked at.
    pub(super) turned: Turned,
}

impl Machine {
    /// A runtime made at the time of a view.
    /// `tasks_between_events` is how many tasks it polls before it looks for timers again.
    pub(super) fn new(view: View, tasks_between_events: u32) -> io::Result<Self> {
        shim::look_on(view);
        bell::forget();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .event_interval(tasks_between_events)
            .on_thread_unpark(hand_back)
            .build()?;
        let bell = bell::made().ok_or(io::ErrorKind::Unsupported)?;
        Ok(Self {
            runtime,
            tasks: Rc::new(LocalSet::new()),
            bell,
            made: view.monotonic,
            wakes: None,
            is_woken: false,
            random: view.random,
        })
    }

    /// The state of the node's randomness.
    pub(super) fn random(&self) -> u64 {
        self.random
    }

    /// Something came while the node could not take a turn: its runtime asks for nothing then.
    pub(super) fn wake(&mut self) {
        self.is_woken = true;
    }

    /// How many tasks have not ended that were not given to the host.
    pub(super) fn others_alive(&self) -> usize {
        self.runtime.metrics().num_alive_tasks()
    }

    /// Lets the node do all it can at the time of a view; `arrive` first, among its tasks. None
    /// if that says that nothing came of it.
    pub(super) fn turn(&mut self, view: View, arrive: impl FnOnce() -> bool) -> Option<Ran> {
        shim::enter(view);
        bell::listen(self.bell);
        let has_come = self.run_tasks(arrive);
        let mut is_due = self.is_woken || self.wakes.is_some_and(|at| at <= view.monotonic);
        self.is_woken &= !has_come;
        while has_come && (bell::has_rung() || is_due) {
            is_due = false;
            self.enter_runtime(view);
            if bell::has_more() {
                self.run_tasks(|| true);
            }
        }
        let turned = shim::leave();
        self.random = turned.random;
        let wakes = self.wakes;
        has_come.then_some(Ran { wakes, turned })
    }

    /// Polls the tasks of the host that are ready; `arrive` first. Whether that says that
    /// something came of it.
    fn run_tasks(&self, arrive: impl FnOnce() -> bool) -> bool {
        let _entered = self.runtime.enter();
        let mut arrive = Some(arrive);
        let nothing_came = poll_fn(|_| match arrive.take() {
            Some(arrive) => match arrive() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            },
            None => Poll::Pending,
        });
        let mut running = pin!(self.tasks.run_until(nothing_came));
        let mut context = Context::from_waker(bell::waker());
        loop {
            if running.as_mut().poll(&mut context).is_ready() {
                return false;
            }
            if !bell::has_more() {
                return true;
            }
            shim::look();
        }
    }

    /// Lets the runtime do all it can.
    fn enter_runtime(&mut self, view: View) {
        BESIDE.set(Some(Rc::clone(&self.tasks)));
        shim::forget_wait();
        let mut is_new = true;
        self.runtime.block_on(poll_fn(|context| {
            if !std::mem::take(&mut is_new) {
                return match shim::is_waiting() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                };
            }
            ENTERED.with_borrow_mut(|entered| match entered {
                Some(waker) => waker.clone_from(context.waker()),
                None => *entered = Some(context.waker().clone()),
            });
            Poll::Pending
        }));
        BESIDE.set(None);
        // What it asked for meanwhile it has got.
        bell::has_rung();
        let ticks = view.monotonic.saturating_sub(self.made) / TICK_NANOS;
        self.wakes = shim::waits_ms().map(|waits_ms| self.made + (ticks + waits_ms) * TICK_NANOS);
    }

    /// Ends the node: what its tasks drop sees the time of the view.
    pub(super) fn end(self, view: View) {
        shim::look_on(view);
        ENTERED.with_borrow_mut(Option::take);
        let entered = self.runtime.enter();
        drop(self.tasks);
        drop(entered);
        // What tokio's own tasks spawn while they are dropped has somewhere to go, and never runs.
        BESIDE.set(Some(Rc::new(LocalSet::new())));
        drop(self.runtime);
        BESIDE.set(None);
    }
}

/// Called whenever a runtime comes back from waiting.
fn hand_back() {
    if shim::is_waiting() {
        ENTERED.with_borrow(|entered| {
            if let Some(waker) = entered {
                waker.wake_by_ref();
            }
        });
    }
}

/// [`Tasks`] of the node whose turn it is.
pub(super) struct NodeTasks;

impl Tasks for NodeTasks {
    fn spawn(&self, _name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        BESIDE.with_borrow(|beside| {
            Task::new(match beside {
                Some(tasks) => tasks.spawn_local(future),
                None => spawn_local(future),
            })
        })
    }

    fn block(&self, name: &'static str, work: Box<dyn FnOnce() + Send>) -> Task {
        TokioTasks.block(name, work)
    }
}
