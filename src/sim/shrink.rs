//! Cuts a failing plan down to the faults that matter.

use crate::sim::{Options, Outcome, Plan, run};

/// Leaves faults out of the plan of a failing run as long as it goes on failing, one after the other.
///
/// Returns the last failing run and how many runs it took. A promise may be broken in another way with fewer faults;
/// that is as good.
pub fn shrink(failing: Outcome) -> (Outcome, u32) {
    let mut best = failing;
    let mut runs = 0;
    let mut index = best.plan.faults.len();
    while index > 0 {
        index -= 1;
        let mut plan: Plan = best.plan.clone();
        plan.faults.remove(index);
        let outcome = run(best.seed, &Options { plan: Some(plan), trace: false });
        runs += 1;
        if outcome.violation.is_some() {
            best = outcome;
            index = index.min(best.plan.faults.len());
        }
    }
    (best, runs)
}
