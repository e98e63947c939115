//! Ports that keep what they have in a store, whichever that is: what they promise is what the
//! store promises. With a store in a file they outlive a crash; with a store that others share,
//! any number of them are one.

mod leases;

use crate::store::Store;
use crate::sync;

pub use self::leases::StoredLeases;

/// Leases in a store, beside whatever else is in it. All who use the same store share them.
pub fn leases(host: &crate::Host, store: &Store) -> sync::Leases {
    sync::Leases::new(StoredLeases::new(host, store))
}
