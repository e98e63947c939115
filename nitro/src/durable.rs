//! Ports that keep what they have in a store, whichever that is: what they promise is what the
//! store promises. With a store in a file they outlive a crash; with a store that others share,
//! any number of them are one.

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
