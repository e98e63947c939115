//! Ports that keep what they have in a store, whichever that is: what they promise is what the
//! store promises. With a store in a file they outlive a crash; with a store that others share,
//! any number of them are one.
//!
//! # What outlives what
//!
//! What has been answered is there after:
//!
//! | it is kept | its user crashes | its process crashes | the machine loses power |
//! |---|---|---|---|
//! | in memory: store, leases, broker | yes | no | no |
//! | in a file, `Sync::Always` | yes | yes | yes |
//! | in a file, `Sync::EverySecond` | yes | but for about the last second | but for about the last second |
//! | remotely, or behind a cache | yes | as what is behind it | as what is behind it |
//! | leases and messages in a store | yes | as the store | as the store |
//! | messages over HTTP, at a node | yes | as its outbox | as its outbox |
//!
//! A file needs the feature `file`, and syncs as its `store::Settings` say.
//!
//! - **A commit** is there whole or not at all, whichever crash it was. One that was answered
//!   with an error may be there or not; on a condition it can safely be tried again.
//! - **A disk that fails to sync** ends the file's work: reads, commits and all that is built on
//!   them are errors until the store is opened anew, since nobody knows what such a disk holds.
//!   One that is full, or fails otherwise, is an error each time, and all is well when it is. A
//!   damaged record is an error where it is read; a damaged file is one when it is opened.
//! - **A message** that was published is delivered until it is acknowledged, given up as often as
//!   its consumer says, or dropped as its consumer says. A crash costs no message and no
//!   acknowledgement that was answered; one whose acknowledgement was under way comes again, and
//!   so does one whose member crashed, when its time is over. Publishing again what may have
//!   been published is one message, within [`REMEMBERED`](crate::broker::REMEMBERED).
//! - **A lease** ends after its time on the store's own clock, which stands still while the store
//!   is closed: a crash makes it longer, never shorter. Leases in memory are forgotten with their
//!   process while their holders still count on them. Tokens rise past either, so that what is
//!   written with a [`Fence`](crate::store::Fence) is safe all the same: in memory by the wall
//!   clock, in a store by its revisions. **A store that was set back, to a copy or to nothing,
//!   gives out its tokens again**: what other stores have seen of them refuses its holders until
//!   they have risen, and nothing tells two holders of the same token apart.

mod leases;
#[cfg(feature = "json")]
mod messages;

use crate::host::Host;
use crate::store::Store;
use crate::sync::Leases;

pub use self::leases::StoredLeases;
#[cfg(feature = "json")]
pub use self::messages::{StoredMessages, broker};

/// Leases in a store, beside whatever else is in it. All who use the same store share them.
pub fn leases(host: &Host, store: &Store) -> Leases {
    Leases::new(StoredLeases::new(host, store))
}
