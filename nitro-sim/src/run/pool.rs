//! Many plans, run and judged several at a time: each worker is a process that has done nothing
//! before, with one thread, and forks a process for each run.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Summary, Twice, summarize};
use crate::engine::{self, Ended, Worker};
use crate::plan::Plan;
use crate::system::{Source, Systems};

/// How long a pool waits for an answer before it says that none has come: short for a person.
const IDLE: Duration = Duration::from_millis(100);

/// Runs and judges plans.
#[derive(Debug)]
pub struct Pool<'s> {
    systems: &'s Systems,
    engine: String,
    jobs: usize,
    idle: Mutex<Vec<Arc<Worker>>>,
    busy: Mutex<Vec<Arc<Worker>>>,
}

/// What a pool says while it works.
#[derive(Debug)]
pub enum Heard<T> {
    /// A plan has been run: what came of it, or why it could not be.
    Run(T, Box<Result<Summary, String>>),
    /// For a moment nothing has come.
    Nothing,
}

/// What a worker is asked.
#[derive(Serialize, Deserialize)]
struct Question {
    engine: String,
    twice: Twice,
    plan: Plan,
}

impl<'s> Pool<'s> {
    /// A pool of so many workers, at least one. They are processes where there can be such and the
    /// systems are made by a function; else they are threads, and what ends the process ends all.
    pub fn new(systems: &'s Systems, engine: impl Into<String>, jobs: usize) -> Self {
        Self {
            systems,
            engine: engine.into(),
            jobs: jobs.max(1),
            idle: Mutex::default(),
            busy: Mutex::default(),
        }
    }

    /// Runs and judges the plan that `plan_of` makes of each of `items`, and tells `hear` of each
    /// as it ends, in no order, on this thread. When `hear` breaks, what is under way is dropped.
    pub fn run<T: Send>(
        &self,
        items: impl Iterator<Item = T> + Send,
        plan_of: impl Fn(&T) -> Result<(Plan, Twice), String> + Sync,
        mut hear: impl FnMut(Heard<T>) -> ControlFlow<()>,
    ) {
        let items = Mutex::new(items);
        let is_over = AtomicBool::new(false);
        let (sender, receiver) = sync_channel(self.jobs);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let sender: SyncSender<_> = sender.clone();
                scope.spawn(|| {
                    let sender = sender;
                    while !is_over.load(Ordering::Relaxed) {
                        let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some(item) = next else { return };
                        let judged = plan_of(&item).and_then(|(plan, twice)| self.one(plan, twice));
                        if sender.send((item, judged)).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            loop {
                let heard = match receiver.recv_timeout(IDLE) {
                    Ok((item, judged)) => Heard::Run(item, Box::new(judged)),
                    Err(RecvTimeoutError::Timeout) => Heard::Nothing,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if hear(heard).is_break() {
                    break;
                }
            }
            is_over.store(true, Ordering::Relaxed);
            drop(receiver);
            for worker in self.lock(&self.busy).iter() {
                worker.kill();
            }
        });
    }

    /// Runs and judges a plan on a worker.
    ///
    /// # Errors
    ///
    /// Why the plan cannot be run.
    pub fn one(&self, plan: Plan, twice: Twice) -> Result<Summary, String> {
        let engine = self.engine.clone();
        let question = Question {
            engine,
            twice,
            plan,
        };
        let worker = match self.systems.source() {
            Some(source) => self.take(source),
            None => None,
        };
        let Some(worker) = worker else {
            return judged(self.systems, &question);
        };
        let bytes = serde_json::to_vec(&question).expect("a plan holds only what JSON can");
        let answer = worker.ask(judge, &bytes);
        self.lock(&self.busy)
            .retain(|busy| !Arc::ptr_eq(busy, &worker));
        match answer {
            Ok(answer) => {
                self.lock(&self.idle).push(worker);
                serde_json::from_slice(&answer).map_err(|error| error.to_string())?
            }
            // It was killed from outside, most likely for its memory.
            Err(error) => {
                worker.kill();
                let Question { engine, plan, .. } = &question;
                let system = self.systems.get(&plan.system).ok_or("it has no system")?;
                let how = format!("its worker going away ({error})");
                let node = String::new();
                let ended = Ended::Died {
                    at_us: 0,
                    node,
                    how,
                };
                Ok(Summary::without_trace(plan, system, engine, ended))
            }
        }
    }

    fn lock<'m, T>(&self, list: &'m Mutex<Vec<T>>) -> std::sync::MutexGuard<'m, Vec<T>> {
        list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker that is idle, or a new one.
    fn take(&self, source: Source) -> Option<Arc<Worker>> {
        let idle = self.lock(&self.idle).pop();
        let worker = idle.or_else(|| Worker::start_quietly(source).ok().map(Arc::new))?;
        self.lock(&self.busy).push(Arc::clone(&worker));
        Some(worker)
    }
}

/// The job of a worker.
fn judge(source: Source, question: &[u8]) -> Vec<u8> {
    let question = serde_json::from_slice(question).expect("a question comes as it was sent");
    let answer = judged(&Systems::made_by(source), &question);
    serde_json::to_vec(&answer).expect("a summary holds only what JSON can")
}

fn judged(systems: &Systems, question: &Question) -> Result<Summary, String> {
    let name = &question.engine;
    let engine = engine::by_name(name).ok_or_else(|| engine::missing(name))?;
    let summary = summarize(&question.plan, systems, &*engine, question.twice);
    summary.map_err(|error| error.to_string())
}
