//! The ways in which a node's code leaves the simulation, and what to use instead.

use std::fmt;

/// Something a node did that is not simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// It started a thread.
    Thread,
    /// It slept on the machine's clock.
    Sleep,
    /// It opened a socket of the machine.
    Socket,
    /// It waits for another thread, and there is none.
    Block,
    /// It goes on and on while time stands still.
    Spin,
}

impl fmt::Display for Escape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Escape::Thread => {
                "it started a thread (std::thread::spawn, tokio's spawn_blocking, tokio::fs or a \
                 name look-up), which no seed orders; use host.tasks.spawn or host.tasks.block"
            }
            Escape::Sleep => {
                "it slept on this machine's clock (std::thread::sleep), which stops virtual time; \
                 use host.clock.sleep or tokio::time::sleep"
            }
            Escape::Socket => {
                "it opened a socket of this machine (std::net, tokio::net or the like), which no \
                 fault reaches; use host.network"
            }
            Escape::Block => {
                "it blocks its thread (a lock it holds already, a channel or Condvar of std, \
                 another executor's block_on), and nobody is there to wake it; use tokio::sync"
            }
            Escape::Spin => {
                "a task that it gave to tokio itself (tokio::spawn), or many of its own, are woken \
                 without end while virtual time stands still; wait for something: a timer, a message"
            }
        })
    }
}
