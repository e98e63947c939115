//! Messages in a store: a copy for each group, until it is done with, and one that is kept for
//! those who start later.
//!
//! All state is in the store, so that any number of these over one store are one broker, and a
//! crash of any of them loses nothing. A message that is out is a claim beside it, which goes by
//! itself when the time to acknowledge is over; the claim's version is in the receipt.

mod groups;
mod publish;
mod receive;
mod records;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::Service;

use self::groups::Groups;
use crate::broker::{Broker, Reply, Request, WAIT_MAX};
use crate::error::{Error, Result};
use crate::host::Host;
use crate::port::{Call, PortRequest};
use crate::service::Calling;
use crate::store::Store;

/// A broker whose messages are in a store, beside whatever else is in it. All who use the same
/// store share them. What was published is as durable as the store's commits.
pub fn broker(host: &Host, store: &Store) -> Broker {
    Broker::new(StoredMessages::new(host, store))
}

/// How long messages are kept for those who start from an earlier one.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The most groups: with a copy for each, a message is still one commit.
const GROUPS_MAX: usize = 100;

/// A broker over a store.
#[derive(Clone)]
pub struct StoredMessages {
    groups: Arc<Groups>,
}

impl StoredMessages {
    /// The broker whose messages are in a store.
    pub fn new(host: &Host, store: &Store) -> Self {
        Self {
            groups: Arc::new(Groups::new(host, store)),
        }
    }
}

impl Service<Call<Request>> for StoredMessages {
    type Response = Reply;
    type Error = Error;
    type Future = Calling<Reply>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call<Request>) -> Calling<Reply> {
        let groups = Arc::clone(&self.groups);
        let until = groups.clock().now() + call.request.wait().min(WAIT_MAX);
        let until = call.deadline.map_or(until, |by| by.min(until));
        Box::pin(async move {
            call.request.check()?;
            match call.request {
                Request::Publish { messages, .. } => {
                    let number = groups.publish(&messages, until).await?;
                    Ok(Reply::Published(number))
                }
                Request::Subscribe {
                    subscription,
                    consumer,
                } => {
                    groups.subscribe(&subscription, consumer).await?;
                    Ok(Reply::Subscribed)
                }
                Request::Pull {
                    subscription,
                    limit,
                    ..
                } => {
                    let pulled = groups.pull(&subscription, limit, until).await?;
                    Ok(Reply::Pulled(pulled))
                }
                Request::Settle {
                    subscription,
                    receipt,
                    verdict,
                } => {
                    groups.settle(&subscription, receipt, verdict).await?;
                    Ok(Reply::Settled)
                }
                Request::Unsubscribe { subscription } => {
                    let existed = groups.unsubscribe(&subscription).await?;
                    Ok(Reply::Unsubscribed(existed))
                }
            }
        })
    }
}

impl std::fmt::Debug for StoredMessages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredMessages").finish_non_exhaustive()
    }
}
