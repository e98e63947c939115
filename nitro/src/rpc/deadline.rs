//! The time limit of a call, held to the end of its answer.

use std::sync::Arc;

use super::Response;
use crate::host::SharedTimers;
use crate::layer::Limit;
use crate::time::Instant;

/// Holds the messages of an answer to the deadline of the call: a time limit that stopped at the
/// head would let a slow body through.
#[derive(Clone, Copy, Debug, Default)]
pub struct Messages;

impl Limit<Response> for Messages {
    #[inline]
    fn limit(&self, response: &mut Response, deadline: Instant, timers: &SharedTimers) {
        if !response.body.is_there() {
            let body = std::mem::take(&mut response.body);
            response.body = body.until(deadline, Arc::new(timers.clone()));
        }
    }
}
