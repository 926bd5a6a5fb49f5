//! Cuts a failing plan down to the faults that matter.

use crate::chaos::invariants::InvariantId;
use crate::sim::patience::Patience;
use crate::sim::{FaultPlan, Options, Outcome, Simulation};

/// How many runs are spent at most.
const MOST_RUNS: u32 = 300;

/// Leaves faults out of the plan of a failing run as long as it goes on failing: halves of it first, then smaller and
/// smaller parts, then single faults over and over, and where none can be spared up to five at a time.
///
/// Returns the last failing run and how many runs it took. A promise may be broken in another way with fewer faults;
/// that is as good.
///
/// A job that is stuck fails only when patience is at its end. So the faults of such a run are spared with little of it,
/// and what is left is run once more with all of it; if that does not fail, the guess was wrong, and all begins anew,
/// with more of it.
pub(crate) fn shrink(simulation: &Simulation, failing: Outcome) -> (Outcome, u32) {
    let (full, short) = simulation.patience_with(failing.seed).unwrap_or((simulation.patience, Patience::SHORT));
    let is_stuck = |outcome: &Outcome| matches!(&outcome.violation, Some(of) if of.invariant == InvariantId::Liveness);
    let mut spent = 0;
    let guesses = if is_stuck(&failing) { vec![short, short.longer(full)] } else { Vec::new() };
    for patience in guesses {
        let (guess, runs) = shrink_with(simulation, failing.clone(), patience);
        spent += runs + 1;
        let options = Options { faults: Some(guess.faults), ..Options::default() };
        let (confirmed, _) = simulation.run_for(guess.seed, &options, full);
        if confirmed.violation.is_some() {
            return (confirmed, spent);
        }
    }
    let (shrunk, runs) = shrink_with(simulation, failing, full);
    (shrunk, spent + runs)
}

fn shrink_with(simulation: &Simulation, failing: Outcome, patience: Patience) -> (Outcome, u32) {
    let mut shrinking = Shrinking { simulation, patience, best: failing, runs: 0 };
    let mut length = shrinking.faults().div_ceil(2);
    while length > 1 {
        shrinking.spare_parts(length);
        length = length.div_ceil(2).min(shrinking.faults());
    }
    // A fault that is left out moves the schedule behind it: some that matter only together have to go together.
    while shrinking.spare_parts(1) || (2..=5).any(|count| shrinking.spare_some(count)) {}
    (shrinking.best, shrinking.runs)
}

struct Shrinking<'a> {
    simulation: &'a Simulation,
    patience: Patience,
    best: Outcome,
    runs: u32,
}

impl Shrinking<'_> {
    fn faults(&self) -> usize {
        self.best.faults.faults.len()
    }

    /// Tries to do without each part of this length, the last ones first; returns whether one could be spared.
    fn spare_parts(&mut self, length: usize) -> bool {
        let mut spared = false;
        let mut end = self.faults();
        while end > 0 {
            let part: Vec<usize> = (end.saturating_sub(length)..end).collect();
            end = part[0];
            spared |= self.spare(&part);
        }
        spared
    }

    /// Tries to do without any so many faults; returns whether that was possible.
    fn spare_some(&mut self, count: usize) -> bool {
        let mut some: Vec<usize> = (0..count).collect();
        while some.last().is_some_and(|last| *last < self.faults()) {
            if self.spare(&some) {
                return true;
            }
            self.next(&mut some);
        }
        false
    }

    /// Goes on to the next choice of as many faults; behind the last one, to one that does not exist.
    fn next(&self, some: &mut [usize]) {
        let (faults, count) = (self.faults(), some.len());
        let movable = (0..count).rev().find(|place| some[*place] + 1 < faults - (count - 1 - place)).unwrap_or(0);
        let first = some[movable] + 1;
        for (offset, fault) in some[movable..].iter_mut().enumerate() {
            *fault = first + offset;
        }
    }

    /// Does without these faults, in rising order, if the run fails all the same.
    fn spare(&mut self, some: &[usize]) -> bool {
        if self.runs == MOST_RUNS {
            return false;
        }
        self.runs += 1;
        let mut plan: FaultPlan = self.best.faults.clone();
        for fault in some.iter().rev() {
            plan.faults.remove(*fault);
        }
        let options = Options { faults: Some(plan), ..Options::default() };
        let outcome = self.simulation.run_for(self.best.seed, &options, self.patience).0;
        let fails = outcome.violation.is_some();
        if fails {
            self.best = outcome;
        }
        fails
    }
}
