//! A run proves something: every fault touched something, and of every workload something
//! succeeded.

use std::collections::BTreeMap;

use super::{Findings, History};
use crate::plan::Plan;
use crate::trace::Trace;

pub(super) fn check(
    plan: &Plan,
    trace: &Trace,
    history: &History<'_>,
    has_invariants: bool,
    findings: &mut Findings,
) {
    let touches: BTreeMap<&str, u64> = trace.touches().collect();
    for id in plan.fault_ids() {
        if touches.get(id).copied().unwrap_or(0) == 0 {
            let fault = plan.faults.iter().find(|fault| fault.id == id);
            let what = fault.map_or_else(String::new, |fault| fault.fault.to_string());
            findings.doubt("touched", format!("{id} touched nothing ({what})"));
        }
    }
    let mut succeeded: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for made in history.iter() {
        let (all, ok) = succeeded.entry(&made.planned.workload).or_default();
        *all += 1;
        *ok += usize::from(made.is_ok());
    }
    for (workload, (all, ok)) in &succeeded {
        if *ok == 0 {
            let what = format!("of {workload}'s {all} operations none succeeded");
            findings.doubt("worked", what);
        }
    }
    if succeeded.is_empty() && !has_invariants {
        findings.doubt("worked", "nothing was asked and no invariant is registered");
    }
}
