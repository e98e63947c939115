//! Which points of the program runs came by, and which none has reached: what a sweep never gets
//! to, it says nothing of.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use nitro::assertion::{Kind, Point};
use serde::{Deserialize, Serialize};

use crate::run::Summary;

/// How many points are told apart: more than a large program has.
const POINTS_MAX: usize = 10_000;

/// How wide a point's name may be in the table.
const NAME_WIDTH: usize = 58;

/// In how many runs each point held and did not, by module and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Points(BTreeMap<String, Met>);

/// In how many runs a point was come by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Met {
    /// In how many it held.
    pub held: u64,
    /// In how many it did not.
    pub failed: u64,
}

fn key(module: &str, name: &str) -> String {
    format!("{module}: {name}")
}

impl Points {
    /// Adds what a run came by.
    pub(super) fn add(&mut self, summary: &Summary) {
        for point in &summary.points {
            let met = match point.holds {
                true => Met { held: 1, failed: 0 },
                false => Met { held: 0, failed: 1 },
            };
            self.add_one(key(&point.module, &point.name), met);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (point, met) in &other.0 {
            self.add_one(point.clone(), *met);
        }
    }

    fn add_one(&mut self, point: String, met: Met) {
        if self.0.len() < POINTS_MAX || self.0.contains_key(&point) {
            let own = self.0.entry(point).or_default();
            own.held += met.held;
            own.failed += met.failed;
        }
    }

    /// In how many runs a point was come by.
    pub fn met(&self, point: &Point) -> Met {
        let met = self.0.get(&key(point.module, point.name));
        met.copied().unwrap_or_default()
    }

    /// Writes which of the program's points have not been reached. Of a module that no run came
    /// by at all, as one of a port that the system does not use, only the number is told.
    pub(super) fn write(&self, out: &mut dyn Write, all: &[Point]) -> io::Result<()> {
        // What is never to be reached is no point to get to.
        let wanted = all.iter().filter(|point| point.kind != Kind::Unreachable);
        let wanted: Vec<&Point> = wanted.collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let missed = |point: &&&Point| self.met(point).held == 0;
        let is_met = |point: &&&Point| self.met(point) != Met::default();
        let seen: BTreeSet<&str> = wanted.iter().filter(is_met).map(|p| p.module).collect();
        let (here, away): (Vec<&Point>, Vec<&Point>) = wanted
            .iter()
            .filter(missed)
            .partition(|point| seen.contains(point.module));
        let reached = wanted.len() - here.len() - away.len();
        writeln!(
            out,
            "points: {reached} of {} were reached and held",
            wanted.len()
        )?;
        for point in here {
            let how = match self.met(point).failed {
                0 => "no run".to_owned(),
                runs => format!("not in {runs}"),
            };
            let said = format!("{} \"{}\"", point.kind.word(), point.name);
            writeln!(out, "  {said:<NAME_WIDTH$} {how:>18}")?;
            writeln!(out, "      {}:{}", point.file, point.line)?;
        }
        let mut modules: BTreeMap<&str, usize> = BTreeMap::new();
        for point in away {
            *modules.entry(point.module).or_default() += 1;
        }
        if !modules.is_empty() {
            writeln!(out, "  and of modules that no run came by:")?;
        }
        for (module, count) in modules {
            writeln!(out, "      {module}, {count}")?;
        }
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(kind: Kind, module: &'static str, name: &'static str) -> Point {
        Point {
            kind,
            name,
            module,
            file: "src/shop.rs",
            line: 7,
        }
    }

    #[test]
    fn what_no_run_reached_is_told_and_a_module_that_none_came_by_is_counted() {
        let all = [
            point(Kind::Sometimes, "shop", "a cart is empty"),
            point(Kind::Sometimes, "shop", "a price has changed"),
            point(Kind::Reachable, "shop", "an order is sent twice"),
            point(Kind::Always, "shop", "no price is negative"),
            point(Kind::Unreachable, "shop", "two carts have one id"),
            point(Kind::Reachable, "shop::mail", "a letter comes back"),
            point(Kind::Reachable, "shop::mail", "a letter is late"),
        ];
        let met = |held, failed| Met { held, failed };
        let mut points = Points::default();
        points.add_one(key("shop", "a cart is empty"), met(1, 3));
        points.add_one(key("shop", "a price has changed"), met(0, 2));
        let mut other = Points::default();
        other.add_one(key("shop", "no price is negative"), met(9, 0));
        other.add_one(key("shop", "a price has changed"), met(0, 10));
        points.merge(&other);
        let mut out = Vec::new();
        points.write(&mut out, &all).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
        let mut nothing = Vec::new();
        points.write(&mut nothing, &all[4..5]).unwrap();
        assert_eq!(nothing, b"");
    }
}
