//! A process for runs that has done nothing before: this program, started anew.
//!
//! A fork inherits what its process has done: the counters of tokio and of std's thread numbers,
//! the statics of every crate. Under the command line that is nothing, and always the same. A test
//! binary has run other tests, on other threads, and a seed would give other numbers there. So a
//! program starts itself again, and before its `main` comes to run, this takes over: it is told by
//! a socket which function makes the systems, and what to do with them, and forks for each run.

#![expect(
    unsafe_code,
    reason = "code before main, and a function known by its place, have no safe form"
)]

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{NAMES, by_name, outcome, process};
use crate::engine::{Ended, Engine, Job, Outcome, WALL_MAX};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::scenario::Network;
use crate::system::{Source, System, Systems};

/// Set in the environment of a program that is started to be a worker.
const ROLE: &str = "NITRO_SIM_WORKER";

/// What is asked of a worker, and what it answers, at most: far more than a run may record.
const MESSAGE_BYTES_MAX: u64 = 1 << 32;

/// How long a worker may take to answer: two runs and their judgement, each of which it ends by
/// itself when its time is up.
const ANSWER_WALL_MAX: Duration = Duration::from_secs(2 * WALL_MAX.as_secs() + 60);

/// How the C library of a worker keeps memory, where nobody says otherwise. Each run has a process
/// of its own and fills new memory from the start: in few and large pieces, and in large pages where
/// the system has them, which is an eighth of what a run costs.
const MEMORY: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.arena_max=1:glibc.malloc.top_pad=8388608:glibc.malloc.hugetlb=1:\
     glibc.malloc.tcache_count=200",
);

#[used]
// SAFETY: the functions of this section are called once, before main, after the C library is
// ready; this one has the type they must have, and does nothing in a program that is no worker.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    if std::env::var_os(ROLE).is_some() {
        // An error says that the other side has gone.
        let is_done = serve().is_ok();
        process::leave(if is_done { 0 } else { 1 });
    }
}

/// A process that has done nothing before, and the default engine in it.
#[derive(Debug)]
pub struct Worker {
    source: Source,
    stream: Mutex<UnixStream>,
    process: Mutex<Child>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It ends when nobody is there to ask, and is then waited for; one that has ended
        // already is none the worse.
        let stream = self
            .stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = stream.shutdown(Shutdown::Both);
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = process.wait();
    }
}

impl Worker {
    /// Starts this program anew, to run plans of the systems that `source` makes.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start(source: Source) -> io::Result<Self> {
        Self::start_as(source, Command::new("/proc/self/exe"))
    }

    /// The same, but what its runs say to standard error, as panics do, is said to nobody: of many
    /// runs nobody could tell which says it, and each tells it again when it is run alone.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn start_quietly(source: Source) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        // Looking up the names of a backtrace takes longer than most runs.
        command.stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
        Self::start_as(source, command)
    }

    /// Starts this program by a command that stands in surroundings of its own.
    pub(in crate::engine) fn start_as(source: Source, mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(ANSWER_WALL_MAX))?;
        command.env(ROLE, "1").stdout(Stdio::null());
        let (name, usual) = MEMORY;
        if std::env::var_os(name).is_none() {
            command.env(name, usual);
        }
        let process = command.stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self {
            source,
            process: Mutex::new(process),
            stream: Mutex::new(ours),
        })
    }

    /// Has a job done, one at a time.
    ///
    /// # Errors
    ///
    /// When the process has ended, or does not answer in time: it is then of no more use.
    pub fn ask(&self, job: Job, question: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        for place in [job as usize, self.source as usize] {
            let distance = place.wrapping_sub(before_main as *const () as usize);
            stream.write_all(&(distance as u64).to_le_bytes())?;
        }
        send(&mut stream, question)?;
        receive(&mut stream)
    }

    /// Ends the process now, whatever it does, and the run that it waits for with it.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended already is none the worse.
        let _ = process.kill();
    }
}

impl Engine for Worker {
    fn name(&self) -> &'static str {
        NAMES[0]
    }

    fn supports(&self, fault: &Fault) -> Result<(), String> {
        default_engine().supports(fault)
    }

    fn supports_network(&self, network: &Network) -> Result<(), String> {
        default_engine().supports_network(network)
    }

    fn supports_nodes(&self, count: usize) -> Result<(), String> {
        default_engine().supports_nodes(count)
    }

    fn run(&self, plan: &Plan, _system: &System) -> Outcome {
        let answer = self.ask(run, plan.to_text().as_bytes());
        let outcome = answer.and_then(|answer| {
            outcome::read(answer).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        });
        outcome.unwrap_or_else(|error| {
            let message = format!("the process for runs does not answer: {error}");
            Outcome::without_trace(plan, self.name(), Ended::Panicked { at_us: 0, message })
        })
    }
}

fn default_engine() -> Box<dyn Engine> {
    by_name(NAMES[0]).expect("the first of the engines is one")
}

/// The job of running a plan, all of which comes back.
fn run(source: Source, plan: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(plan).expect("a plan is text");
    let plan = Plan::from_text(text).expect("a plan comes as it was sent");
    let systems = Systems::new(source());
    let system = systems.get(&plan.system).expect("its system is known");
    let outcome = default_engine().run(&plan, system);
    outcome::whole(&plan, system, outcome)
}

fn serve() -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    process::close_input();
    loop {
        let mut distances = [[0; 8]; 2];
        if stream.read_exact(distances.as_flattened_mut()).is_err() {
            return Ok(());
        }
        let [job, source] = distances.map(|distance| {
            let distance = u64::from_le_bytes(distance) as usize;
            (before_main as *const () as usize).wrapping_add(distance)
        });
        // SAFETY: whoever started this process is the same program, in which functions lie at
        // the same distance from one another, and its job and source have these types.
        let (job, source) = unsafe {
            let job = std::mem::transmute::<usize, Job>(job);
            (job, std::mem::transmute::<usize, Source>(source))
        };
        let question = receive(&mut stream)?;
        send(&mut stream, &job(source, &question))?;
    }
}

fn send(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(&(bytes.len() as u64).to_le_bytes())?;
    stream.write_all(bytes)
}

fn receive(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
