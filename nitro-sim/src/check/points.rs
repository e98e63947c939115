//! What the program says of itself: what must always hold does, and what is never to be reached is
//! not.

use std::collections::BTreeMap;

use nitro::assertion::Kind;

use super::Findings;
use crate::system::Breach;
use crate::trace::{Blame, EventKind, Trace};

pub(super) fn check(trace: &Trace, findings: &mut Findings) {
    let mut wrong: BTreeMap<String, Vec<Breach>> = BTreeMap::new();
    for (place, event) in trace.events().iter().enumerate() {
        let EventKind::Point {
            says: says @ (Kind::Always | Kind::Unreachable),
            holds: false,
            name,
            module,
            found,
        } = &event.kind
        else {
            continue;
        };
        let node = event.node.as_deref().unwrap_or("the cluster");
        let seconds = event.at_us as f64 / 1e6;
        let space = if found.is_empty() { "" } else { ": " };
        let what = format!("{node} at {seconds:.3} s, in {module}{space}{found}");
        let check = format!("{}: {name}", says.word());
        let breach = Breach::of(what, [Blame::Event(place)]);
        wrong.entry(check).or_default().push(breach);
    }
    for (check, breaches) in wrong {
        findings.fail_each(&check, breaches);
    }
}
