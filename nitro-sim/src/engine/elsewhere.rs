//! Where the event engine does not run, there are no processes for runs either.

use std::convert::Infallible;
use std::io;

use super::Job;
use crate::system::Source;

/// A process that has done nothing before: here there is none.
#[derive(Debug)]
pub struct Worker(Infallible);

impl Worker {
    /// Starts none.
    ///
    /// # Errors
    ///
    /// Always.
    pub fn start_quietly(_: Source) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Has a job done.
    ///
    /// # Errors
    ///
    /// None here, where nobody can ask.
    pub fn ask(&self, _: Job, _: &[u8]) -> io::Result<Vec<u8>> {
        match self.0 {}
    }

    /// Ends the process now.
    pub fn kill(&self) {
        match self.0 {}
    }
}
