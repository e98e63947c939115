//! Which of the program's tricks a run plays.

use nitro::buggify::{ACTIVE_SHARE, sites};
use serde::{Deserialize, Serialize};

use crate::draw::Draw;
use crate::fault::PlannedFault;

/// The tricks that nitro and services play in a run. Each site that is active plays now and then,
/// as the seed says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buggify {
    /// Until when, in virtual milliseconds: after that the cluster is to come to rest.
    pub until_ms: u64,
    /// The sites that are active.
    pub sites: Vec<String>,
}

/// What a seed draws: up to the last fault, or where there is none for half of the run.
pub(super) fn draw(seed: u64, faults: &[PlannedFault], duration_ms: u64) -> Buggify {
    let last_ms = faults.iter().map(|fault| fault.at_ms).max();
    // Each by its name, so that one more in the program changes no other.
    let is_active = |name: &&str| Draw::new(seed, &format!("buggify/{name}")).chance(ACTIVE_SHARE);
    let names = sites().into_iter().map(|site| site.name);
    Buggify {
        until_ms: last_ms.unwrap_or(duration_ms / 2),
        sites: names.filter(is_active).map(str::to_owned).collect(),
    }
}
