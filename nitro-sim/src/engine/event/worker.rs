//! A process for runs that has done nothing before: this program, started anew.
//!
//! A fork inherits what its process has done: the counters of tokio and of std's thread numbers,
//! the statics of every crate. Under the command line that is nothing, and always the same. A test
//! binary has run other tests, on other threads, and a seed would give other numbers there. So a
//! test starts its own program again, and before its `main` comes to run, this takes over: it is
//! told by a socket which function makes the systems and which plans to run, and forks for each.

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

use super::{Event, outcome, process};
use crate::engine::{Ended, Engine, Outcome};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::system::{Source, System, Systems};
use crate::trace::Trace;

/// Set in the environment of a program that is started to be a worker.
const ROLE: &str = "NITRO_SIM_WORKER";

/// What is asked of a worker, and what it answers, at most: far more than a run may record.
const MESSAGE_BYTES_MAX: u64 = 1 << 32;

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

/// The event engine in a process that has done nothing before.
#[derive(Debug)]
pub struct Worker {
    source: Source,
    stream: Mutex<UnixStream>,
    process: Child,
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
        let _ = self.process.wait();
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

    /// Starts this program by a command that stands in surroundings of its own.
    pub(super) fn start_as(source: Source, mut command: Command) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        command.env(ROLE, "1").stdout(Stdio::null());
        let process = command.stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self {
            source,
            process,
            stream: Mutex::new(ours),
        })
    }

    fn ask(&self, plan: &Plan) -> io::Result<Outcome> {
        let mut stream = self
            .stream
            .lock()
            .expect("no panic while a worker is asked");
        let place = (self.source as usize).wrapping_sub(before_main as *const () as usize);
        stream.write_all(&(place as u64).to_le_bytes())?;
        send(&mut stream, plan.to_text().as_bytes())?;
        let answer = receive(&mut stream)?;
        outcome::read(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl Engine for Worker {
    fn name(&self) -> &'static str {
        Event::default().name()
    }

    fn supports(&self, fault: &Fault) -> Result<(), String> {
        Event::default().supports(fault)
    }

    fn run(&self, plan: &Plan, _system: &System) -> Outcome {
        self.ask(plan).unwrap_or_else(|error| Outcome {
            trace: Trace::new(plan.digest(), self.name()),
            ended: Ended::Panicked {
                at_us: 0,
                message: format!("the process for runs does not answer: {error}"),
            },
            wall: std::time::Duration::ZERO,
        })
    }
}

fn serve() -> io::Result<()> {
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    process::close_input();
    loop {
        let mut place = [0; 8];
        if stream.read_exact(&mut place).is_err() {
            return Ok(());
        }
        let place =
            (before_main as *const () as usize).wrapping_add(u64::from_le_bytes(place) as usize);
        // SAFETY: whoever started this process is the same program, in which functions lie at
        // the same distance from one another, and its source has this type.
        let source: Source = unsafe { std::mem::transmute::<usize, Source>(place) };
        let text = String::from_utf8(receive(&mut stream)?);
        let plan = text.ok().and_then(|text| Plan::from_text(&text).ok());
        let plan = plan.ok_or(io::ErrorKind::InvalidData)?;
        let systems = Systems::new(source());
        let system = systems.get(&plan.system).ok_or(io::ErrorKind::NotFound)?;
        let ran = Event::default().run(&plan, system);
        let mut answer = Vec::new();
        outcome::write(&mut answer, &ran.ended, ran.wall, &ran.trace)?;
        send(&mut stream, &answer)?;
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
