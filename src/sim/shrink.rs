//! Cuts a failing plan down to the faults that matter.

use std::ops::Range;

use crate::sim::faults::Fault;
use crate::sim::{Options, Outcome, Plan, run};

/// How many runs are spent at most.
const MOST_RUNS: u32 = 300;

/// Leaves faults out of the plan of a failing run as long as it goes on failing: halves of it first, then smaller and
/// smaller parts, then single faults, over and over until none can be spared.
///
/// Returns the last failing run and how many runs it took. A promise may be broken in another way with fewer faults;
/// that is as good.
pub fn shrink(failing: Outcome) -> (Outcome, u32) {
    let mut shrinking = Shrinking { best: failing, runs: 0 };
    let mut length = shrinking.faults().len();
    while length > 0 && shrinking.runs < MOST_RUNS {
        let spared = shrinking.spare_parts(length);
        if length > 1 {
            length = length.div_ceil(2).min(shrinking.faults().len());
        } else if !spared {
            break;
        }
    }
    (shrinking.best, shrinking.runs)
}

struct Shrinking {
    best: Outcome,
    runs: u32,
}

impl Shrinking {
    fn faults(&self) -> &[(u64, Fault)] {
        &self.best.plan.faults
    }

    /// Tries to do without each part of this length, the last ones first; returns whether one could be spared.
    fn spare_parts(&mut self, length: usize) -> bool {
        let mut spared = false;
        let mut end = self.faults().len();
        while end > 0 && self.runs < MOST_RUNS {
            let begin = end.saturating_sub(length);
            spared |= self.spare(begin..end);
            end = begin.min(self.faults().len());
        }
        spared
    }

    fn spare(&mut self, part: Range<usize>) -> bool {
        let mut plan: Plan = self.best.plan.clone();
        plan.faults.drain(part);
        self.runs += 1;
        let outcome = run(self.best.seed, &Options { plan: Some(plan), trace: false });
        let fails = outcome.violation.is_some();
        if fails {
            self.best = outcome;
        }
        fails
    }
}
